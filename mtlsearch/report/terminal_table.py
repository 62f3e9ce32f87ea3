"""A config and its verdict as text in a terminal."""

from collections.abc import Mapping
from statistics import stdev
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mtlsearch.study.score import NAMED, Score
from mtlsearch.terminal import GAP
from mtlsearch.wording import MOST_WEIGHED, measured, plain, shown_tasks, visible, weight_in_words


def show_config(config: Mapping[str, Any], console: Console | None = None, *, every: bool = False) -> None:
    """Print a config: its tasks with their metrics, its hyperparameters, its verdict.

    Of very many tasks those with the largest and smallest weights are shown, or `every` one.
    """
    score, verdict = config["score"], config.get("verdict")
    console = console or Console(highlight=False)
    whole = not console.is_terminal  # lines are wrapped for a person, and not for a program that reads them
    for line in config.get("question", {}).get("lines", ()):
        console.print(visible(line), markup=False, soft_wrap=whole)
    value = f"{measured(score['value'])}{in_folds(config)}"
    scored = f"{_training(config)}, {score['kind']} score {value} on validation{_test_score(config)}"
    console.print(Text.assemble((visible(config["study"]["name"]), "bold"), f": {visible(scored)}"), soft_wrap=whole)
    console.print(_task_table(config, every))
    table = Table(box=None, padding=(0, GAP, 0, 0), show_header=False)
    for name, value in hyperparameters(config).items():
        table.add_row(Text(visible(name)), Text(value))
    console.print(table)
    if "front" in config:
        console.print()
        console.print(_front_line(config["front"]), soft_wrap=whole)
        console.print(_front_table(config))
    for line in missed(config):
        console.print(line, markup=False, soft_wrap=whole)
    if verdict is not None:
        console.print()
        for line in verdict["lines"] if every else verdict_lines(verdict):
            console.print(visible(line), markup=False, soft_wrap=whole)
    for line in [*config.get("searches", {}).get("lines", ()), *config.get("mattered", {}).get("lines", ())]:
        console.print(visible(line), markup=False, soft_wrap=whole)


def _front_line(front: Mapping[str, Any]) -> str:
    count, volume = len(front["trials"]), front["hypervolume"]
    covers = "" if volume is None else f", which covers {100 * volume:.1f} % of the box from the worst to the best"
    return f"front of {count} trial{'s' * (count > 1)}{covers}"


def _front_table(config: Mapping[str, Any]) -> Table:
    """The trials that no other beats on every task, the knee marked."""
    front = config["front"]
    tasks = shown_tasks(dict.fromkeys(front["tasks"], 0.0))
    table = Table("trial", box=None, padding=(0, GAP, 0, 0))
    for task in tasks:
        table.add_column(f"{visible(task)} {config['tasks'][task]['metric']}", justify="right")
    for task in tasks:
        table.add_column(f"weight of {visible(task)}", justify="right")
    for row in front["trials"]:
        name = f"{row['trial']} knee" if row["trial"] == front["knee"] else str(row["trial"])
        values = [measured(row["validation"][task]) for task in tasks]
        table.add_row(name, *values, *(weight_in_words(row["task_weights"].get(task, 0.0)) for task in tasks))
    return table


def in_folds(config: Mapping[str, Any]) -> str:
    """The spread of a cross-validated score, with the number of folds; nothing without folds."""
    scores = config.get("folds", {}).get("scores", [])
    return f" ± {stdev(scores):.4f} over {len(scores)} folds" if scores else ""


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The hyperparameters of a config and its epochs, as text."""
    training = config["training"]
    values = {name: plain(value) for name, value in config["hyperparameters"].items()}
    values |= {"epochs": f"{training['epochs_trained']} (best: {training['best_epoch'] + 1})"}
    about = config.get("parameters")
    return values if about is None else values | {"parameters": f"of {about['epochs']} epochs on {about['trained_on']}"}


def missed(config: Mapping[str, Any]) -> list[str]:
    """A line for each task whose validation metric does not reach what it must."""
    lines = []
    for task, least in config.get("at_least", {}).items():
        metric, higher = config["tasks"][task]["metric"], config["tasks"][task]["higher_is_better"]
        value = config["validation"].get(task, {}).get(metric)
        if value is None or (value >= least if higher else value <= least):
            continue
        nearest = ": no trial of the search reaches it, this one comes nearest" if "verdict" not in config else ""
        lines.append(f"{task} {metric} {measured(value)} misses at {'least' if higher else 'most'} {least:g}{nearest}")
    return lines


def _training(config: Mapping[str, Any]) -> str:
    """The training that has these metrics."""
    trial, confirmation = config["trial"], config.get("confirmation")
    if trial is None:
        return "trained"
    if confirmation is None:
        return f"trial {trial}"
    repeats = f"{len(confirmation['seeds'])} {'new divisions' if confirmation.get('divisions') else 'fresh seeds'}"
    if confirmation["weights"] == "alone":
        return f"{config['alone']} alone, the best on validation of {repeats}"
    weights = " with equal task weights" if confirmation["weights"] == "equal" else ""
    return f"trial {trial}{weights}, the best on validation of {repeats}"


def _test_score(config: Mapping[str, Any]) -> str:
    """The score on test, beside the one on validation, where there is one and the kind of score says how.

    A task that is left out of the score is in no verdict.
    """
    kind = config["score"]["kind"]
    if "test" not in config or not (kind in NAMED or kind in config["tasks"]):
        return ""
    tasks = config["tasks"]
    scored = config.get("verdict", {}).get("metrics", tasks) if kind in NAMED else [kind]
    found = {task: metrics for task, metrics in config["test"].items() if task in scored}
    if not found:
        return ""
    signs = {task: 1 if tasks[task]["higher_is_better"] else -1 for task in found}
    oriented = {task: signs[task] * value for task, metrics in found.items() for value in metrics.values()}
    return f", {measured(Score(kind).value(oriented))} on test"


def _task_table(config: Mapping[str, Any], every: bool) -> Table:
    """The weight and the metrics of each task; terms have a weight alone, evaluations metrics."""
    splits = [split for split in ("validation", "test") if split in config]
    table = Table("task", box=None, padding=(0, GAP, 0, 0))
    for column in ("weight", *splits):
        table.add_column(column, justify="right")
    weights = config["task_weights"]
    kept = list(weights) if every else shown_tasks(weights)
    kept += [name for name in config.get("tasks", {}) if name not in weights]
    for place, task in enumerate(kept):
        if place == MOST_WEIGHED and len(shown_tasks(weights)) < len(weights) and not every:
            table.add_row(_others(weights))
        found = [config[split].get(task, {}).items() for split in splits]
        cells = ["  ".join(f"{metric} {measured(value)}" for metric, value in metrics) for metrics in found]
        cells[0] += _spread(config, task)
        weight = f"{weights[task]:.4f}" if task in weights else ""
        table.add_row(*map(Text, map(visible, (task, weight, *cells))))
    return table


def _spread(config: Mapping[str, Any], task: str) -> str:
    """The spread of a task's metric over folds; nothing without folds."""
    folds = config.get("folds", {}).get("validation", {}).get(task, {})
    return "".join(f" ± {stdev(values):.4f}" for values in folds.values())


def verdict_lines(verdict: Mapping[str, Any]) -> list[str]:
    """A verdict's lines; of very many tasks those with the largest and smallest weights."""
    weights, lines = verdict["weights"], list(verdict["lines"])
    kept = shown_tasks(weights)
    if len(kept) == len(weights):
        return lines
    first = 1 + next(number for number, line in enumerate(lines) if line.startswith("weights: "))
    by_task = dict(zip(verdict["metrics"], lines[first:], strict=False))
    shown = [f"{task} {weight_in_words(weights[task])}" for task in kept]
    tasks = [by_task[task] for task in kept if task in by_task]
    shown.insert(MOST_WEIGHED, "…")
    tasks.insert(MOST_WEIGHED, f"{_others(weights)} tasks: `mtlsearch best --all`")
    return [*lines[: first - 1], f"weights: {', '.join(shown)}", *tasks, *lines[first + len(by_task) :]]


def _others(weights: Mapping[str, float]) -> str:
    return f"… {len(weights) - len(shown_tasks(weights))} more"
