"""One training step and one evaluation, as pure functions that every trainer shares.

The batches and the noise of a step are functions of the study's seed, the entry-independent epoch and the
step alone: members of a population share them, and a trial can be replayed by itself.

Legend: T tasks, S steps of an epoch, B examples of a batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.data import Part, Splits, as_input
from mtlsearch.metrics import CountedMetric, Metric
from mtlsearch.nn import mix
from mtlsearch.study import LoadedStudy

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
EVALUATION_ROWS = 4096


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
    inputs, labels = {}, {}
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
    metrics = loaded.metrics
    values: dict[str, dict[str, float]] = {}
    for splits in loaded.splits:
        values |= _evaluate_source(splits, getattr(splits, split), metrics, forward, dtype)
    return {task: values[task] for task in loaded.study.task_names}


def _evaluate_source(
    splits: Splits, part: Part, metrics: Mapping[str, Metric], forward: Forward, dtype: torch.dtype
) -> dict[str, dict[str, float]]:
    collected: dict[str, list[Tensor]] = {task: [] for task in splits.tasks}
    for start in range(0, len(part), EVALUATION_ROWS):
        rows = slice(start, start + EVALUATION_ROWS)
        x = as_input(part.inputs[rows], dtype)
        outputs = forward(dict.fromkeys(splits.tasks, x))
        for task in splits.tasks:
            metric = metrics[task]
            counted = isinstance(metric, CountedMetric)
            output = outputs[task]
            collected[task].append(metric.count(output, part.labels[task][rows]) if counted else output)
    return {
        task: {metrics[task].name: _number(metrics[task], collected[task], part.labels[task])}
        for task in splits.tasks
    }


def _number(metric: Metric, collected: Sequence[Tensor], labels: Tensor) -> float:
    if isinstance(metric, CountedMetric):
        return float(metric.finish(torch.stack(list(collected)).sum(0)))
    return float(metric.compute(torch.cat(list(collected)), labels))
