"""The sources of a study's data, loaded once each and divided for its tasks; and the check of its model on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mtlsearch.activity import doing
from mtlsearch.data.data import Data, Source
from mtlsearch.data.examples.digests import sha256_by_task
from mtlsearch.data.examples.division import Marks, over_all
from mtlsearch.data.examples.kinds import InputKind, as_input
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import Splits, divide
from mtlsearch.errors import DataError, ModelError, MtlsearchError, kind_and_line
from mtlsearch.tasks.task import Target, Task, labelled
from mtlsearch.wording import few


def load_splits(
    tasks: Sequence[Task], directory: Path, split_seed: int
) -> tuple[tuple[Splits, ...], dict[str, Target]]:
    """The divided data of each source, and the facts about each task. Raises DataError."""
    splits: list[Splits] = []
    targets: dict[str, Target] = {}
    for source, joint in _by_source(tasks):
        with doing(f"reading the data of {few([task.name for task in joint])}"):
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
    strata = [found for task in tasks if (found := task.strata(data)) is not None]
    marks = _marks(data, tasks) if over_all() and not isinstance(data.validation, Part) else []
    # One classification is divided as earlier versions did.
    together = np.concatenate(marks, axis=1) if marks and not len(marks) == len(strata) == 1 else None
    train, validation = divide(data, strata[0] if strata else None, split_seed, together)

    def prepared(part: Part) -> Part:
        inputs = part.inputs.contiguous() if isinstance(part.inputs, Tensor) else part.inputs
        labels = {t.name: t.prepare(t.labels(data, part), targets[t.name]) for t in tasks}
        return Part(inputs, {name: y.contiguous() for name, y in labels.items()}, part.groups)

    train, validation, test = map(prepared, (train, validation, data.test))
    with doing(f"hashing the data of {few([task.name for task in tasks])}"):
        sha256 = sha256_by_task(data, {task.name: task.label_columns for task in tasks})
    return Splits(
        tasks=tuple(task.name for task in tasks),
        train=train,
        validation=validation,
        test=test,
        sha256=sha256,
        fitted=data.fitted,
        augment=data.augment,
        kind=data.kind,
        over_all=data.over_all or together is not None,
        drawn=data.drawn,
    )


def _marks(data: Data, tasks: Sequence[Task]) -> list[Marks]:
    return [found for task in tasks if (found := task.marks(data)) is not None]


def unscorable(
    tasks: Sequence[Task], splits: Sequence[Splits], targets: Mapping[str, Target], refuse: bool
) -> dict[str, str]:
    """The tasks that cannot be scored on their validation or test data, each with the reason.

    Raises DataError where there is one and `refuse`, and for a task without labels in its training data.
    """
    named, found = {task.name: task for task in tasks}, dict[str, str]()
    for each in splits:
        parts = {"train": each.train, "validation": each.validation, "test": each.test}
        for (where, part), name in product(parts.items(), each.tasks):
            labels = part.labels[name]
            empty = not bool(labelled(labels).any())
            why = "all are missing" if empty or where == "train" else named[name].unscorable(labels, targets[name])
            if empty and (refuse or where == "train"):
                raise DataError(f"task {name!r} needs labels in its {where} data, but {why}")
            if where == "train" or why is None:
                continue
            if refuse:
                raise DataError(
                    f"task {name!r} cannot be scored on its {where} data: {why}. Hold out more of the data, say the"
                    " parts by split=, choose another metric_name, or leave it out of the score: Study(...,"
                    ' unscorable="skip")'
                )
            found.setdefault(name, f"on its {where} data: {why}")
    return found


def with_kind(model: nn.Module, splits: Splits) -> Splits:
    """The splits with the kind of their inputs: whole numbers are tokens where `model` takes them whole.

    Raises ModelError where it takes them neither whole nor as reals.
    """
    if splits.kind is not None:
        return splits
    failed: dict[str, str] = {}
    kinds: tuple[InputKind, ...] = ("tokens", "numbers")
    for kind in kinds:
        found = replace(splits, kind=kind)
        try:
            _run(model, examples((found,)))
            return found
        except ModelError as error:
            failed[kind] = str(error)
    # A model that embeds its inputs fails on reals because they are no indices.
    raise ModelError(failed["tokens"] if "indices" in failed["numbers"] else failed["numbers"])


def examples(splits: Sequence[Splits]) -> dict[str, Tensor]:
    """A few examples for each task, as a model takes them."""
    given = [(each.tasks, as_input(_few(each), torch.float32, each.kind)) for each in splits]
    return {task: x for tasks, x in given for task in tasks}


def _few(splits: Splits) -> Tensor:
    """The first two training examples; of tokens in memory also those of the smallest and the largest in each part."""
    found = [splits.train.inputs[:2]]
    if splits.kind == "tokens":
        parts = (splits.train.inputs, splits.validation.inputs, splits.test.inputs)
        found += [_extremes(inputs) for inputs in parts if isinstance(inputs, Tensor)]
    return torch.cat(found)


def _extremes(inputs: Tensor) -> Tensor:
    """The examples that hold the smallest and the largest whole number."""
    numbers = inputs.reshape(len(inputs), -1).cpu().numpy()
    return inputs[[int(numbers.min(1).argmin()), int(numbers.max(1).argmax())]]


def check_outputs(
    model: nn.Module, tasks: Sequence[Task], splits: Sequence[Splits], targets: Mapping[str, Target]
) -> None:
    """Run `model` on two examples and check its outputs against the tasks' labels. Raises ModelError."""
    inputs = examples(splits)
    # A disjoint source is evaluated by itself, so a model must take any source's tasks alone.
    for given in (*(each.tasks for each in splits), tuple(inputs)):
        outputs = _run(model, {task: inputs[task] for task in given})
        for task in tasks:
            if task.name in given:
                due = (len(inputs[task.name]), *targets[task.name].output_shape)
                _check_output(task.name, outputs, due, targets[task.name].classes)


def check_heads(model: nn.Module, tasks: Sequence[str]) -> None:
    """Raise ModelError where a model has a head for each of `tasks`, and another one.

    Heads are a ModuleDict by task that is called `heads`, or one of the shipped trunks'.
    """
    for place, module in model.named_modules():
        named = place.rpartition(".")[2]
        if not isinstance(module, nn.ModuleDict) or named not in ("heads", "networks"):
            continue
        surplus = [name for name in module if name not in tasks]
        if surplus and {*tasks} <= {*module}:
            raise ModelError(
                f"every head of the model must be a task's, but its {named} have {surplus[0]!r} beside"
                f" {few(list(tasks))}: take it out, add its task, or keep it by Study(...,"
                f" spare_heads=[{surplus[0]!r}])"
            )


def _run(model: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except MtlsearchError as error:
        raise ModelError(str(error)) from error
    except Exception as error:
        raise ModelError(_why_it_fails(model, inputs, error)) from error
    if not isinstance(outputs, Mapping):
        raise ModelError(
            f"the model must give a dict of outputs by task, but got a {type(outputs).__name__}: return"
            " {task: self.heads[task](features) for task in inputs}"
        )
    return outputs


def _why_it_fails(model: nn.Module, inputs: Mapping[str, Tensor], error: Exception) -> str:
    """The rule that a model breaks which fails on inputs by task."""
    missing = error.args[0] if isinstance(error, KeyError) and error.args else None
    if missing in inputs:
        there = dict.fromkeys(name for m in model.modules() if isinstance(m, nn.ModuleDict) for name in m)
        return (
            f"the model must have a head for each task, but has none for {missing!r}"
            f" ({f'it has {few(list(there))}' if there else 'KeyError'}): name its heads by task"
        )
    shapes = ", ".join(f"{task} {tuple(x.shape)}" for task, x in inputs.items())
    if _takes_a_tensor(model, next(iter(inputs.values()))):
        return (
            "the model must take a dict of inputs by task and give one of outputs, but its forward takes a tensor:"
            " write def forward(self, inputs): x = next(iter(inputs.values())) where all tasks take the same x"
        )
    return f"the model fails on inputs {shapes}: {kind_and_line(error)}"


def _takes_a_tensor(model: nn.Module, x: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(x)
    except Exception:
        return False
    return True


def _check_output(task: str, outputs: Mapping[str, Tensor], due: tuple[int, ...], classes: Sequence[str] = ()) -> None:
    """Raise ModelError unless the outputs hold a tensor of shape `due` for `task`."""
    if task not in outputs:
        raise ModelError(f"the model must give an output for task {task!r}, but gave: {', '.join(outputs) or 'none'}")
    output, rule = outputs[task], f"the model's output for task {task!r} must"
    if not isinstance(output, Tensor):
        raise ModelError(f"{rule} be a tensor, but got a {type(output).__name__}")
    got = tuple(output.shape)
    if classes and len(due) == len(got) == 2 and got[1] != due[1]:
        raise ModelError(
            f"{rule} have a column for each of its {due[1]} classes ({few(classes)}), but has {got[1]}: give its head"
            f" {due[1]} outputs, or mend the labels where that is not the number of classes"
        )
    if got != due:
        raise ModelError(f"{rule} have the shape {due}, but got {tuple(output.shape)}")
