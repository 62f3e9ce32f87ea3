"""Small tables for people, on stdout."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

MANY_TASKS = 12
GAP = 2


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


def shown_tasks(weights: Mapping[str, float]) -> list[str | None]:
    """All tasks where they are few; else the top and bottom ones by weight, with None for the rest between."""
    if len(weights) <= MANY_TASKS:
        return list(weights)
    ranked = sorted(weights, key=lambda task: -weights[task])
    half = MANY_TASKS // 2
    return [*ranked[:half], None, *ranked[-half + 1 :]]


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


def show_verification(result: Mapping[str, Any]) -> None:
    """Each metric, recorded and now."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("task", "metric", "recorded", "now", "allowed difference", ""):
        table.add_column(column)
    for row in result["metrics"]:
        table.add_row(
            row["task"],
            row["metric"],
            f"{row['recorded']:.6f}",
            f"{row['now']:.6f}",
            f"{row['allowed']:.6f}",
            "agrees" if row["agrees"] else "DIFFERS",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print("agrees" if result["agrees"] else "differs", f"(rule: {result['rule']})")


def show_predictions(predictions: Iterable[Mapping[str, Any]]) -> None:
    """One line per example and task: the label with its probability, or the values."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("input", "task", "prediction", "probability"):
        table.add_column(column, overflow="fold")
    for prediction in predictions:
        for task, found in prediction["tasks"].items():
            table.add_row(prediction["input"], task, *_readable(found))
    Console(highlight=False, markup=False).print(table)


def _readable(found: Mapping[str, Any]) -> tuple[str, str]:
    if "spans" in found:
        return ", ".join(f"{span['text']} ({span['type']})" for span in found["spans"]) or "none", ""
    if "tags" in found:
        return " ".join(found["tags"]), ""
    if "label" in found:
        return found["label"], f"{found['probabilities'][found['label']]:.4f}"
    if "probabilities" in found:
        likely = {name: p for name, p in found["probabilities"].items() if p >= 0.5}
        return ", ".join(likely) or "none", ", ".join(f"{p:.4f}" for p in likely.values())
    return ", ".join(plain(value) for value in found["values"]), ""


def show_rows(columns: list[str], rows: Iterable[Iterable[object]], *, fit: bool = False) -> int:
    """A plain table, numbers to the right; wrapped to a terminal, and as wide as it is in a pipe.

    With `fit` the last columns that a terminal has no room for are left out; gives their number.
    """
    grid = [list(row) for row in rows]
    cells = [[plain(cell) for cell in row] for row in grid]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = sum(widths) + GAP * len(widths)
    ends = [sum(widths[: i + 1]) + GAP * i for i in range(len(widths))]
    shown = sum(end <= console.width for end in ends) if fit else len(columns)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for i, column in enumerate(columns[:shown]):
        numeric = all(isinstance(row[i], int | float | None) for row in grid)
        # The first is a name; of the others, those of long texts are wrapped where a terminal is narrow.
        whole = fit or numeric or i == 0
        table.add_column(column, justify="right" if numeric else "left", no_wrap=whole, overflow="fold")
    for row in cells:
        table.add_row(*row[:shown])
    console.print(table)
    return len(columns) - shown


def few(names: Sequence[str], most: int = 4) -> str:
    """Names on one line; of more than `most` the first ones, and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])}, … {len(names) - most + 1} more"


def plain(value: object) -> str:
    """A value as a person writes it."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
