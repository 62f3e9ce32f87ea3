"""The data of a study: arrays by part, checked, divided, fingerprinted, and put on the device.

A *source* is a callable from the data directory to `Data`. Tasks that name the same source are joint: a step draws
one batch from each source. Inputs of uint8 stay uint8 on the device; the step scales them. A missing label is NaN
among reals, −1 among whole numbers. Inputs in a memory-mapped file, or that give rows on request, stay on disk
(`on_disk`).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mtlsearch.data.augment import Augment
from mtlsearch.data.on_disk import OnDisk, Rows, reads_rows
from mtlsearch.errors import ConfigError, DataError, one_line
from mtlsearch.files import data_directory, replacing
from mtlsearch.importing import importing

Array = Tensor | np.ndarray[Any, Any]
Inputs = Array | Rows
Labels = Array | Mapping[str, Array]
SINGLE = "label"
WORTH_KEEPING = 1 << 29  # bytes that would be hashed again, which take a second or two


@dataclass(frozen=True)
class Part:
    """The examples of one split: `inputs` [N, ...], and `labels` [N, ...] by column."""

    inputs: Tensor | OnDisk
    labels: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, index: Tensor, read: Tensor | None = None) -> "Part":
        """The examples at `index` [n]; `read` [n, ...] are their inputs where those are read already."""
        inputs = self.inputs.index_select(0, index) if read is None else read
        return Part(inputs, {name: y.index_select(0, index) for name, y in self.labels.items()})

    def taken(self, index: Tensor) -> "Part":
        """The part of the examples at `index` [n]; inputs on disk stay there, unread."""
        if isinstance(self.inputs, Tensor):
            return self.rows(index)
        labels = {name: y.index_select(0, index) for name, y in self.labels.items()}
        return Part(self.inputs.taken(index), labels)

    def to(self, device: torch.device) -> "Part":
        return Part(self.inputs.to(device), {name: y.to(device) for name, y in self.labels.items()})


class Data:
    """The data of a source: `train` and `test` as (inputs, labels), and a `validation` part or its size.

    Inputs are an array [N, ...]; a `np.memmap` and other `Rows` are read a batch at a time and never as a whole.
    Labels are one array [N, ...], or arrays by column. `validation` is a third pair, or the number (or fraction) of
    training examples to hold out. `classes` names the classes of a column. `text` (`Vocabulary.to_dict`) or `table`
    (`Encoding.to_dict`) says how raw examples became inputs; models' files keep it. `augment`, such as a transform of
    torchvision's v2, changes each training input at random, on the device, in every batch.

    Raises DataError where inputs and labels do not fit, or inputs are not finite numbers.
    """

    def __init__(
        self,
        train: tuple[Inputs, Labels],
        test: tuple[Inputs, Labels],
        *,
        validation: tuple[Inputs, Labels] | int | float = 0.2,
        classes: Mapping[str, Sequence[str]] | Sequence[str] = (),
        text: Mapping[str, Any] | None = None,
        table: Mapping[str, Any] | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.train, self.test = _part("train", train), _part("test", test)
        self.validation = validation if isinstance(validation, int | float) else _part("validation", validation)
        named = classes if isinstance(classes, Mapping) else {SINGLE: classes}
        self.classes = {column: tuple(names) for column, names in named.items()}
        fitted = {"text": text, "table": table}
        self.fitted = {key: value for key, value in fitted.items() if value is not None}
        self.augment = augment

    def column(self, part: Part, name: str) -> Tensor:
        """The labels of task `name`: the column of its name, or the only one. Raises DataError where there is none."""
        if name in part.labels:
            return part.labels[name]
        if SINGLE in part.labels:
            return part.labels[SINGLE]
        raise DataError(f"task {name!r} needs a label column of its name, but got {', '.join(part.labels)}")

    def class_names(self, name: str) -> tuple[str, ...]:
        return self.classes.get(name, self.classes.get(SINGLE, ()))

    def sha256(self, name: str) -> str:
        """The SHA-256 of every part's inputs and of task `name`'s labels."""
        return sha256_by_task(self, [name])[name]

    @property
    def parts(self) -> list[Part]:
        """The parts that were given: training, validation where it is one, and test."""
        return [part for part in (self.train, self.validation, self.test) if isinstance(part, Part)]


def sha256_by_task(data: Data, tasks: Sequence[str]) -> dict[str, str]:
    """Each task's SHA-256 of every part's inputs and of its labels, with their shapes and types.

    Samples of inputs on disk stand for all of them. A digest takes the parts in turn, each with its inputs and then the
    task's labels: so the inputs behind the first labels are hashed for each task anew, 17 s with 557 tasks. Where that
    takes long, the digests are kept in the user's cache, by a digest that reads each byte once.
    """
    again = (len(tasks) - 1) * sum(_bytes(part.inputs) for part in data.parts[1:])
    if again < WORTH_KEEPING:
        return _digests(data, tasks)
    whole = hashlib.sha256(json.dumps(list(tasks)).encode())
    for part in data.parts:
        _update(whole, part.inputs)
        for task in tasks:
            _update(whole, data.column(part, task))
    path = data_directory(None) / "digests" / f"{whole.hexdigest()}.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        found = _digests(data, tasks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(found), encoding="utf-8")
    except (OSError, ConfigError):
        pass  # without a cache they are computed again the next time
    return found


def _digests(data: Data, tasks: Sequence[str]) -> dict[str, str]:
    """The reference: all parts of each task in turn, but the inputs of the first once for all tasks."""
    first = hashlib.sha256()
    _update(first, data.parts[0].inputs)
    found = {}
    for task in tasks:
        digest = first.copy()
        for number, part in enumerate(data.parts):
            if number:
                _update(digest, part.inputs)
            _update(digest, data.column(part, task))
        found[task] = digest.hexdigest()
    return found


def _update(digest: Any, array: Tensor | OnDisk) -> None:
    if isinstance(array, OnDisk):
        digest.update(b"".join(array.sample()))
        return
    digest.update(f"{array.dtype} {tuple(array.shape)}".encode())
    digest.update(array.contiguous().flatten().view(torch.uint8).numpy().data)


def _bytes(array: Tensor | OnDisk) -> int:
    return array.numel() * array.element_size() if isinstance(array, Tensor) else 0


class Source(Protocol):
    """A callable that loads data from the data directory."""

    def __call__(self, directory: Path, /) -> Data: ...


class FittedSource(ABC):
    """A source that keeps what it has fitted on the training data, since models are built by it."""

    @abstractmethod
    def restore(self, fitted: Mapping[str, Any]) -> None:
        """Take `Data.fitted` back from a model's file, so that the model is built without the training data."""


@dataclass(frozen=True)
class Splits:
    """The data of one source, divided, with labels by task name, prepared for the loss."""

    tasks: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    sha256: Mapping[str, str] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)
    augment: Augment | None = None

    def to(self, device: torch.device) -> "Splits":
        train, validation, test = (part.to(device) for part in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)


def read_npy(path: Path) -> np.ndarray[Any, Any]:
    """The array in a `.npy` file. Raises DataError."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no whole .npy array of numbers ({one_line(error)})") from error


def as_input(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """A batch as a model takes it: uint8 scaled to [0, 1], reals as `dtype`, other whole numbers unchanged."""
    if inputs.dtype == torch.uint8:
        # The division gives the default dtype by itself: one kernel instead of two.
        return inputs / 255 if dtype == torch.get_default_dtype() else inputs.to(dtype) / 255
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def divide(data: Data, strata: Tensor | None, split_seed: int) -> tuple[Part, Part]:
    """The training and the validation part, drawn by `split_seed`, stratified by `strata` [N] where possible."""
    if isinstance(data.validation, Part):
        return data.train, data.validation
    with importing():
        from sklearn.model_selection import train_test_split

    size, rows = data.validation, len(data.train)
    held = size if isinstance(size, int) else round(size * rows)
    if not 0 < held < rows:
        raise DataError(f"validation must hold out 1 to {rows - 1} of the {rows} training examples, but got {size}")
    if strata is not None and not _divisible(strata, held):
        strata = None
    labels = None if strata is None else strata.numpy()
    train, validation = train_test_split(np.arange(rows), test_size=held, random_state=split_seed, stratify=labels)
    # Sorted rows make every later gather read the memory in order.
    rest, held_out = (data.train.taken(torch.from_numpy(np.sort(part))) for part in (train, validation))
    return rest, held_out


def _divisible(strata: Tensor, held: int) -> bool:
    """Whether every class can be on both sides, which stratifying needs."""
    counts = torch.unique(strata, return_counts=True)[1]
    return int(counts.min()) >= 2 and len(counts) <= min(held, len(strata) - held)


def _part(where: str, pair: tuple[Inputs, Labels]) -> Part:
    inputs, labels = pair
    columns = labels if isinstance(labels, Mapping) else {SINGLE: labels}
    tensors = {name: _tensor(f"{where} labels", y) for name, y in columns.items()}
    part = Part(_inputs(f"{where} inputs", inputs), tensors)
    if not len(part):
        raise DataError(f"{where} must hold examples, but it is empty")
    for name, y in part.labels.items():
        if len(y) != len(part):
            raise DataError(
                f"{where} must have a label for each input, but got {len(part)} inputs and {len(y)} {name!r}"
            )
    if isinstance(part.inputs, Tensor):
        _check_finite(where, part.inputs)
    return part


def _check_finite(where: str, inputs: Tensor) -> None:
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        rows = (~torch.isfinite(inputs.flatten(1))).any(1).nonzero().flatten()
        raise DataError(
            f"{where} inputs must be finite, but {len(rows)} of {len(inputs)} hold NaN or infinity"
            f" (the first is example {int(rows[0])}): drop or fill them"
        )


def _inputs(what: str, inputs: Inputs) -> Tensor | OnDisk:
    if not reads_rows(inputs):
        return _tensor(what, inputs)
    try:
        return OnDisk(inputs)
    except TypeError as error:
        raise DataError(f"{what} must be an array of numbers, but: {error}") from error


def _tensor(what: str, array: Inputs) -> Tensor:
    """`array` as a tensor [N, ...] on the CPU. Raises DataError where it does not hold numbers."""
    try:
        if not isinstance(array, Tensor):
            # `require` copies memory that torch cannot share: read-only, or of negative strides.
            array = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} must be an array of numbers, but: {error}") from error
    if not array.ndim:
        raise DataError(f"{what} must be an array of examples, but got a single number")
    return array.detach().cpu()
