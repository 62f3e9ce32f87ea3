"""Small tables for people, on stdout."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from mtlsearch.wording import MANY_TASKS, plain, shown_tasks


def show_config(config: Mapping[str, Any], console: Console | None = None, *, every: bool = False) -> None:
    """A config with its metrics: tasks by weight, then hyperparameters; of very many tasks `every` one on request."""
    score, verdict = config["score"], config.get("verdict")
    console = console or Console(highlight=False)
    console.print(
        f"[bold]{config['study']['name']}[/bold]: {_whose(config)}, {score['kind']} score {score['value']:.4f}",
        soft_wrap=not console.is_terminal,
    )
    console.print(_task_table(config, every))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, value in config["hyperparameters"].items():
        table.add_row(name, plain(value))
    training = config["training"]
    table.add_row("epochs", f"{training['epochs_trained']} (best: {training['best_epoch'] + 1})")
    console.print(table)
    if verdict is not None:
        console.print()
        for line in verdict["lines"] if every else verdict_lines(verdict):
            # Wrapped by words for a person, whole for a program that reads them.
            console.print(line, markup=False, soft_wrap=not console.is_terminal)


def _whose(config: Mapping[str, Any]) -> str:
    """Which training the numbers are of."""
    trial, confirmation = config["trial"], config.get("confirmation")
    if trial is None:
        return "trained"
    if confirmation is None:
        return f"trial {trial}"
    weights = " with equal task weights" if confirmation["weights"] == "equal" else ""
    return f"trial {trial}{weights}, the best on validation of {len(confirmation['seeds'])} fresh seeds"


def _task_table(config: Mapping[str, Any], every: bool) -> Table:
    """Per task its weight and metrics; of very many tasks those of the largest and smallest weights."""
    splits = [split for split in ("validation", "test") if split in config]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("task")
    table.add_column("weight", justify="right")
    for split in splits:
        table.add_column(split, justify="right")
    weights = config["task_weights"]
    for task in weights if every else shown_tasks(weights):
        if task is None:
            table.add_row(_others(weights))
            continue
        cells = [
            "  ".join(f"{metric} {value:.4f}" for metric, value in config[split].get(task, {}).items())
            for split in splits
        ]
        table.add_row(task, f"{weights[task]:.4f}", *cells)
    return table


def verdict_lines(verdict: Mapping[str, Any]) -> list[str]:
    """A verdict's lines; of very many tasks those of the largest and smallest weights."""
    weights, lines = verdict["weights"], list(verdict["lines"])
    kept = shown_tasks(weights)
    if None not in kept:
        return lines
    by_task = {task: line for line in lines for task in weights if line.startswith(f"{task}: ")}
    first = min(lines.index(line) for line in by_task.values())
    before, after = lines[: first - 1], lines[first + len(by_task) :]
    told = ", ".join("…" if task is None else f"{task} {weights[task]:.2f}" for task in kept)
    between = f"{_others(weights)} tasks: `mtlsearch best --all`"
    tasks = (between if task is None else by_task[task] for task in kept)
    return [*before, f"weights: {told}", *tasks, *after]


def _others(weights: Mapping[str, float]) -> str:
    return f"… {len(weights) - MANY_TASKS + 1} more"
