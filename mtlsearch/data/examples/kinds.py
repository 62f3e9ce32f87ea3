"""Kinds of input: pictures are scaled, numbers are taken as they are, tokens stay whole numbers.

Inputs keep their compact type on the device, and each batch is cast in the step.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from mtlsearch.errors import DataError
from mtlsearch.wording import few

InputKind = Literal["pictures", "numbers", "tokens"]
INPUT_KINDS: tuple[InputKind, ...] = get_args(InputKind)
WAYS = {
    "pictures": "divided by 255",
    "numbers": "as they are",
    "tokens": "whole numbers for the model's embedding",
}


def check_kind(kind: str | None, types: Sequence[torch.dtype]) -> None:
    """Raise DataError for an unknown kind, or for tokens that are not whole numbers."""
    if kind is not None and kind not in INPUT_KINDS:
        raise DataError(f"inputs must be {', '.join(INPUT_KINDS)}, or None to have it guessed, but got {kind!r}")
    for dtype in types:
        if kind == "tokens" and dtype.is_floating_point:
            raise DataError(f"tokens must be whole numbers, but the inputs are {name_of(dtype)}")


def guessed_kind(types: Sequence[torch.dtype], ndim: int) -> InputKind | None:
    """The kind of inputs [N, ...] of `ndim` dimensions, by the types of their parts, training first.

    None stands for whole numbers: the model decides whether they are tokens.
    """
    if types[0] == torch.uint8 and ndim >= 3:
        return "pictures"
    return "numbers" if any(t.is_floating_point or t == torch.bool for t in types) else None


def former_kind(dtype: torch.dtype) -> InputKind:
    """The kind by type alone, as in studies and models that record none: every uint8 was a picture."""
    if dtype == torch.uint8:
        return "pictures"
    return "numbers" if dtype.is_floating_point or dtype == torch.bool else "tokens"


def as_input(inputs: Tensor, dtype: torch.dtype, kind: InputKind | None = None) -> Tensor:
    """A batch as a model takes it: reals of `dtype`, or tokens; pictures of uint8 are scaled to [0, 1]."""
    kind = kind or former_kind(inputs.dtype)
    if kind == "tokens":
        # An embedding takes no narrower type.
        return inputs if inputs.dtype in (torch.int32, torch.int64) else inputs.long()
    if kind == "pictures" and inputs.dtype == torch.uint8:
        # The division gives the default dtype by itself: one kernel instead of two.
        return inputs / 255 if dtype == torch.get_default_dtype() else inputs.to(dtype) / 255
    return inputs.to(dtype)


def kind_line(tasks: Sequence[str], shape: Sequence[int], dtype: torch.dtype, kind: InputKind) -> str:
    """A line that says what the inputs [N, ...] of `tasks` were taken for."""
    scaled = kind == "pictures" and dtype == torch.uint8
    way = WAYS[kind] if kind != "pictures" or scaled else WAYS["numbers"]
    size = " × ".join(f"{length:,}" for length in shape)
    return f"inputs of {few(tasks)}: {size} {kind} ({name_of(dtype)}, {way})"


def name_of(dtype: torch.dtype) -> str:
    """A type's name as a config holds it: uint8, float32."""
    return str(dtype).removeprefix("torch.")
