"""Attention in operators that `vmap` batches: `nn.MultiheadAttention`, and the functions below it.

Legend: N examples, L queries, S keys, E units, H heads, D units of a head.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.nn.batched.noisy import Noisy, checked_rate, dropped, new_key, transforming

Drop = Callable[[Tensor], Tensor]  # of attention weights [..., L, S]


class MultiheadAttention(Noisy, nn.MultiheadAttention):
    """Takes the place of `nn.MultiheadAttention`: the same parameters, and the same outputs without dropout.

    A query that may see no key gets an output of zeros, where torch may give NaN. `scale` is a value, that of the live
    units of a head where others are padded.
    """

    held: ClassVar[tuple[str, ...]] = ("dropout",)
    # torch's encoder layers take a fast path, which `vmap` cannot batch, only where this holds.
    _qkv_same_embed_dim = property(lambda self: False, lambda self, value: None)

    noise_key: Tensor
    rate: Tensor
    scale: Tensor

    @classmethod
    def of(cls, layer: nn.MultiheadAttention) -> "MultiheadAttention":
        """`layer` itself, from now on of this class."""
        rate = checked_rate(layer.dropout)
        del layer._qkv_same_embed_dim
        layer.__class__ = cls
        assert isinstance(layer, cls)
        layer.register_buffer("noise_key", new_key(), persistent=False)
        layer.register_buffer("rate", torch.tensor(rate), persistent=False)
        layer.register_buffer("scale", torch.tensor(layer.head_dim, dtype=torch.float64).rsqrt(), persistent=False)
        layer.drops = rate > 0
        return layer

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        """In how many blocks each dimension of a tensor is padded: a head's units stay together."""
        heads, whole = self.num_heads, 3 if self.in_proj_weight is not None else 1
        inner = dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight"), (heads, 1))
        return inner | {
            "in_proj_weight": (whole * heads, 1),
            "in_proj_bias": (3 * heads,),
            "bias_k": (1, 1, heads),
            "bias_v": (1, 1, heads),
            "out_proj.weight": (1, heads),
        }

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if self.batch_first and query.ndim == 3:
            query, key, value = transposed(query, key, value)
        output, weights = multi_head_attention(
            query,
            key,
            value,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.out_proj.weight,
            self.out_proj.bias,
            separate=(self.q_proj_weight, self.k_proj_weight, self.v_proj_weight),
            drop=self._drop if self.training and self.drops else None,
            scale=self.scale,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(0, 1) if self.batch_first and output.ndim == 3 else output), weights

    def _drop(self, weights: Tensor) -> Tensor:
        return dropped(weights, self.noise_key, self.rate)


def transposed(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three with their first two dimensions swapped; what was one tensor stays one."""
    once = query.transpose(0, 1)
    keys = once if key is query else key.transpose(0, 1)
    values = keys if value is key else once if value is query else value.transpose(0, 1)
    return once, keys, values


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    *,
    separate: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None),
    drop: Drop | None = None,
    scale: Tensor | float | None = None,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """`F.multi_head_attention_forward` of query [L, N, E] or [L, E], key and value [S, N, ·] or [S, ·].

    Gives outputs [L, N, E] or [L, E], and with `need_weights` the attention weights [N, L, S] or [L, S], for each head
    [N, H, L, S] unless `average_attn_weights`.
    """
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal=True needs attn_mask: it says what that mask is")
    single = query.ndim == 2
    if single:
        once = query.unsqueeze(1)
        keys = once if key is query else key.unsqueeze(1)
        query, key, value = once, keys, keys if value is key else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, many = query.shape[:2]
    q, k, v = projected(query, key, value, in_proj_weight, in_proj_bias, separate)
    added = 0
    if bias_k is not None and bias_v is not None:
        k, v = torch.cat([k, bias_k.expand(1, many, -1)]), torch.cat([v, bias_v.expand(1, many, -1)])
        added += 1
    q = by_head(q, heads)
    k = by_head(k, heads) if static_k is None else torch.unflatten(static_k, 0, (many, heads))
    v = by_head(v, heads) if static_v is None else torch.unflatten(static_v, 0, (many, heads))
    if add_zero_attn:
        k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        added += 1
    bias = merged(attn_mask, key_padding_mask, many, heads, q.dtype, added)
    if need_weights or drop is not None or transforming():
        outputs, weights = attention(q, k, v, bias, drop, scale)
    else:
        outputs = F.scaled_dot_product_attention(scaled(q, scale), k, v, bias, scale=1.0)
    flat = outputs.permute(2, 0, 1, 3).reshape(length, many, -1)
    result = F.linear(flat, out_proj_weight, out_proj_bias)
    result = result.squeeze(1) if single else result
    if not need_weights:
        return result, None
    weights = weights.mean(1) if average_attn_weights else weights
    return result, weights.squeeze(0) if single else weights


def projected(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    separate: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """The projections of query, key and value; of one tensor they are one product."""
    if weight is not None and key is query and value is key:
        q, k, v = F.linear(query, weight, bias).chunk(3, -1)
        return q, k, v
    biases = (None, None, None) if bias is None else bias.chunk(3)
    weights: Any = separate if weight is None else weight.chunk(3)
    q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    return q, k, v


def by_head(x: Tensor, heads: int) -> Tensor:
    """`x` [L, N, E] as [N, H, L, D]."""
    return torch.unflatten(x, -1, (heads, -1)).permute(1, 2, 0, 3)


def merged(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    many: int,
    heads: int,
    dtype: torch.dtype,
    added: int = 0,
) -> Tensor | None:
    """What both masks add to attention's scores [N, H, L, S]; `added` keys at the end are open to all."""
    found = None
    if attn_mask is not None:
        found = additive(attn_mask, dtype)
        found = torch.unflatten(found, 0, (many, heads)) if found.ndim == 3 else found
    if key_padding_mask is not None:
        padding = additive(key_padding_mask, dtype)[:, None, None]
        found = padding if found is None else found + padding
    return F.pad(found, (0, added)) if found is not None and added else found


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What a mask adds to scores: itself, or −∞ where a boolean one hides a key."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.where(mask, float("-inf"), torch.zeros((), dtype=dtype, device=mask.device))


def attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, drop: Drop | None, scale: Tensor | float | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs [..., L, D] of attention of q [..., L, D] on k and v [..., S, D], and its weights [..., L, S].

    `bias` is added to the scores. A query all of whose keys are at −∞ has weights of 0.
    """
    scores = scaled(q, scale) @ k.transpose(-2, -1)
    if bias is None:
        weights = torch.softmax(scores, -1)
    else:
        hidden = (bias == float("-inf")).all(-1, keepdim=True)
        weights = torch.softmax(scores + torch.where(hidden, 0, bias), -1)
        weights = torch.where(hidden, 0, weights)
    weights = weights if drop is None else drop(weights)
    return weights @ v, weights


def scaled(q: Tensor, scale: Tensor | float | None) -> Tensor:
    """Queries times the scale of the scores, 1/√D unless it is given."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return q * (scale.to(q.dtype) if isinstance(scale, Tensor) else scale)
