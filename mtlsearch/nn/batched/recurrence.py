"""`nn.LSTM`, `nn.GRU` and `nn.RNN` as `vmap` can batch them.

The inputs' products of all steps are one product; `cells` has the rest. Packed sequences are padded inside, and a step
leaves the states of ended ones as they are.

Legend: L steps, B sequences, I inputs, H hidden units, D directions, K gates, N layers.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from mtlsearch.nn.batched.cells import GATES
from mtlsearch.nn.batched.noisy import Noisy, checked_rate, dropped, key_of_draw, new_key, transforming
from mtlsearch.nn.batched.packing import repacked, unpacked
from mtlsearch.nn.batched.recurrence_function import Recurrence

State = tuple[Tensor, Tensor]  # the hidden states and the cells [N D, B, H]; other layers than LSTM use no cells


class Recurrent(Noisy, nn.RNNBase):
    """What the recurrent layers have in common: the same parameters and outputs as torch's."""

    held: ClassVar[tuple[str, ...]] = ("dropout",)
    noise_key: Tensor
    rate: Tensor

    @classmethod
    def of(cls, layer: nn.RNNBase) -> nn.RNNBase:
        """`layer` itself, from now on of this class."""
        rate = checked_rate(layer.dropout)
        for name in ("_flat_weights", "_flat_weight_refs"):  # second names of the parameters, which would stay behind
            vars(layer).pop(name, None)
        layer.__class__ = cls
        layer.register_buffer("noise_key", new_key(), persistent=False)
        layer.register_buffer("rate", torch.tensor(rate), persistent=False)
        assert isinstance(layer, cls)
        layer.drops = rate > 0 and layer.num_layers > 1
        return layer

    @staticmethod
    def fits(layer: nn.RNNBase) -> bool:
        """Whether the layer's options can be batched."""
        return not layer.proj_size

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        """In how many blocks each dimension of a tensor is padded: a gate's units stay together."""
        gates = GATES[self.mode]
        found: dict[str, tuple[int, ...]] = {}
        for name, _ in self.named_parameters():
            inner = self.num_directions if name.startswith("weight_ih") and "_l0" not in name else 1
            found[name] = (gates, inner) if name.startswith("weight") else (gates,)
        return found

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    # torch's own keep second names of the parameters.
    __setattr__ = nn.Module.__setattr__  # type: ignore[assignment]
    __getstate__ = object.__getstate__
    __setstate__ = nn.Module.__setstate__
    _apply = nn.Module._apply

    def flatten_parameters(self) -> None:
        """Does nothing: the parameters are used as they are."""

    def _run(self, x: Any, h: Tensor | None, c: Tensor | None) -> tuple[Any, State]:
        """The outputs, in the form of the input `x`, and the last states."""
        if isinstance(x, PackedSequence):
            return self._run_packed(x, h, c)
        if x.ndim not in (2, 3):
            raise ValueError(f"{type(self).__name__} takes inputs of 2 or 3 dimensions, but got {x.ndim}")
        if x.ndim == 2:
            outputs, (h, c) = self._layers(x.unsqueeze(1), *(s if s is None else s.unsqueeze(1) for s in (h, c)))
            return outputs.squeeze(1), (h.squeeze(1), c.squeeze(1))
        x = x.transpose(0, 1) if self.batch_first else x
        outputs, state = self._layers(x, h, c)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), state

    def _run_packed(self, packed: PackedSequence, h: Tensor | None, c: Tensor | None) -> tuple[PackedSequence, State]:
        data, sizes, order, back = packed
        valid = torch.arange(int(sizes[0])) < sizes.unsqueeze(1)  # [L, B]
        if order is not None:
            h, c = (s if s is None else s.index_select(1, order) for s in (h, c))
        outputs, (h, c) = self._layers(unpacked(data, valid), h, c, valid.to(data.device))
        if back is not None:
            h, c = h.index_select(1, back), c.index_select(1, back)
        return PackedSequence(repacked(outputs, valid), sizes, order, back), (h, c)

    def _layers(
        self, x: Tensor, h: Tensor | None, c: Tensor | None, valid: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The outputs [L, B, D H] of all layers, and their last states; `valid` [L, B] marks what is no padding."""
        directions, many = self.num_directions, x.shape[1]
        zeros = x.new_zeros(self.num_layers * directions, many, self.hidden_size)
        h, c = zeros if h is None else h, zeros if c is None else c
        masks = None if valid is None else self._directed(torch.stack([valid] * directions))
        last_h, last_c = [], []
        for layer in range(self.num_layers):
            if layer and self.drops and self.training:
                # Directions apart: a unit's noise must not depend on their width.
                x = torch.unflatten(x, -1, (directions, -1))
                x = dropped(x, key_of_draw(self.noise_key, layer), self.rate).flatten(-2)
            own = slice(layer * directions, (layer + 1) * directions)
            if masks is None and not transforming():
                x, h_of, c_of = self._torchs_layer(x, layer, h[own], c[own])
            else:
                hidden, cells = self._layer(x, layer, h[own], c[own], masks)
                x = hidden[0] if directions == 1 else torch.cat(list(self._directed(hidden)), -1)
                h_of, c_of = hidden[:, -1], cells[:, -1] if self.mode == "LSTM" else c[own]
            last_h.append(h_of)
            last_c.append(c_of)
        return x, (torch.cat(last_h), torch.cat(last_c))

    def _torchs_layer(self, x: Tensor, layer: int, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs and last states of one layer, by torch's own code: for one trial it is the fastest."""
        own: list[Tensor] = [w for n, w in self.named_parameters() if n.removesuffix("_reverse").endswith(f"_l{layer}")]
        options = (self.bias, 1, 0.0, self.training, self.bidirectional, False)
        if self.mode == "LSTM":
            return torch.lstm(x, [h, c], own, *options)
        run = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[self.mode]
        outputs, last = run(x, h, own, *options)
        return outputs, last, c

    def _layer(self, x: Tensor, layer: int, h: Tensor, c: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """The hidden states and cells [D, L, B, H] of one layer, each direction in its own order."""

        def stacked(name: str) -> Tensor:
            ends = ("", "_reverse")[: self.num_directions]
            return torch.stack([getattr(self, f"{name}_l{layer}{end}") for end in ends])

        w_ih, w_hh = stacked("weight_ih"), stacked("weight_hh")
        bias, b = None, w_hh.new_zeros(w_hh.shape[:-1])
        if self.bias:
            bias, b = stacked("bias_ih"), stacked("bias_hh")
            bias = bias if self.mode == "GRU" else bias + b
        products = F.linear(x, w_ih.flatten(0, 1), None if bias is None else bias.flatten(0, 1))
        each = products.unsqueeze(0)
        if self.num_directions > 1:
            each = self._directed(torch.stack(products.chunk(self.num_directions, -1)))
        hidden, cells, _ = Recurrence.apply(self.mode, each, w_hh, b, h, c, masks)
        return hidden[:, 1:], cells

    def _directed(self, x: Tensor) -> Tensor:
        """`x` [D, L, ...] with the second direction in the other order of steps."""
        return x if self.num_directions == 1 else torch.stack([x[0], x[1].flip(0)])


class LSTM(Recurrent, nn.LSTM):
    """Takes the place of `nn.LSTM`."""

    def forward(self, input: Any, hx: State | None = None) -> tuple[Any, State]:
        return self._run(input, *(hx or (None, None)))


class GRU(Recurrent, nn.GRU):
    """Takes the place of `nn.GRU`."""

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        outputs, (h, _) = self._run(input, hx, None)
        return outputs, h


class RNN(Recurrent, nn.RNN):
    """Takes the place of `nn.RNN`."""

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        outputs, (h, _) = self._run(input, hx, None)
        return outputs, h
