"""Metrics of one model, or of many members, over a split."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import vmap

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.parts import Part, Splits
from mtlsearch.study.results import Metrics
from mtlsearch.study.study import LoadedStudy
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.training.ahead import paced, read_ahead
from mtlsearch.training.losses import Forward

READ_BYTES = 8 << 20  # of a chunk that is read from disk; a few chunks lie in memory at a time
EVALUATION_ROWS = {"cpu": 1000, "cuda": 16384}  # of a chunk: it stays in a CPU's cache, or fills a GPU
MEMBER_ROWS = 1 << 17  # rows of a chunk times members, at most


def evaluate(loaded: LoadedStudy, forward: Forward, split: str, dtype: torch.dtype) -> Metrics:
    """Metrics of `forward` over one split, "validation" or "test"."""

    def one(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {task: output.unsqueeze(0) for task, output in forward(inputs).items()}

    return evaluate_together(loaded, [one], split, dtype, members=[1])[0][0]


def evaluate_together(
    loaded: LoadedStudy, forwards: Sequence[Forward], split: str, dtype: torch.dtype, members: Sequence[int]
) -> list[list[Metrics]]:
    """Metrics of every member of each forward; data on disk are read once for all of them.

    A forward gives the outputs [M, B, C] of its M `members`. Values are read back to the host once per task. A task
    that is left out of the score has none.
    """
    metrics = {task: metric for task, metric in loaded.metrics.items() if task not in loaded.left_out}
    values: list[dict[str, list[float]]] = [{} for _ in forwards]
    for splits in loaded.splits:
        found = _evaluate_source(splits, getattr(splits, split), metrics, forwards, dtype, max(members))
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


def _evaluate_source(
    splits: Splits,
    part: Part,
    metrics: Mapping[str, Metric],
    forwards: Sequence[Forward],
    dtype: torch.dtype,
    members: int,
) -> list[dict[str, list[float]]]:
    """Each task's metric for every member of each forward, over the tasks of one source."""
    tasks = [task for task in splits.tasks if task in metrics]
    collected: list[dict[str, list[Tensor]]] = [{task: [] for task in tasks} for _ in forwards]
    with _chunks(part, members) as chunks:
        for rows, inputs in chunks:
            given = dict.fromkeys(splits.tasks, as_input(inputs, dtype, splits.kind))
            for own, forward in zip(collected, forwards, strict=True):
                outputs = forward(given)
                for task in tasks:
                    own[task].append(_collect(metrics[task], outputs[task], part.labels[task][rows]))
    return [{task: _finish(metrics[task], own[task], part.labels[task]) for task in tasks} for own in collected]


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


def _finish(metric: Metric, collected: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Each member's value of a metric, from all chunks."""
    if isinstance(metric, CountedMetric):
        numbers: list[float] = metric.finish(torch.stack(list(collected)).sum(0)).tolist()
        return numbers
    return [float(metric.compute(outputs, labels)) for outputs in torch.cat(list(collected), 1)]
