"""One training step and one evaluation, as pure functions that every trainer shares.

The batches of a step are a function of the seed, the population's epoch and the step within it, and its noise of the
seed, the trial's own epoch and the step: members in training share each batch, and a trial is replayed by itself, from
the epoch at which it entered.

Legend: T tasks, S steps of an epoch, B examples of a batch.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat

import torch
from torch import Tensor
from torch.func import vmap

from mtlsearch.data.augment import augmented
from mtlsearch.data.on_disk import Stored
from mtlsearch.data.parts import Part, Splits, as_input
from mtlsearch.errors import DataError
from mtlsearch.kernels.noise import mix
from mtlsearch.study.study import LoadedStudy
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.training.ahead import paced, read_ahead

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
Read = Mapping[
    int, Tensor
]  # a step's inputs [B, ...] of the sources that are stored or augmented, by their number
Values = dict[str, dict[str, float]]
NOTHING_READ: Read = {}
READ_BYTES = 8 << 20  # of a chunk that is read: a few of them lie in memory at a time
EVALUATION_ROWS = {"cpu": 1000, "cuda": 16384}  # a chunk that stays in the cache, or that fills the device
MEMBER_ROWS = 1 << 17  # of all members of a lane in a chunk, at most


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2³¹) that is a function of `parts`, the same on every machine."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def steps_per_epoch(loaded: LoadedStudy) -> int:
    """S: the batches in one pass over the largest source."""
    return max(-(-len(splits.train) // loaded.study.batch_size) for splits in loaded.splits)


def epoch_batches(loaded: LoadedStudy, seed: int, epoch: int) -> list[Tensor]:
    """The rows [S, B] of each source in an epoch, on the device."""
    return [rows.to(loaded.device, non_blocking=True) for rows in epoch_rows(loaded, seed, epoch)]


def epoch_rows(loaded: LoadedStudy, seed: int, epoch: int) -> list[Tensor]:
    """The rows [S, B] of each source in an epoch: shuffled passes, one after the other, until S·B are drawn.

    They are shuffled anew in every epoch. Shuffled once, each epoch ends with the same batches, and the scores of
    seeds spread up to twice as wide (benchmarks/RESULTS.md).
    """
    steps, size = steps_per_epoch(loaded), loaded.study.batch_size
    batches = []
    for number, splits in enumerate(loaded.splits):
        generator = torch.Generator().manual_seed(derived_seed(seed, "batches", epoch, number))
        rows = len(splits.train)
        passes = [torch.randperm(rows, generator=generator) for _ in range(-(-steps * size // rows))]
        batches.append(torch.cat(passes)[: steps * size].view(steps, size))
    return batches


@contextmanager
def epoch_reads(loaded: LoadedStudy, seed: int, epoch: int) -> Iterator[Iterator[Read]]:
    """What each of the S steps of an epoch is given of the stored sources, read ahead, and of those augmented.

    It is nothing where all is resident as it is. Raises DataError where a file's content has changed since training
    began.
    """
    steps, stored, augments = steps_per_epoch(loaded), loaded.stored, loaded.augments
    if not (stored or augments):
        yield repeat(NOTHING_READ, steps)
        return
    if any(inputs.changed() for inputs in stored.values()):
        raise DataError(
            "the inputs on disk have changed since training began: a study needs the same data throughout;"
            " start another one with --name"
        )
    rows = epoch_rows(loaded, seed, epoch)

    def read(step: int) -> Read:
        return {number: inputs.read(rows[number][step].numpy()) for number, inputs in stored.items()}

    with read_ahead(read, steps) as batches:
        on_device = (
            {number: x.to(loaded.device, non_blocking=True) for number, x in batch.items()}
            for batch in batches
        )
        changed = (
            {**batch, **_augmented(loaded, [of[step] for of in rows], batch, (seed, epoch, step))}
            for step, batch in enumerate(on_device)
        )
        yield paced(changed, loaded.device)


def _augmented(loaded: LoadedStudy, rows: Sequence[Tensor], read: Read, when: tuple[int, int, int]) -> Read:
    """The augmented inputs of one step: of what has been `read`, else of the examples at `rows` [B]."""
    found = {}
    for number, augment in loaded.augments.items():
        source = loaded.splits[number].train.inputs
        inputs = read[number] if number in read else source.index_select(0, rows[number].to(loaded.device))
        found[number] = augmented(augment, inputs, derived_seed("augment", *when, number))
    return found


def empty_reads(loaded: LoadedStudy) -> dict[int, Tensor]:
    """Tensors [B, ...] on the device that inputs stored or augmented go into, by the number of their source."""
    like: dict[int, Tensor | Stored] = dict(loaded.stored)
    for number, augment in loaded.augments.items():  # it may turn bytes into reals
        like[number] = augmented(augment, loaded.splits[number].train.inputs[:1], seed=0)
    return {
        number: torch.zeros(
            (loaded.study.batch_size, *inputs.shape[1:]), dtype=inputs.dtype, device=loaded.device
        )
        for number, inputs in like.items()
    }


def batch_parts(loaded: LoadedStudy, rows: Sequence[Tensor], read: Read) -> list[Part]:
    """One batch of each source: its examples at `rows` [B], of which some inputs have been `read`."""
    return [
        splits.train.rows(index, read.get(number))
        for number, (splits, index) in enumerate(zip(loaded.splits, rows, strict=True))
    ]


def epoch_keys(seed: int, epochs: Sequence[int]) -> Tensor:
    """The keys [M], int32 on the CPU, from which the noise of the steps follows in a trial's own 0-based epoch."""
    return torch.tensor([derived_seed(seed, "noise", epoch) for epoch in epochs], dtype=torch.int32)


def layer_keys(key: Tensor, step: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The dropout key [] of each layer, by the name of its buffer, at a 0-based `step` [] of the epoch of `key` []."""
    stepped = mix(key + step.int() * 0x45F491)
    return {name: mix(stepped + layer + 1) for layer, name in enumerate(layers)}


def task_losses(loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype) -> Tensor:
    """The loss of each task [T] on one batch per source."""
    return torch.stack(each_loss(loaded, forward, parts, dtype))


def each_loss(
    loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype
) -> list[Tensor]:
    """The loss [] of each task on one batch per source; unstacked, each has a graph of its own."""
    inputs: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    for splits, part in zip(loaded.splits, parts, strict=True):
        assert isinstance(part.inputs, Tensor)  # a batch has been read
        x = as_input(part.inputs, dtype)
        inputs |= dict.fromkeys(splits.tasks, x)
        labels |= part.labels
    ordered = {task.name: inputs[task.name] for task in loaded.study.tasks}
    outputs = forward(ordered)
    return [task.loss(outputs[task.name], labels[task.name]) for task in loaded.study.tasks]


def evaluate(
    loaded: LoadedStudy, forward: Forward, split: str, dtype: torch.dtype
) -> dict[str, dict[str, float]]:
    """{task: {metric: value}} of `forward` over one split: "validation" or "test"."""

    def one(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {task: output.unsqueeze(0) for task, output in forward(inputs).items()}

    return evaluate_members(loaded, one, split, dtype, members=1)[0]


def evaluate_members(
    loaded: LoadedStudy, forward: Forward, split: str, dtype: torch.dtype, members: int
) -> list[Values]:
    """`evaluate` for each of M members, whose `forward` gives outputs [M, B, C]; read back once per task."""
    return evaluate_together(loaded, [forward], split, dtype, [members])[0]


def evaluate_together(
    loaded: LoadedStudy, forwards: Sequence[Forward], split: str, dtype: torch.dtype, members: Sequence[int]
) -> list[list[Values]]:
    """`evaluate_members` for each of several forwards; what is stored is read once for all of them."""
    metrics = loaded.metrics
    values: list[dict[str, list[float]]] = [{} for _ in forwards]
    for splits in loaded.splits:
        found = _evaluate_source(splits, getattr(splits, split), metrics, forwards, dtype, max(members))
        values = [before | new for before, new in zip(values, found, strict=True)]
    return [
        [
            {task: {metrics[task].name: own[task][member]} for task in loaded.study.task_names}
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
    collected: list[dict[str, list[Tensor]]] = [{task: [] for task in splits.tasks} for _ in forwards]
    with _chunks(part, members) as chunks:
        for rows, inputs in chunks:
            given = dict.fromkeys(splits.tasks, as_input(inputs, dtype))
            for own, forward in zip(collected, forwards, strict=True):
                outputs = forward(given)
                for task in splits.tasks:
                    own[task].append(_collect(metrics[task], outputs[task], part.labels[task][rows]))
    return [
        {task: _finish(metrics[task], own[task], part.labels[task]) for task in splits.tasks}
        for own in collected
    ]


@contextmanager
def _chunks(part: Part, members: int) -> Iterator[Iterator[tuple[slice, Tensor]]]:
    """The inputs of a part on the device, with the rows that they are; what is stored is read ahead."""
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
