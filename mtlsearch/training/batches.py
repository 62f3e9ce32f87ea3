"""The batches of an epoch, as a pure function of seed and epoch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat

import torch
from torch import Tensor

from mtlsearch.data.augment import augmented
from mtlsearch.data.on_disk import OnDisk
from mtlsearch.data.parts import Part
from mtlsearch.errors import DataError
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.ahead import paced, read_ahead
from mtlsearch.training.seeds import derived_seed

Read = Mapping[
    int, Tensor
]  # a step's inputs [B, ...] of the sources that are stored or augmented, by their number
NOTHING_READ: Read = {}


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
    steps, on_disk, augments = steps_per_epoch(loaded), loaded.on_disk, loaded.augments
    if not (on_disk or augments):
        yield repeat(NOTHING_READ, steps)
        return
    if any(inputs.changed() for inputs in on_disk.values()):
        raise DataError(
            "the inputs on disk have changed since training began: a study needs the same data throughout;"
            " start another one with --name"
        )
    rows = epoch_rows(loaded, seed, epoch)

    def read(step: int) -> Read:
        return {number: inputs.read(rows[number][step].numpy()) for number, inputs in on_disk.items()}

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
    like: dict[int, Tensor | OnDisk] = dict(loaded.on_disk)
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
