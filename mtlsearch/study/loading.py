"""The sources of a study's data, loaded once each and divided for its tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from mtlsearch.data.parts import Data, Part, Source, Splits, divide
from mtlsearch.errors import DataError, MtlsearchError, kind_and_line
from mtlsearch.tasks.classification import Classification
from mtlsearch.tasks.task import Target, Task, labelled


def by_source(tasks: Sequence[Task]) -> list[tuple[Source, list[Task]]]:
    """The tasks of each source; equal sources are one, as TorchvisionImages("MNIST") named twice."""
    groups: list[tuple[Source, list[Task]]] = []
    for task in tasks:
        joint = next((members for source, members in groups if source == task.data), None)
        if joint is None:
            groups.append((task.data, [task]))
        else:
            joint.append(task)
    return groups


def source_data(source: Source, task: str, directory: Path) -> Data:
    """What `source` gives; an error in it is the user's to mend, so it is told in one line."""
    try:
        return source(directory)
    except MtlsearchError:
        raise
    except Exception as error:
        raise DataError(f"the data of task {task!r} cannot be loaded: {kind_and_line(error)}") from error


def split(data: Data, tasks: Sequence[Task], targets: Mapping[str, Target], split_seed: int) -> Splits:
    """Divide one source and prepare its tasks' labels."""
    strata = next((data.column(data.train, t.name) for t in tasks if isinstance(t, Classification)), None)
    train, validation = divide(data, strata if strata is not None and strata.ndim == 1 else None, split_seed)

    def prepared(part: Part) -> Part:
        return Part(
            part.inputs.contiguous() if isinstance(part.inputs, Tensor) else part.inputs,
            {t.name: t.prepare(data.column(part, t.name), targets[t.name]).contiguous() for t in tasks},
        )

    parts = {"train": prepared(train), "validation": prepared(validation), "test": prepared(data.test)}
    for where, part in parts.items():
        for name, labels in part.labels.items():
            if not bool(labelled(labels).any()):
                raise DataError(f"task {name!r} needs labels in its {where} data, but all are missing")
    return Splits(
        tasks=tuple(task.name for task in tasks),
        **parts,
        sha256={task.name: data.sha256(task.name) for task in tasks},
        text=data.text,
        augment=data.augment,
    )
