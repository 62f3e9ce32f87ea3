"""torch's transformer layers and stacks on their plain path: the fast one of evaluation cannot be batched.

`nn.Transformer` itself is made of these.
"""

from torch import Tensor, nn


class TransformerEncoderLayer(nn.TransformerEncoderLayer):
    """Takes the place of `nn.TransformerEncoderLayer`."""

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attended(x: Tensor) -> Tensor:
            return self._sa_block(x, src_mask, src_key_padding_mask, is_causal=is_causal)

        if self.norm_first:
            x = src + attended(self.norm1(src))
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(src + attended(src))
        return self.norm2(x + self._ff_block(x))  # type: ignore[no-any-return]


class TransformerEncoder(nn.TransformerEncoder):
    """Takes the place of `nn.TransformerEncoder`.

    Outputs at padded places are what the layers give there; torch's fast path makes them 0.
    """

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=bool(is_causal), src_key_padding_mask=src_key_padding_mask)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(nn.TransformerDecoder):
    """Takes the place of `nn.TransformerDecoder`, which looks into its masks to see whether they are causal.

    Its layers are plain already.
    """

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)
