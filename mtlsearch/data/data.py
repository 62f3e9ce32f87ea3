"""The data of a source: arrays by part, checked and fingerprinted.

A *source* is a callable from the data directory to `Data`. Tasks that name the same source are joint: a step draws
one batch from each source. Inputs keep their type on the device; the step casts or scales a batch by what the inputs
are (`examples.kinds`). A missing label is NaN among reals, −1 among whole numbers. Inputs in a memory-mapped file, or
that give rows on request, stay on disk (`examples.on_disk`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mtlsearch.data.augment import Augment
from mtlsearch.data.dataset import Collate, is_dataset, read_dataset
from mtlsearch.data.examples.arrays import ENCODE_INPUTS, NUMBER_LABELS, as_tensor, is_sparse
from mtlsearch.data.examples.dealing import check_apart, group_codes
from mtlsearch.data.examples.digests import sha256_by_task
from mtlsearch.data.examples.division import rows_by_part
from mtlsearch.data.examples.kinds import InputKind, check_kind, guessed_kind
from mtlsearch.data.examples.on_disk import OnDisk, Rows, reads_rows
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError

Array = Tensor | np.ndarray[Any, Any]
Inputs = Array | Rows
Labels = Array | Mapping[str, Array]
SINGLE = "label"
Given = tuple[Inputs, Labels] | Dataset[Any]
Groups = Sequence[Any] | Array


class Data:
    """The data of a source: `train` and `test` as (inputs, labels), and a `validation` part or its size.

    A part may also be a map-style `torch.utils.data.Dataset`, whose examples are read once into memory: (input, label)
    or (input, {task: label}), or whatever `collate`, a DataLoader's collate function, makes (inputs, labels) of.

    Inputs are an array, a sparse matrix or a data frame of numbers [N, ...]; a `np.memmap` and other `Rows` are read
    a batch at a time and never as a whole. Labels are one array [N, ...], or arrays by column. `validation` is a third
    pair, or the number (or fraction) of training examples to hold out; they are drawn with their share of every label
    of every task. Instead of `test` and `validation`, `split` names the part of each example in `train`: train,
    validation or test. `classes` names the classes of a column.

    `inputs` says what the inputs are: "pictures" (uint8 is divided by 255), "numbers" (as they are), or "tokens" (whole
    numbers, for an embedding). None guesses: uint8 [N, ...] of three dimensions or more are pictures, other whole
    numbers are tokens where the model takes them whole, and all else are numbers.

    `groups` says which examples belong together, such as those of a patient: a value for each example of `train` (with
    `split`, of all), or values by part. A group never lies on both sides of a division.

    `text` (`Vocabulary.to_dict`) or `table` (`Encoding.to_dict`) says how raw examples became inputs; models' files
    keep it. `augment`, such as a transform of torchvision's v2, changes each training input at random, on the device,
    in every batch.

    Raises DataError where inputs and labels do not fit, or inputs are not finite numbers.
    """

    def __init__(
        self,
        train: Given,
        test: Given | None = None,
        *,
        split: Sequence[str] | Array | None = None,
        validation: Given | int | float = 0.2,
        classes: Mapping[str, Sequence[str]] | Sequence[str] = (),
        inputs: InputKind | None = None,
        text: Mapping[str, Any] | None = None,
        table: Mapping[str, Any] | None = None,
        augment: Augment | None = None,
        collate: Collate | None = None,
        groups: Groups | Mapping[str, Groups] | None = None,
    ) -> None:
        given = validation if isinstance(validation, int | float) else _part("validation", validation, collate)
        if split is None and test is not None:
            self.train, self.validation = _part("train", train, collate), given
            self.test = _part("test", test, collate)
        elif split is not None and test is None and not isinstance(given, Part):
            whole = _grouped({"train": _part("the", train, collate)}, groups)["train"]
            self.train, self.validation, self.test = _parts(whole, split, given)
        else:
            raise DataError(
                "Data needs test=(inputs, labels), or split= with the part of each example instead of test and"
                f" validation, but got {'neither' if split is None else 'both'}"
            )
        if split is None:
            given_parts = _grouped(self._by_name(), groups)
            self.train, self.test = given_parts["train"], given_parts["test"]
            self.validation = given_parts.get("validation", self.validation)
        self._check_groups()
        # The parts that are drawn from all examples, by a source or here; the others are the user's own.
        self.drawn = frozenset(["validation"] if "validation" not in self._by_name() else [])
        self.over_all = False  # whether a source has divided its examples over all tasks
        named = classes if isinstance(classes, Mapping) else {SINGLE: classes}
        self.classes = {column: tuple(names) for column, names in named.items()}
        fitted = {"text": text, "table": table}
        self.fitted = {key: value for key, value in fitted.items() if value is not None}
        self.augment = augment
        types = [part.inputs.dtype for part in self.parts]
        check_kind(inputs, types)
        self.kind = inputs or guessed_kind(types, len(self.train.inputs.shape))

    @property
    def parts(self) -> list[Part]:
        """The parts that are given: train, validation where it is one, test."""
        return list(self._by_name().values())

    def _by_name(self) -> dict[str, Part]:
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in found.items() if isinstance(part, Part)}

    def _check_groups(self) -> None:
        """Raise DataError where a group lies in two of the given parts."""
        by_name = self._by_name().items()
        check_apart({name: part.groups.tolist() for name, part in by_name if part.groups is not None})

    def column(self, part: Part, name: str) -> Tensor:
        """The labels of task `name`: the column of its name, or the only one. Raises DataError where there is none."""
        if name in part.labels:
            return part.labels[name]
        if SINGLE in part.labels:
            return part.labels[SINGLE]
        raise DataError(f"task {name!r} needs a label column of its name, but got {', '.join(part.labels)}")

    def class_names(self, name: str) -> tuple[str, ...]:
        return self.classes.get(name, self.classes.get(SINGLE, ()))

    def sha256(self, *names: str) -> str:
        """The SHA-256 of every part's inputs and of the labels in these columns, with their shapes and types."""
        return sha256_by_task(self, {"": names})[""]


class Source(Protocol):
    """A callable that loads data from the data directory."""

    def __call__(self, directory: Path, /) -> Data: ...


class FittedSource(ABC):
    """A source that keeps what it has fitted on the training data, since models are built by it."""

    @abstractmethod
    def restore(self, fitted: Mapping[str, Any]) -> None:
        """Take `Data.fitted` back from a model's file, so that the model is built without the training data."""


def _parts(whole: Part, split: Sequence[str] | Array, validation: int | float) -> tuple[Part, Part | int | float, Part]:
    """Train, validation (its size where `split` names none of it) and test of all examples."""
    found = rows_by_part(np.asarray(split), len(whole))
    train, held, test = (whole.taken(torch.from_numpy(rows)) for rows in found.values())
    return train, held if len(held) else validation, test


def _grouped(parts: Mapping[str, Part], groups: Groups | Mapping[str, Groups] | None) -> dict[str, Part]:
    """The parts with their groups: those of `train`, or by part. Raises DataError where they do not fit."""
    if groups is None:
        return dict(parts)
    by_part = groups if isinstance(groups, Mapping) else {"train": groups}
    unknown = [name for name in by_part if name not in parts]
    if unknown or "train" not in by_part:
        got = ", ".join(map(str, by_part))
        raise DataError(f"groups must be those of train, or by part ({', '.join(parts)}), but got {got or 'none'}")
    codes = group_codes(by_part)
    for name, found in codes.items():
        if len(found) != len(parts[name]):
            raise DataError(
                f"groups must have a value for each of {len(parts[name])} {name} examples, but got {len(found)}"
            )
    return {n: replace(p, groups=torch.from_numpy(codes[n]) if n in codes else None) for n, p in parts.items()}


def _part(where: str, given: Given, collate: Collate | None) -> Part:
    inputs, labels = read_dataset(where, given, collate) if is_dataset(given) else _pair(where, given)
    columns = _columns(labels)
    tensors = {name: as_tensor(_named(where, name), y, NUMBER_LABELS) for name, y in columns.items()}
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


def _pair(where: str, given: Any) -> tuple[Inputs, Labels]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        got = f"{len(given)} values" if isinstance(given, tuple | list) else f"a {type(given).__name__}"
        raise DataError(f"{where} must be (inputs, labels) or a map-style Dataset, but got {got}")
    return given[0], given[1]


def _columns(labels: Labels) -> Mapping[str, Array]:
    """Labels by column; those of a data frame have its columns' names."""
    if isinstance(labels, Mapping):
        return labels
    names = getattr(labels, "columns", None)
    return {SINGLE: labels} if names is None else {str(name): labels[name] for name in names}


def _named(where: str, column: str) -> str:
    return f"{where} labels" if column == SINGLE else f"{where} labels {column!r}"


def _check_finite(where: str, inputs: Tensor) -> None:
    # A sum is quicker than a look at each number; where it is finite, all are.
    if not inputs.is_floating_point() or bool(inputs.sum().isfinite()):
        return
    if not bool(torch.isfinite(inputs).all()):
        rows = (~torch.isfinite(inputs.reshape(len(inputs), -1))).any(1).nonzero().flatten()
        raise DataError(
            f"{where} inputs must be finite, but {len(rows)} of {len(inputs)} hold NaN or infinity"
            f" (the first is example {int(rows[0])}): drop or fill them"
        )


def _inputs(what: str, inputs: Inputs) -> Tensor | OnDisk:
    if is_sparse(inputs) or not reads_rows(inputs):
        return as_tensor(what, inputs, ENCODE_INPUTS)
    try:
        return OnDisk(inputs)
    except TypeError as error:
        raise DataError(f"{what} must be an array of numbers, but: {error}") from error
