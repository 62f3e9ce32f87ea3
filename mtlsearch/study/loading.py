"""The sources of a study's data, loaded once each and divided for its tasks; and the check of its model on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mtlsearch.data.parts import Data, Part, Source, Splits, as_input, divide, sha256_by_task
from mtlsearch.errors import DataError, ModelError, MtlsearchError, kind_and_line
from mtlsearch.tasks.task import Target, Task, labelled


def load_splits(
    tasks: Sequence[Task], directory: Path, split_seed: int
) -> tuple[tuple[Splits, ...], dict[str, Target]]:
    """The divided data of each source, and the facts about each task. Raises DataError."""
    splits: list[Splits] = []
    targets: dict[str, Target] = {}
    for source, joint in _by_source(tasks):
        data = _load(source, joint[0].name, directory)
        targets |= {task.name: task.target(data) for task in joint}
        splits.append(_split(data, joint, targets, split_seed))
    return tuple(splits), targets


def _by_source(tasks: Sequence[Task]) -> list[tuple[Source, list[Task]]]:
    """The tasks of each source; equal sources are one, such as TorchvisionImages("MNIST") named twice."""
    groups: list[tuple[Source, list[Task]]] = []
    for task in tasks:
        joint = next((members for source, members in groups if source == task.data), None)
        if joint is None:
            groups.append((task.data, [task]))
        else:
            joint.append(task)
    return groups


def _load(source: Source, task: str, directory: Path) -> Data:
    """The data of `source`; an error in a user's own source becomes one line."""
    try:
        data = source(directory)
    except MtlsearchError:
        raise
    except Exception as error:
        raise DataError(f"the data of task {task!r} cannot be loaded: {kind_and_line(error)}") from error
    if not isinstance(data, Data):
        raise DataError(f"the data of task {task!r} must be a Data, but got a {type(data).__name__}")
    return data


def _split(data: Data, tasks: Sequence[Task], targets: Mapping[str, Target], split_seed: int) -> Splits:
    """Divide the data of one source, and prepare its tasks' labels."""
    strata = next((found for task in tasks if (found := task.strata(data)) is not None), None)
    train, validation = divide(data, strata, split_seed)

    def prepared(part: Part) -> Part:
        inputs = part.inputs.contiguous() if isinstance(part.inputs, Tensor) else part.inputs
        labels = {t.name: t.prepare(data.column(part, t.name), targets[t.name]) for t in tasks}
        return Part(inputs, {name: y.contiguous() for name, y in labels.items()})

    parts = {"train": prepared(train), "validation": prepared(validation), "test": prepared(data.test)}
    for where, part in parts.items():
        for name, labels in part.labels.items():
            if not bool(labelled(labels).any()):
                raise DataError(f"task {name!r} needs labels in its {where} data, but all are missing")
    return Splits(
        tasks=tuple(task.name for task in tasks),
        **parts,
        sha256=sha256_by_task(data, [task.name for task in tasks]),
        fitted=data.fitted,
        augment=data.augment,
    )


def check_outputs(
    model: nn.Module, tasks: Sequence[Task], splits: Sequence[Splits], targets: Mapping[str, Target]
) -> None:
    """Run `model` on two examples and check its outputs against the tasks' labels. Raises ModelError."""
    inputs = {task: as_input(each.train.inputs[:2], torch.float32) for each in splits for task in each.tasks}
    # A disjoint source is evaluated by itself, so a model must take any source's tasks alone.
    for given in (*(each.tasks for each in splits), tuple(inputs)):
        outputs = _run(model, {task: inputs[task] for task in given})
        for task in tasks:
            if task.name in given:
                due = (len(inputs[task.name]), *targets[task.name].output_shape)
                _check_output(task.name, outputs, due)


def _run(model: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except MtlsearchError as error:
        raise ModelError(str(error)) from error
    except Exception as error:
        shapes = ", ".join(f"{task} {tuple(x.shape)}" for task, x in inputs.items())
        raise ModelError(f"the model fails on inputs {shapes}: {kind_and_line(error)}") from error
    if not isinstance(outputs, Mapping):
        raise ModelError(f"the model must give a dict of outputs by task, but got a {type(outputs).__name__}")
    return outputs


def _check_output(task: str, outputs: Mapping[str, Tensor], due: tuple[int, ...]) -> None:
    """Raise ModelError unless the outputs hold a tensor of shape `due` for `task`."""
    if task not in outputs:
        raise ModelError(f"the model must give an output for task {task!r}, but gave: {', '.join(outputs) or 'none'}")
    output, rule = outputs[task], f"the model's output for task {task!r} must"
    if not isinstance(output, Tensor):
        raise ModelError(f"{rule} be a tensor, but got a {type(output).__name__}")
    if tuple(output.shape) != due:
        raise ModelError(f"{rule} have the shape {due}, but got {tuple(output.shape)}")
