"""The batches of an epoch, as a pure function of the seed and the population's epoch.

So members in training share each batch, and a trial can be repeated alone from its entry epoch on.

Legend: S steps of an epoch, B examples of a batch.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlsearch.activity import advance, doing
from mtlsearch.data.augment import augmented, described
from mtlsearch.data.examples.appended import appended, features_file
from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.training.ahead import paced, read_ahead
from mtlsearch.training.seeds import derived_seed

# A step's inputs [B, ...] of the sources that are on disk or augmented, by the source's number.
Read = Mapping[int, Tensor]
NOTHING_READ: Read = {}


def steps_per_epoch(loaded: LoadedStudy) -> int:
    """The number S of batches in one pass over the largest source."""
    return max(-(-source.examples // loaded.study.batch_size) for source in loaded.batched)


def epoch_batches(loaded: LoadedStudy, seed: int, epoch: int) -> list[Tensor]:
    """The rows [S, B] of each source in an epoch, on the device."""
    return [rows.to(loaded.device, non_blocking=True) for rows in epoch_rows(loaded, seed, epoch)]


def epoch_rows(loaded: LoadedStudy, seed: int, epoch: int) -> list[Tensor]:
    """The rows [S, B] of each source and set of points in an epoch: S·B rows from shuffled passes, one after the other.

    Every epoch shuffles anew. If rows were shuffled once, each epoch would end with the same batches, and the scores of
    seeds would spread up to twice as wide (benchmarks/RESULTS.md).
    """
    steps, size = steps_per_epoch(loaded), loaded.study.batch_size
    batches = []
    for number, splits in enumerate(loaded.batched):
        generator = torch.Generator().manual_seed(derived_seed(seed, "batches", epoch, number))
        rows = splits.examples
        passes = [torch.randperm(rows, generator=generator) for _ in range(-(-steps * size // rows))]
        drawn = torch.cat(passes)[: steps * size].view(steps, size)
        batches.append(drawn if splits.rows is None else splits.rows[drawn])
    return batches


@contextmanager
def epoch_reads(loaded: LoadedStudy, seed: int, epoch: int) -> Iterator[Iterator[Read]]:
    """The reads of the S steps of an epoch: inputs on disk are read ahead, and augmented where a source asks for it.

    Points that are drawn anew are those of `seed` and `epoch`. The reads are empty where all inputs are in memory and
    none is augmented or drawn. Raises DataError where a file's content has
    changed since training began.
    """
    steps, on_disk, augments = steps_per_epoch(loaded), loaded.on_disk, loaded.augments
    if not (on_disk or augments or loaded.drawn):
        yield repeat(NOTHING_READ, steps)
        return
    if any(inputs.changed() for inputs in on_disk.values()):
        raise DataError(
            "the inputs on disk have changed since training began: a study needs the same data throughout;"
            " start another one with --name"
        )
    rows = epoch_rows(loaded, seed, epoch)
    points = {number: source.drawn(seed, epoch) for number, source in loaded.drawn.items()}

    features = {number: _features_of_epoch(loaded, number, rows[number], (seed, epoch)) for number in augments}
    size = loaded.study.batch_size

    def read(step: int) -> Read:
        kept = {n: torch.from_numpy(x[step * size :][:size].copy()) for n, x in features.items() if x is not None}
        of_disk = {n: inputs.read(rows[n][step].numpy()) for n, inputs in on_disk.items() if n not in kept}
        return kept | of_disk | {number: drawn[rows[number][step]] for number, drawn in points.items()}

    with read_ahead(read, steps) as batches:
        on_device = (
            {number: x.to(loaded.device, non_blocking=True) for number, x in batch.items()} for batch in batches
        )
        changed = (
            {**batch, **_augmented(loaded, [of[step] for of in rows], batch, (seed, epoch, step))}
            for step, batch in enumerate(on_device)
        )
        yield paced(changed, loaded.device)


def _augmented(loaded: LoadedStudy, rows: Sequence[Tensor], read: Read, when: tuple[int, int, int]) -> Read:
    """Augment one step's inputs: those that were `read`, else the examples at `rows` [B]."""
    found = {}
    for number, augment in loaded.augments.items():
        source = loaded.batched[number]
        if source.features is None:
            raw = source.train.inputs
            inputs = read[number] if number in read else raw.index_select(0, rows[number].to(loaded.device))
            found[number] = augmented(augment, inputs, derived_seed("augment", *when, number))
    return found


def _features_of_epoch(
    loaded: LoadedStudy, number: int, rows: Tensor, when: tuple[int, int]
) -> NDArray[np.float32] | None:
    """The features [S·B, ...] of the augmented inputs of an epoch, kept on disk; None where inputs are no features.

    All trials of a seed take the same ones, at once or one after the other. `rows` are [S, B].
    """
    source = loaded.batched[number]
    augment, features = source.augment, source.features
    if augment is None or features is None:
        return None
    steps, size = rows.shape

    def make(start: int, end: int) -> NDArray[np.float32]:
        step = start // size
        inputs = source.train.augmented_from.index_select(0, rows[step].to(loaded.device))
        found = features(augmented(augment, inputs, derived_seed("augment", *when, step, number)))
        return found.float().cpu().numpy()

    about = f"{features.key} {described(augment)} {when} {number} {size}".encode()
    key = hashlib.sha256(about + rows.numpy().tobytes()).hexdigest()
    with doing("computing the features of an epoch", steps * size):
        return appended(features_file(key), steps * size, size, make, advance)


def empty_reads(loaded: LoadedStudy) -> dict[int, Tensor]:
    """Tensors [B, ...] on the device that a step's `Read` can be copied into."""
    like: dict[int, Tensor | OnDisk] = dict(loaded.on_disk)
    like |= {number: source.train.inputs for number, source in loaded.drawn.items()}
    for number, augment in loaded.augments.items():  # it may turn bytes into floats
        source = loaded.batched[number]
        inputs = augmented(augment, source.train.augmented_from[:1], seed=0)
        like[number] = inputs if source.features is None else source.train.inputs[:1]
    return {
        number: torch.zeros((loaded.study.batch_size, *inputs.shape[1:]), dtype=inputs.dtype, device=loaded.device)
        for number, inputs in like.items()
    }


def batch_parts(loaded: LoadedStudy, rows: Sequence[Tensor], read: Read) -> list[Part]:
    """One batch of each source: its examples at `rows` [B], with the inputs that were `read` already."""
    return [
        splits.train.rows(index, read.get(number))
        for number, (splits, index) in enumerate(zip(loaded.batched, rows, strict=True))
    ]
