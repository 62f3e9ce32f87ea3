"""New divisions of a study's data: its folds, train and validation together, and all parts dealt anew.

Every fold trains on the same pool in memory: its validation examples are a run of it, and `Splits.rows` names the
others.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mtlsearch.data.examples.dealing import dealt, even
from mtlsearch.data.examples.division import Index, Marks
from mtlsearch.data.examples.parts import Part, joined
from mtlsearch.data.splits import Splits
from mtlsearch.errors import DataError
from mtlsearch.tasks.task import Target, Task, labelled
from mtlsearch.wording import few

Targets = Mapping[str, Target]
MOVED = 1.5  # times as many labels to train on, or as few, are told


def fold_splits(
    tasks: Sequence[Task], splits: Sequence[Splits], targets: Targets, folds: int, seed: int
) -> list[tuple[Splits, ...]]:
    """The splits of every source in each of the `folds` of train and validation, dealt by `seed`.

    Each fold has its share of the labels of all tasks, and groups stay whole. Raises DataError where there are more
    folds than examples of a class, or groups.
    """
    by_source = [_folds_of_source(_own(tasks, each), each, targets, folds, seed) for each in splits]
    return list(zip(*by_source, strict=True))


def _own(tasks: Sequence[Task], splits: Splits) -> list[Task]:
    return [task for task in tasks if task.name in splits.tasks]


def _folds_of_source(tasks: Sequence[Task], splits: Splits, targets: Targets, folds: int, seed: int) -> list[Splits]:
    pool = joined([splits.train, splits.validation])
    _check_enough(tasks, pool, targets, folds)
    rows = len(pool)
    groups = None if pool.groups is None else pool.groups.numpy()
    parts = dealt(rows, even(rows, folds), seed, marks_of_labels(tasks, pool.labels), groups)
    device = next(iter(pool.labels.values())).device
    ordered = pool.taken(torch.from_numpy(np.concatenate(parts)).to(device))
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    numbers = torch.arange(rows)
    return [
        replace(
            splits,
            train=ordered,
            validation=ordered.between(start, end),
            rows=torch.cat([numbers[:start], numbers[end:]]),
        )
        for start, end in pairwise(ends)
    ]


def marks_of_labels(tasks: Iterable[Task], labels: Mapping[str, Tensor]) -> Marks | None:
    """The marks [N, L] of all labels whose shares a division keeps; None where there are none."""
    found = [marks for task in tasks if (marks := task.shares(labels[task.name].cpu())) is not None]
    return np.concatenate(found, axis=1) if found else None


def _check_enough(tasks: Iterable[Task], pool: Part, targets: Targets, folds: int) -> None:
    """Raise DataError where a fold would lack a class, or groups are too few."""
    rule = f"{folds} folds need {folds} {{}} or more, but {{}}: use fewer folds"
    if pool.groups is not None and (count := len(np.unique(pool.groups.numpy()))) < folds:
        raise DataError(rule.format("groups", f"there are {count}"))
    if len(pool) < folds:
        raise DataError(rule.format("examples to train and validate", f"there are {len(pool)}"))
    for task in tasks:
        labels, classes = pool.labels[task.name], targets[task.name].classes
        if labels.is_floating_point() or labels.ndim != 1 or not classes:
            continue
        counts = torch.bincount(labels[labels >= 0].cpu(), minlength=len(classes)).tolist()
        number, count = min(enumerate(counts), key=lambda each: each[1] or folds)
        if 0 < count < folds:
            what = f"class {classes[number]!r} of task {task.name!r} has {count}"
            raise DataError(rule.format("examples of each class", what))


def whole(splits: Sequence[Splits]) -> tuple[Splits, ...]:
    """The splits of every source, which train on train and validation together."""
    return tuple(replace(each, train=joined([each.train, each.validation]), rows=None) for each in splits)


Rows = Sequence[Index]  # of train, validation and test, in the pool of all three


def new_rows(tasks: Sequence[Task], splits: Sequence[Splits], seed: int) -> list[Rows]:
    """The rows of each source's parts in a new division by `seed`: sizes and shares of labels are as before."""
    found: list[Rows] = []
    for each in splits:
        parts = [each.train, each.validation, each.test]
        labels = {name: torch.cat([part.labels[name] for part in parts]) for name in each.tasks}
        marks = marks_of_labels(_own(tasks, each), labels)
        groups = None if each.train.groups is None else joined(parts).groups
        sizes = list(map(len, parts))
        found.append(dealt(sum(sizes), sizes, seed, marks, None if groups is None else groups.numpy()))
    return found


def redivided(splits: Sequence[Splits], rows: Sequence[Rows]) -> tuple[Splits, ...]:
    """The splits of every source with these `rows` in its parts."""
    return tuple(_redivided(each, of_parts) for each, of_parts in zip(splits, rows, strict=True))


def _redivided(splits: Splits, rows: Rows) -> Splits:
    pool = joined([splits.train, splits.validation, splits.test])
    device = next(iter(pool.labels.values())).device
    train, validation, test = (pool.taken(torch.from_numpy(part).to(device)) for part in rows)
    return replace(splits, train=train, validation=validation, test=test)


def overlaps(splits: Sequence[Splits]) -> dict[str, float]:
    """The labelled test examples of each task over its labelled training ones."""
    found = {}
    for each in splits:
        for task in each.tasks:
            train, test = (int(labelled(part.labels[task]).sum()) for part in (each.train, each.test))
            found[task] = test / train
    return found


def labelled_examples(splits: Sequence[Splits]) -> dict[str, int]:
    """The labelled examples of each task in all parts together."""
    return {
        task: sum(int(labelled(part.labels[task]).sum()) for part in (each.train, each.validation, each.test))
        for each in splits
        for task in each.tasks
    }


def moved_labels(splits: Sequence[Splits], folds: int | None = None) -> str:
    """A clause on tasks that train on many more labels, or many fewer, on each of the `folds` or new divisions.

    Parts that are the user's own may have been labelled unalike on purpose. The clause is empty where no task does.
    """
    moved = []
    for each in splits:
        pooled = [each.train, each.validation] + ([] if folds else [each.test])
        share = 1 - 1 / folds if folds else len(each.train) / sum(map(len, pooled))
        for task in each.tasks:
            now, *others = (int(labelled(part.labels[task]).sum()) for part in pooled)
            then = round(share * (now + sum(others)))
            if not now / MOVED <= then <= now * MOVED:
                moved.append(f"{task}: about {then:,} instead of {now:,}")
    if not moved:
        return ""
    return f"; the labels to train on change ({few(moved)}), and the answer may change with them"


def groups_digest(splits: Sequence[Splits]) -> str | None:
    """The SHA-256 of the groups of all sources' examples, by which they were divided; None where there are none."""
    groups = [part.groups for each in splits for part in (each.train, each.validation, each.test)]
    if all(each is None for each in groups):
        return None
    digest = hashlib.sha256()
    for each in groups:
        digest.update(b"none" if each is None else each.numpy().tobytes())
    return digest.hexdigest()
