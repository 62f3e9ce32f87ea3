"""A study whose tasks lie in columns: those of one source, kind and options are a group, with their labels stacked.

Each task's result is that of the task by itself, up to rounding. The trainers take a study in columns where it has
enough tasks for that; the path of one task after the other stays the reference (`training/losses.py`).

Legend: T tasks, K of a group, N examples, C outputs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import Splits
from mtlsearch.nn.sharing import with_joined_heads
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.tasks.columns import Together, own_class, stacked
from mtlsearch.tasks.task import Task

LEAST = 8  # tasks of a group: with fewer there is little to gain (benchmarks/RESULTS.md)
LABELS = "\0columns"  # and a group's number: the name of its labels; no task has it


@dataclass(frozen=True)
class Group:
    """K `tasks` of one source, one loss and one metric; `name` is that of their labels [N, K, ...] in a part.

    `at` [K] are their places among all losses. `units` [K] are those of their losses, None where all are 1.
    `auxiliary` [K] marks the tasks that a weight of 0 drops, None where none is.
    """

    name: str
    tasks: tuple[str, ...]
    together: Together
    at: Tensor
    units: Tensor | None
    auxiliary: Tensor | None


@dataclass(frozen=True)
class StudyInColumns(LoadedStudy):
    """A loaded study of which the tasks in `groups` have their labels as columns, and no others.

    `order` [T] brings the losses of the groups, and of the rest behind them, into the study's order; None where that
    is their order already.
    """

    groups: tuple[Group, ...] = ()
    order: Tensor | None = None

    @cached_property
    def alone(self) -> tuple[str, ...]:
        """The tasks with a loss that are in no group."""
        grouped = {task for group in self.groups for task in group.tasks}
        return tuple(task.name for task in self.study.tasks if task.name not in grouped)


def in_columns(loaded: LoadedStudy) -> LoadedStudy:
    """`loaded` in columns; itself where no group is large enough, or where it is in columns already."""
    if isinstance(loaded, StudyInColumns):
        return loaded
    found = [tasks for splits in loaded.splits for tasks in _alike(loaded, splits)]
    groups = [group for i, tasks in enumerate(found) if (group := _group(loaded, tasks, i)) is not None]
    if not groups:
        return loaded
    own = {each.name: getattr(loaded, each.name) for each in fields(LoadedStudy)}
    own["splits"] = tuple(_with_columns(splits, groups) for splits in loaded.splits)
    names, grouped = loaded.study.weighted, [task for group in groups for task in group.tasks]
    listed = [*grouped, *(name for name in names if name not in {*grouped})]
    place = {name: i for i, name in enumerate(listed)}
    order = None if listed == names else torch.tensor([place[name] for name in names], device=loaded.device)
    return StudyInColumns(**own, groups=tuple(groups), order=order)


def separate_losses(loaded: LoadedStudy) -> int:
    """The number of losses that a step computes one after the other: a group in columns is one."""
    alike = [tasks for splits in loaded.splits for tasks in _alike(loaded, splits)]
    return len(loaded.study.weighted) - sum(len(tasks) - 1 for tasks in alike)


def joined(loaded: LoadedStudy, model: nn.Module) -> nn.Module:
    """`model` with its heads joined as the tasks of a study in columns are grouped; else as it is."""
    if not isinstance(loaded, StudyInColumns):
        return model
    sources = [[g for g in loaded.groups if g.tasks[0] in splits.tasks] for splits in loaded.splits]
    return with_joined_heads(model, [[task for g in groups for task in g.tasks] for groups in sources if groups])


def _alike(loaded: LoadedStudy, splits: Splits) -> list[list[Task]]:
    """The tasks of one source that have a loss, by kind, options and output: the lists that are long enough."""
    found: dict[str, list[Task]] = {}
    for task in loaded.study.tasks:
        if task.name in splits.tasks and own_class(type(task)):
            key = json.dumps([task.kind, task.alike, loaded.targets[task.name].output_shape], default=repr)
            found.setdefault(f"{type(task).__module__} {key}", []).append(task)
    return [tasks for tasks in found.values() if len(tasks) >= LEAST]


def _group(loaded: LoadedStudy, tasks: Sequence[Task], number: int) -> Group | None:
    targets = [loaded.targets[task.name] for task in tasks]
    together = type(tasks[0]).together(tasks, targets, loaded.device)
    if together is None:
        return None
    study, names = loaded.study, tuple(task.name for task in tasks)
    place = {name: i for i, name in enumerate(study.weighted)}
    units = torch.tensor([loaded.units.get(name, 1.0) for name in names], device=loaded.device)
    droppable = {*study.auxiliary_tasks}
    auxiliary = torch.tensor([name in droppable for name in names], device=loaded.device)
    return Group(
        name=f"{LABELS} {number}",
        tasks=names,
        together=together,
        at=torch.tensor([place[name] for name in names], device=loaded.device),
        units=units if bool((units != 1).any()) else None,
        auxiliary=auxiliary if bool(auxiliary.any()) else None,
    )


def _with_columns(splits: Splits, groups: Sequence[Group]) -> Splits:
    own = [group for group in groups if group.tasks[0] in splits.tasks]
    if not own:
        return splits
    train, validation, test = (_part(part, own) for part in (splits.train, splits.validation, splits.test))
    return replace(splits, train=train, validation=validation, test=test)


def _part(part: Part, groups: Sequence[Group]) -> Part:
    gone = {task for group in groups for task in group.tasks}
    rest: Mapping[str, Tensor] = {name: labels for name, labels in part.labels.items() if name not in gone}
    columns = {group.name: stacked([part.labels[task] for task in group.tasks]) for group in groups}
    return replace(part, labels={**rest, **columns})
