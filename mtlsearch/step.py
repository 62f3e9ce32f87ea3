"""One training step and one evaluation, as pure functions that every trainer shares.

The batches and the noise of a step are functions of the study's seed, the entry-independent epoch and the
step alone: members of a population share them, and a trial can be replayed by itself.

Legend: T tasks, S steps of an epoch, B examples of a batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from mtlsearch.data import Part, Splits, as_input
from mtlsearch.metrics import CountedMetric, Metric
from mtlsearch.noise import mix
from mtlsearch.study import LoadedStudy

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
EVALUATION_ROWS = {"cpu": 1000, "cuda": 16384}  # a chunk that stays in the cache, or that fills the device


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2³¹) that is a function of `parts`, the same on every machine."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def steps_per_epoch(loaded: LoadedStudy) -> int:
    """S: the batches in one pass over the largest source."""
    return max(-(-len(splits.train) // loaded.study.batch_size) for splits in loaded.splits)


def epoch_batches(loaded: LoadedStudy, seed: int, epoch: int) -> list[Tensor]:
    """The rows [S, B] of each source in one epoch: shuffled passes, one after the other, until S·B are drawn."""
    steps, size = steps_per_epoch(loaded), loaded.study.batch_size
    batches = []
    for number, splits in enumerate(loaded.splits):
        generator = torch.Generator().manual_seed(derived_seed(seed, "batches", epoch, number))
        rows = len(splits.train)
        passes = [torch.randperm(rows, generator=generator) for _ in range(-(-steps * size // rows))]
        batches.append(
            torch.cat(passes)[: steps * size].view(steps, size).to(loaded.device, non_blocking=True)
        )
    return batches


def epoch_key(seed: int, epoch: int) -> int:
    """The key from which the noise of an epoch's steps follows."""
    return derived_seed(seed, "noise", epoch)


def layer_keys(key: Tensor, step: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The dropout key [] of each layer, by the name of its buffer, at a 0-based `step` [] of the epoch of `key` []."""
    stepped = mix((key + step * 0x2545F491) & 0x7FFFFFFF)
    return {name: mix((stepped + layer + 1) & 0x7FFFFFFF) for layer, name in enumerate(layers)}


def task_losses(loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype) -> Tensor:
    """The loss of each task [T] on one batch per source."""
    inputs: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    for splits, part in zip(loaded.splits, parts, strict=True):
        x = as_input(part.inputs, dtype)
        inputs |= dict.fromkeys(splits.tasks, x)
        labels |= part.labels
    ordered = {task.name: inputs[task.name] for task in loaded.study.tasks}
    outputs = forward(ordered)
    losses = [task.loss(outputs[task.name], labels[task.name]) for task in loaded.study.tasks]
    return torch.stack(losses)


def evaluate(
    loaded: LoadedStudy, forward: Forward, split: str, dtype: torch.dtype
) -> dict[str, dict[str, float]]:
    """{task: {metric: value}} of `forward` over one split: "validation" or "test"."""

    def one(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {task: output.unsqueeze(0) for task, output in forward(inputs).items()}

    return evaluate_members(loaded, one, split, dtype, members=1)[0]


def evaluate_members(
    loaded: LoadedStudy, forward: Forward, split: str, dtype: torch.dtype, members: int
) -> list[dict[str, dict[str, float]]]:
    """`evaluate` for each of M members, whose `forward` gives outputs [M, B, C]; read back once per task."""
    metrics = loaded.metrics
    values: dict[str, list[float]] = {}
    for splits in loaded.splits:
        values |= _evaluate_source(splits, getattr(splits, split), metrics, forward, dtype)
    return [
        {task: {metrics[task].name: values[task][member]} for task in loaded.study.task_names}
        for member in range(members)
    ]


def _evaluate_source(
    splits: Splits, part: Part, metrics: Mapping[str, Metric], forward: Forward, dtype: torch.dtype
) -> dict[str, list[float]]:
    """Each task's metric for every member, over the tasks of one source."""
    collected: dict[str, list[Tensor]] = {task: [] for task in splits.tasks}
    size = EVALUATION_ROWS[part.inputs.device.type]
    for start in range(0, len(part), size):
        rows = slice(start, start + size)
        outputs = forward(dict.fromkeys(splits.tasks, as_input(part.inputs[rows], dtype)))
        for task in splits.tasks:
            collected[task].append(_collect(metrics[task], outputs[task], part.labels[task][rows]))
    return {task: _finish(metrics[task], collected[task], part.labels[task]) for task in splits.tasks}


def _collect(metric: Metric, outputs: Tensor, labels: Tensor) -> Tensor:
    """What a metric needs of one chunk: its sums [M, ...], or the outputs [M, B, ...] themselves."""
    if isinstance(metric, CountedMetric):
        sums: Tensor = vmap(metric.count, in_dims=(0, None))(outputs, labels)
        return sums
    return outputs


def _finish(metric: Metric, collected: Sequence[Tensor], labels: Tensor) -> list[float]:
    if isinstance(metric, CountedMetric):
        numbers: list[float] = metric.finish(torch.stack(list(collected)).sum(0)).tolist()
        return numbers
    return [float(metric.compute(outputs, labels)) for outputs in torch.cat(list(collected), 1)]
