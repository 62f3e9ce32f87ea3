"""Writes study files for `mtlsearch init`: one for a guessed table, or a commented one to start from."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from string import Template
from typing import get_args

from mtlsearch.data.guess.table import Guess, Skew
from mtlsearch.data.table import Table
from mtlsearch.data.table_rows import former_name
from mtlsearch.errors import UsageError
from mtlsearch.files import check_writable, write_text
from mtlsearch.limits import LONGEST_TASK
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.tasks.classification import Classification
from mtlsearch.tasks.regression import Regression
from mtlsearch.tasks.task import Task
from mtlsearch.wording import few, is_name, shortened

SMALL = 5_000  # rows; fewer are cheap enough for more epochs
WIDTH = 100
MOST_LEFT_OUT = 6  # names of columns in a comment
KINDS: Mapping[str, type[Task]] = {"number": Regression, "category": Classification}  # of a target
STUDY = Template(
    '''"""$title, on one shared trunk.

Written by `mtlsearch init`, yours to edit: move a column from list to list, or take it out.
"""

from pathlib import Path

from mtlsearch import $names, SharedTrunk, Study, Table, choice, integer, real

table = Table(
    Path(__file__).resolve().parent / $path,
$options
$division
)


def model(config):
    return SharedTrunk(
        in_features=table.features,
        heads=$heads,
        hidden=config["hidden"],
        depth=config["depth"],
        dropout=config["dropout"],
        norm=config["norm"],
    )


study = Study(
    description=$description,
    needs=$needs,
    tasks=[
$tasks
    ],
    model=model,
    space={
        "hidden": integer(16, 256, log=True),
        "depth": integer(1, 3),
        "dropout": real(0.0, 0.5),
        "optimizer": choice("adam", "adamw", "sgd"),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "weight_decay": real(1e-6, 1e-1, log=True),
        "norm": choice("none", "batch", "layer"),
    },
    default={
        "hidden": 64,
        "depth": 1,
        "dropout": 0.1,
        "optimizer": "adam",
        "learning_rate": $learning_rate,
        "weight_decay": 1e-4,
        "norm": "none",
    },
    epochs=$epochs,
    batch_size=$batch_size,
)
'''
)


def check_new(path: Path, force: bool) -> None:
    """Raise UsageError or ConfigError where no study file may be written to `path`."""
    if path.suffix != ".py":
        raise UsageError(f"--out must end in .py, as a study file's name does, but got {path}")
    if path.exists() and not force:
        raise UsageError(f"{path} is already there: --force writes over it, or name another with --out")
    check_writable(path)


def write_starter(path: Path) -> None:
    """Write the commented study, which runs as it is."""
    folder = next(iter(shipped_studies().values())).parent
    write_text(path, (folder / "_starter.py").read_text(encoding="utf-8"))


def write_table_study(path: Path, guess: Guess, metrics: Mapping[str, str]) -> None:
    """Write the study file for a guessed table; `metrics` are those that a user chose, by target."""
    write_text(path, study_text(guess, path, metrics))


def chosen_metrics(guess: Guess, given: Sequence[str]) -> dict[str, str]:
    """The metric of each target that --metric names: NAME for all that have it, or TARGET=NAME. Raises UsageError."""
    targets = guess.table.targets
    known = {column: _metrics(KINDS[kind]) for column, kind in targets.items()}
    chosen: dict[str, str] = {}
    for each in given:
        column, _, name = each.rpartition("=")
        if column and column not in targets:
            raise UsageError(f"--metric {each}: {column!r} is no target; there are {', '.join(targets)}")
        takers = [target for target in ([column] if column else targets) if name in known[target]]
        if not takers:
            has = "; ".join(f"{t}: {', '.join(known[t])}" for t in ([column] if column else targets))
            raise UsageError(f"--metric {each}: no target has a metric {name!r}; there are {has}")
        chosen |= dict.fromkeys(takers, name)
    return chosen


def _metrics(kind: type[Task]) -> tuple[str, ...]:
    """The metrics that a kind of task knows."""
    return next(get_args(each.type) for each in fields(kind) if each.name == "metric_name")


def study_text(guess: Guess, out: Path, metrics: Mapping[str, str]) -> str:
    """The text of the study file, about a page."""
    table, file = guess.table, Path(guess.table.path)
    tasks = {_task_name(column): kind for column, kind in table.targets.items()}
    names = sorted({"Regression" if kind == "number" else "Classification" for kind in tasks.values()})
    heads = {task: len(guess.data.class_names(task)) or 1 for task in tasks}
    small = guess.rows < SMALL
    return STUDY.substitute(
        title=_title(list(tasks)),
        names=", ".join(names),
        path=_quoted(Path(os.path.relpath(file, out.resolve().parent)).as_posix()),
        options="\n".join(_options(guess)),
        division="\n".join(_division(guess.table)),
        heads=_listed((f"{_quoted(task)}: {size}" for task, size in heads.items()), "{}", 8),
        description=_quoted(f"{len(tasks)} targets of {file.name}"),
        needs=_quoted(file.name),
        tasks="\n".join(line for column in table.targets for line in _task(guess, column, metrics.get(column))),
        learning_rate="1e-2" if small else "1e-3",
        epochs=30 if small else 10,
        batch_size=_batch_size(len(guess.data.train)),
    )


def _title(tasks: Sequence[str]) -> str:
    """The tasks where they are few and their names may stand in a docstring."""
    named = " and ".join(tasks)
    return f"{len(tasks)} targets of a table" if len(tasks) > 3 or set(named) & set('"\\') else named


def _options(guess: Guess) -> list[str]:
    """The arguments of `Table` that name its columns, one line each."""
    table = guess.table
    lines = [
        f"    {option}={_listed(map(_quoted, getattr(table, option)))},"
        for option in ("header", "numbers", "categories", "dates", "blanks")
        if getattr(table, option)
    ]
    if table.decimal != ".":
        lines.append(f"    decimal={_quoted(table.decimal)},")
    if guess.left_out:
        lines.append(f"    # Left out: {few([*map(_quoted, guess.left_out)], MOST_LEFT_OUT)}.")
    targets = (f"{_quoted(column)}: {_quoted(kind)}" for column, kind in table.targets.items())
    return [*lines, f"    targets={_listed(targets, '{}')},"]


def _division(table: Table) -> list[str]:
    """The arguments of `Table` that divide its rows."""
    groups = [] if table.groups is None else [f"    groups={_quoted(table.groups)},  # rows of one value stay together"]
    if table.split is not None:
        return [
            f"    split={_quoted(table.split)},  # says of each row whether it is to train, validation or test",
            *groups,
        ]
    return [
        *groups,
        "    validation=0.2,  # of the rows, to score the trials",
        "    test=0.2,  # of the rows, which a search never reads",
    ]


def _task(guess: Guess, column: str, metric: str | None) -> list[str]:
    """The lines that define a task; where its classes are skewed, a comment says why it has its metric."""
    name, kind = _quoted(_task_name(column)), KINDS[guess.table.targets[column]].__name__
    skew, why = guess.skewed.get(column), []
    if metric is None and skew is not None:
        metric = "auroc" if skew.classes == 2 else "macro_f1"
        why = [f"        # {_reason(skew)}"]
    option = "" if metric is None else f", metric_name={_quoted(metric)}"
    return [*why, f"        {kind}({name}, table{option}),"]


def _task_name(column: str) -> str:
    """The name of the task that predicts a column: its own, where a task can have it."""
    return column if is_name(column, LONGEST_TASK) else former_name(column)[:LONGEST_TASK]


def _reason(skew: Skew) -> str:
    label, share = _quoted(shortened(skew.label, 30)), f"{100 * skew.share:.2g} % of its labels are"
    if skew.classes == 2:
        return f"Only {share} {label}, so accuracy says little: area under the ROC curve."
    return f"{share} {label}, so accuracy says little: the mean F1 of all classes."


def _batch_size(rows: int) -> int:
    """The largest power of two from 16 to 256 that gives an epoch ten batches or more, else 16."""
    return next((size for size in (256, 128, 64, 32) if rows / size >= 10), 16)


def _quoted(text: str) -> str:
    """`text` as a Python literal."""
    return json.dumps(text, ensure_ascii=False)


def _listed(items: Iterable[str], brackets: str = "[]", indent: int = 4) -> str:
    """A list or dict on one line where it is short, else on several."""
    parts = list(items)
    one = brackets[0] + ", ".join(parts) + brackets[1]
    if len(one) + indent < WIDTH - 20:
        return one
    lines, line = [], " " * (indent + 4)
    for part in parts:
        if len(line) + len(part) + 1 > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = " " * (indent + 4)
        line += f"{part}, "
    return "\n".join([brackets[0], *lines, line.rstrip(), " " * indent + brackets[1]])
