"""Functions of torch that draw noise, or that `vmap` cannot batch, while a user's network runs.

A network may call `F.dropout` as well as hold an `nn.Dropout`. Its root gets a key of its own; the number of the call
in a forward pass tells one such call from the next.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mtlsearch.nn.batched import attention
from mtlsearch.nn.batched.dropout import alpha_dropped, channel_shape
from mtlsearch.nn.batched.embedding_bag import embedding_bag
from mtlsearch.nn.batched.noisy import Noisy, dropped, key_of_draw, new_key, transforming
from mtlsearch.nn.batched.packing import pack_padded, pad_packed


class OwnFunctions(TorchFunctionMode):
    """Runs torch's functions by ours; noise is a function of `key` and of the number of the call."""

    def __init__(self, key: Tensor) -> None:
        super().__init__()
        self.key, self.draws = key, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        own = OWN.get(func)
        found = NotImplemented if own is None else own(self, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if found is NotImplemented else found

    def next_key(self) -> Tensor:
        """The key of the next draw."""
        self.draws += 1
        return key_of_draw(self.key, self.draws)


class CallsFunctions(Noisy):
    """The root of a user's network: while it runs, so do `OwnFunctions`."""

    noise_key: Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with OwnFunctions(self.noise_key):
            return super().forward(*args, **kwargs)  # type: ignore[misc]


def with_own_functions(module: nn.Module) -> nn.Module:
    """`module` itself, from now on of a class that runs torch's functions by ours; no state is added."""
    if not isinstance(module, CallsFunctions):
        module.__class__ = _calling(type(module))  # type: ignore[arg-type]
    if "noise_key" not in module._buffers:
        module.register_buffer("noise_key", new_key(), persistent=False)
    return module


@cache
def _calling(kind: Any) -> type[nn.Module]:
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (CallsFunctions, kind), names)


def _same(x: Tensor, p: float, training: bool) -> bool:
    """Whether dropout leaves its input as it is."""
    return not training or (not isinstance(p, Tensor) and p == 0)


def _dropout(own: OwnFunctions, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return input if _same(input, p, training) else dropped(input, own.next_key(), p)


def _torch_dropout(own: OwnFunctions, input: Tensor, p: float, train: bool) -> Tensor:
    return _dropout(own, input, p, train)


def _channel_dropout(places: int) -> Callable[..., Tensor]:
    def run(own: OwnFunctions, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if _same(input, p, training):
            return input
        return dropped(input, own.next_key(), p, channel_shape(input, places))

    return run


def _alpha_dropout(
    own: OwnFunctions, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    return input if _same(input, p, training) else alpha_dropped(input, own.next_key(), p, tuple(input.shape))


def _feature_alpha_dropout(
    own: OwnFunctions, input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    shape = (*input.shape[:2], *[1] * (input.ndim - 2))
    return input if _same(input, p, training) else alpha_dropped(input, own.next_key(), p, shape)


def _drop(own: OwnFunctions, p: float, training: bool = True) -> attention.Drop | None:
    if not training or (not isinstance(p, Tensor) and p == 0):
        return None
    key = own.next_key()
    return lambda weights: dropped(weights, key, p)


def _attention(
    own: OwnFunctions,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    drop = _drop(own, dropout_p)
    if drop is None and not transforming():
        return NotImplemented  # torch's own is faster, and has no noise
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    bias = None
    if is_causal:
        ones = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device)
        bias = attention.additive(ones.tril().logical_not(), query.dtype)
    elif attn_mask is not None:  # here, unlike in `nn.MultiheadAttention`, true is what may be seen
        hidden = attn_mask.logical_not() if attn_mask.dtype == torch.bool else attn_mask
        bias = attention.additive(hidden, query.dtype)
    return attention.attention(query, key, value, bias, drop, scale)[0]


def _multi_head_attention(
    own: OwnFunctions,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    return attention.multi_head_attention(
        query,
        key,
        value,
        num_heads,
        None if use_separate_proj_weight else in_proj_weight,
        in_proj_bias,
        bias_k,
        bias_v,
        add_zero_attn,
        out_proj_weight,
        out_proj_bias,
        separate=(q_proj_weight, k_proj_weight, v_proj_weight),
        drop=_drop(own, dropout_p, training),
        key_padding_mask=key_padding_mask,
        need_weights=need_weights,
        attn_mask=attn_mask,
        average_attn_weights=average_attn_weights,
        is_causal=is_causal,
        static_k=static_k,
        static_v=static_v,
    )


def _embedding_bag(
    own: OwnFunctions,
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    if max_norm is not None or sparse or scale_grad_by_freq:
        return NotImplemented
    return embedding_bag(
        input,
        weight,
        offsets,
        mode=mode,
        per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset,
        padding_idx=padding_idx,
    )


OWN: dict[Callable[..., Any], Callable[..., Any]] = {
    F.dropout: _dropout,
    torch.dropout: _torch_dropout,
    F.dropout1d: _channel_dropout(1),
    F.dropout2d: _channel_dropout(2),
    F.dropout3d: _channel_dropout(3),
    F.alpha_dropout: _alpha_dropout,
    F.feature_alpha_dropout: _feature_alpha_dropout,
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head_attention,
    F.embedding_bag: _embedding_bag,
    torch._VF._pack_padded_sequence: lambda own, *args: pack_padded(*args),
    torch._VF._pad_packed_sequence: lambda own, *args: pad_packed(*args),
}
