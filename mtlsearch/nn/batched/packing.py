"""Packed sequences in operators that `vmap` batches; the lengths are the same for all members.

Legend: L steps, B sequences, P steps of all sequences together.
"""

from typing import Any

import torch
from torch import Tensor


def pack_padded(input: Tensor, lengths: Tensor, batch_first: bool) -> Any:
    """`torch._pack_padded_sequence`: the data [P, ...] of `input`, and how many sequences take each step [L].

    `lengths` [B], on the CPU, must fall from one sequence to the next.
    """
    if bool((lengths < 1).any()):
        raise RuntimeError("a sequence to pack must have a length of 1 or more")
    longest = int(lengths[0])
    valid = torch.arange(longest).unsqueeze(1) < lengths  # [L, B]
    data = input.transpose(0, 1) if batch_first else input
    return _rows(data[:longest].flatten(0, 1), valid), valid.sum(1)


def pad_packed(data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int) -> Any:
    """`torch._pad_packed_sequence`: the data as [L, B, ...], and the length of each sequence [B]."""
    valid = torch.arange(int(batch_sizes[0])) < batch_sizes.unsqueeze(1)
    padded = unpacked(data, valid)
    there = valid.to(data.device).view(*valid.shape, *[1] * (data.ndim - 1))
    padded = torch.where(there, padded, padding_value)
    if total_length > len(batch_sizes):
        more = padded.new_full((total_length - len(batch_sizes), *padded.shape[1:]), padding_value)
        padded = torch.cat([padded, more])
    return padded.transpose(0, 1) if batch_first else padded, valid.sum(0)


def unpacked(data: Tensor, valid: Tensor) -> Tensor:
    """Packed `data` [P, ...] as [L, B, ...], with any row where `valid` [L, B], on the CPU, is false."""
    flat = valid.flatten()
    own = torch.where(flat, flat.cumsum(0) - 1, 0).to(data.device)
    return torch.unflatten(data.index_select(0, own), 0, valid.shape)


def repacked(padded: Tensor, valid: Tensor) -> Tensor:
    """`padded` [L, B, ...] as packed data."""
    return _rows(padded.flatten(0, 1), valid)


def _rows(flat: Tensor, valid: Tensor) -> Tensor:
    return flat.index_select(0, valid.flatten().nonzero().squeeze(1).to(flat.device))
