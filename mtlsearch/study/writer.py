"""Writes study files for `mtlsearch init`: one for a guessed table, or a commented one to start from."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from string import Template

from mtlsearch.data.table_guess import Guess
from mtlsearch.data.table_rows import task_name
from mtlsearch.errors import UsageError
from mtlsearch.files import check_writable, write_text
from mtlsearch.study.study_file import shipped_studies
from mtlsearch.wording import few

SMALL = 5_000  # rows; fewer are cheap enough for more epochs
WIDTH = 100
MOST_LEFT_OUT = 6  # names of columns in a comment
STUDY = Template(
    '''"""$title, on one shared trunk.

Written by `mtlsearch init`, yours to edit: move a column from list to list, or take it out.
"""

from pathlib import Path

from mtlsearch import $names, SharedTrunk, Study, Table, choice, integer, real

table = Table(
    Path(__file__).resolve().parent / $path,
$options
    validation=0.2,  # of the rows, to score the trials
    test=0.2,  # of the rows, which a search never reads
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


def write_table_study(path: Path, guess: Guess) -> None:
    """Write the study file for a guessed table."""
    write_text(path, study_text(guess, path))


def study_text(guess: Guess, out: Path) -> str:
    """The text of the study file, about a page."""
    table, file = guess.table, Path(guess.table.path)
    tasks = {task_name(column): kind for column, kind in table.targets.items()}
    names = sorted({"Regression" if kind == "number" else "Classification" for kind in tasks.values()})
    heads = {task: len(guess.data.class_names(task)) or 1 for task in tasks}
    small = guess.rows < SMALL
    return STUDY.substitute(
        title=" and ".join(tasks) if len(tasks) < 4 else f"{len(tasks)} targets of a table",
        names=", ".join(names),
        path=_quoted(Path(os.path.relpath(file, out.resolve().parent)).as_posix()),
        options="\n".join(_options(guess)),
        heads=_listed((f"{_quoted(task)}: {size}" for task, size in heads.items()), "{}", 8),
        description=_quoted(f"{len(tasks)} targets of {file.name}"),
        needs=_quoted(file.name),
        tasks="\n".join(f"        {_task(guess, column)}," for column in table.targets),
        learning_rate="1e-2" if small else "1e-3",
        epochs=30 if small else 10,
        batch_size=_batch_size(len(guess.data.train)),
    )


def _options(guess: Guess) -> list[str]:
    """The arguments of `Table` that name its columns, one line each."""
    table = guess.table
    lines = [
        f"    {option}={_listed(map(_quoted, getattr(table, option)))},"
        for option in ("numbers", "categories", "dates", "blanks")
        if getattr(table, option)
    ]
    if table.decimal != ".":
        lines.append(f"    decimal={_quoted(table.decimal)},")
    out = [column.name for column in guess.columns if column.kind == "left out"]
    if out:
        lines.append(f"    # Left out: {few([*map(_quoted, out)], MOST_LEFT_OUT)}.")
    targets = (f"{_quoted(column)}: {_quoted(kind)}" for column, kind in table.targets.items())
    return [*lines, f"    targets={_listed(targets, '{}')},"]


def _task(guess: Guess, column: str) -> str:
    name = _quoted(task_name(column))
    if guess.table.targets[column] == "number":
        return f"Regression({name}, table)"
    metric = ', metric_name="macro_f1"' if column in guess.skewed else ""
    return f"Classification({name}, table{metric})"


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
