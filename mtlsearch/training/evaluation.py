"""Metrics of one model, or of many members, over a split."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import Splits
from mtlsearch.nn.sharing import JoinedOutputs, columns_of
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import Metrics
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.training.ahead import paced, read_ahead
from mtlsearch.training.columns.losses import by_task
from mtlsearch.training.columns.study import StudyInColumns
from mtlsearch.training.losses import Forward

READ_BYTES = 8 << 20  # of a chunk that is read from disk; a few chunks lie in memory at a time
EVALUATION_ROWS = {"cpu": 1000, "cuda": 16384}  # of a chunk: it stays in a CPU's cache, or fills a GPU
MEMBER_ROWS = 1 << 17  # rows of a chunk times members, at most


def evaluate(loaded: LoadedStudy, forward: Forward, split: str, dtype: torch.dtype) -> Metrics:
    """Metrics of `forward` over one split, "validation" or "test"."""

    def one(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        outputs = forward(inputs)
        if isinstance(outputs, JoinedOutputs):
            return outputs.mapped(lambda output: output.unsqueeze(0))
        return {task: output.unsqueeze(0) for task, output in outputs.items()}

    return evaluate_together(loaded, [one], split, dtype, members=[1])[0][0]


def evaluate_together(
    loaded: LoadedStudy, forwards: Sequence[Forward], split: str, dtype: torch.dtype, members: Sequence[int]
) -> list[list[Metrics]]:
    """Metrics of every member of each forward; data on disk are read once for all of them.

    A forward gives the outputs [M, B, C] of its M `members`. Values are read back to the host once per task, or per
    group of tasks in columns. A task that is left out of the score has none.
    """
    metrics = {task: metric for task, metric in loaded.metrics.items() if task not in loaded.left_out}
    values: list[dict[str, list[float]]] = [{} for _ in forwards]
    for splits in loaded.splits:
        measured = _measured(loaded, splits, metrics)
        found = _evaluate_source(splits, getattr(splits, split), measured, forwards, dtype, max(members))
        values = [before | new for before, new in zip(values, found, strict=True)]
    return [
        [
            {
                task: {metrics[task].name: own[task][member]} if task in metrics else {}
                for task in loaded.study.task_names
            }
            for member in range(count)
        ]
        for own, count in zip(values, members, strict=True)
    ]


@dataclass(frozen=True)
class _Measured:
    """What one metric measures: one task, or the `tasks` of a group; `labels` names their labels in a part."""

    labels: str
    tasks: tuple[str, ...]
    metric: Metric
    in_columns: bool

    def of(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The outputs [M, B, ...] of all members, [M, B, K, C] of tasks in columns."""
        return columns_of(outputs, self.tasks) if self.in_columns else outputs[self.labels]


def _measured(loaded: LoadedStudy, splits: Splits, metrics: Mapping[str, Metric]) -> list[_Measured]:
    """What is measured on one source."""
    groups = [g for g in loaded.groups if g.tasks[0] in splits.tasks] if isinstance(loaded, StudyInColumns) else []
    together = {task for group in groups for task in group.tasks}
    alone = [task for task in splits.tasks if task in metrics and task not in together]
    return [
        *(_Measured(task, (task,), metrics[task], False) for task in alone),
        *(_Measured(group.name, group.tasks, group.together.metric, True) for group in groups),
    ]


def _evaluate_source(
    splits: Splits,
    part: Part,
    measured: Sequence[_Measured],
    forwards: Sequence[Forward],
    dtype: torch.dtype,
    members: int,
) -> list[dict[str, list[float]]]:
    """Each task's metric for every member of each forward, over the tasks of one source."""
    collected: list[dict[str, list[Tensor]]] = [{each.labels: [] for each in measured} for _ in forwards]
    with _chunks(part, members) as chunks:
        for rows, inputs in chunks:
            given = dict.fromkeys(splits.tasks, as_input(inputs, dtype, splits.kind))
            for own, forward in zip(collected, forwards, strict=True):
                outputs = forward(given)
                for each in measured:
                    own[each.labels].append(_collect(each.metric, each.of(outputs), part.labels[each.labels][rows]))
    found: list[dict[str, list[float]]] = [{} for _ in forwards]
    for values, own in zip(found, collected, strict=True):
        for each in measured:
            values.update(_finish(each, own[each.labels], part.labels[each.labels]))
    return found


@contextmanager
def _chunks(part: Part, members: int) -> Iterator[Iterator[tuple[slice, Tensor]]]:
    """Chunks of a part's inputs on the device, each with its rows; inputs on disk are read ahead."""
    inputs = part.inputs
    size = min(EVALUATION_ROWS[inputs.device.type], MEMBER_ROWS // members)
    if isinstance(inputs, Tensor):
        yield ((slice(n, n + size), inputs[n : n + size]) for n in range(0, len(part), size))
        return
    size = min(size, max(1, READ_BYTES // max(1, inputs.example_bytes)))
    rows = [slice(n, n + size) for n in range(0, len(part), size)]
    with read_ahead(lambda number: inputs[rows[number]], len(rows)) as chunks:
        yield zip(rows, paced(chunks, inputs.device), strict=True)


def _collect(metric: Metric, outputs: Tensor, labels: Tensor) -> Tensor:
    """Reduce one chunk to the metric's sums [M, ...], or keep its outputs [M, B, ...]."""
    if isinstance(metric, CountedMetric):
        sums: Tensor = vmap(metric.count, in_dims=(0, None))(outputs, labels)
        return sums
    return outputs


def _finish(measured: _Measured, collected: Sequence[Tensor], labels: Tensor) -> dict[str, list[float]]:
    """Each member's value of each task, from all chunks."""
    metric = measured.metric
    if isinstance(metric, CountedMetric):
        found = metric.finish(torch.stack(list(collected)).sum(0))
        return by_task(measured.tasks, found) if measured.in_columns else {measured.labels: found.tolist()}
    values = [metric.compute(outputs, labels) for outputs in torch.cat(list(collected), 1)]
    if measured.in_columns:
        return by_task(measured.tasks, torch.stack([value for value in values if isinstance(value, Tensor)]))
    return {measured.labels: [float(value) for value in values]}
