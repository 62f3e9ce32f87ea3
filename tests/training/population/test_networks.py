"""Attention, recurrence, dropout of every kind, bags of embeddings: in a population they give what they give alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from population_asserts import assert_as_alone, config, double
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mtlsearch import Classification, Data, Study, real
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager, Fused

STEPS, UNITS, ROWS, EPOCHS = 5, 8, 88, 9  # 6 steps of 12 an epoch: 54 steps


def sequences(directory: Path | None = None) -> Data:
    """Sequences [5, 8] of 1 to 5 steps, padded with zeros, with the class of their sum."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * ROWS, STEPS, UNITS, generator=generator)
    lengths = torch.randint(1, STEPS + 1, (2 * ROWS,), generator=generator)
    x[torch.arange(STEPS) >= lengths.unsqueeze(1)] = 0
    labels = x.sum((1, 2)).sign().long().clamp(min=0)
    return Data((x[:ROWS], labels[:ROWS]), (x[ROWS:], labels[ROWS:]), validation=16)


class Net(nn.Module):
    """A user's network: `run` gives features [B, steps, units] or [B, units] of sequences, and their padding."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.make(rate)
        self.head = nn.LazyLinear(2)
        with torch.no_grad():
            self({"a": torch.randn(2, STEPS, UNITS)})

    def make(self, rate: float) -> None: ...

    def run(self, x: Tensor, padding: Tensor) -> Tensor: ...

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = {}
        for task, x in inputs.items():
            padding = (x == 0).all(-1)
            features = self.run(x, padding)
            if features.ndim == 3:
                features = torch.where(padding.unsqueeze(-1), 0, features).sum(1)
            outputs[task] = self.head(features)
        return outputs


class Attention(Net):
    def make(self, rate):
        self.attention = nn.MultiheadAttention(UNITS, 2, dropout=rate, batch_first=True)
        self.other = nn.MultiheadAttention(UNITS, 4, dropout=rate / 2, kdim=4, vdim=3, add_bias_kv=True)

    def run(self, x, padding):
        seen, weights = self.attention(x, x, x, key_padding_mask=padding)
        turned = seen.transpose(0, 1)
        other, _ = self.other(turned, turned[..., :4], turned[..., :3], need_weights=False)
        return other.transpose(0, 1) + weights.sum(1, keepdim=True).mean(-1, keepdim=True)


class Encoder(Net):
    def make(self, rate):
        layer = nn.TransformerEncoderLayer(UNITS, 2, 12, dropout=rate, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def run(self, x, padding):
        return self.encoder(x, src_key_padding_mask=padding)


class Decoder(Net):
    def make(self, rate):
        first = nn.TransformerDecoderLayer(UNITS, 2, 12, dropout=rate, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(first, 1, nn.LayerNorm(UNITS))
        self.whole = nn.Transformer(UNITS, 2, 1, 1, 12, dropout=rate, batch_first=True)

    def run(self, x, padding):
        mask = nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=x.dtype)
        x = self.decoder(x, x.flip(1), tgt_mask=mask, tgt_is_causal=True, memory_key_padding_mask=padding.flip(1))
        return self.whole(x, x, src_key_padding_mask=padding, tgt_mask=mask)


class Recurrence(Net):
    kind: Any = nn.LSTM

    def make(self, rate):
        self.net = self.kind(UNITS, 6, num_layers=2, dropout=rate, bidirectional=True, batch_first=True)

    def run(self, x, padding):
        return self.net(x)[0]


class Packed(Recurrence):
    def run(self, x, padding):
        lengths = (~padding).sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.net(packed)
        last = last[0] if isinstance(last, tuple) else last
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=STEPS)
        return padded.sum(1) + last.sum(0).repeat(1, 2)


class GRU(Recurrence):
    kind = nn.GRU


class PackedGRU(Packed):
    kind = nn.GRU


class PlainRNN(Recurrence):
    kind = nn.RNN


class Dropouts(Net):
    def make(self, rate):
        self.first, self.second, self.third = nn.Dropout1d(rate), nn.Dropout2d(rate), nn.Dropout3d(rate)
        self.selu = nn.Sequential(
            nn.Linear(UNITS, UNITS), nn.SELU(), nn.AlphaDropout(rate), nn.FeatureAlphaDropout(rate)
        )

    def run(self, x, padding):
        x = self.first(x)
        x = self.second(x.unflatten(-1, (2, -1))).flatten(2)
        x = self.third(x[..., None, None]).flatten(2)
        return self.selu(x)


class Functions(Net):
    """A network that keeps its rate as an attribute, and calls functions that draw noise."""

    def make(self, rate):
        self.drop = nn.Dropout(rate)
        self.q, self.k, self.v = (nn.Linear(UNITS, UNITS) for _ in range(3))

    def run(self, x, padding):
        rate = 0.3
        x = F.dropout(x, rate, self.training)
        q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        seen = ~padding[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=rate if self.training else 0.0)
        y = F.scaled_dot_product_attention(y, k, v, is_causal=True)
        return self.drop(F.alpha_dropout(y.transpose(1, 2).flatten(2), rate, self.training))


class Bags(Net):
    def make(self, rate):
        self.mean = nn.EmbeddingBag(6, 4, padding_idx=0)
        self.most = nn.EmbeddingBag(6, 4, mode="max")
        self.drop = nn.Dropout(rate)

    def run(self, x, padding):
        ids = (x[..., 0].abs() * 2).long().clamp(max=5)
        flat, offsets = ids.flatten(), torch.arange(len(ids)) * STEPS
        return self.drop(torch.cat([self.mean(ids), self.most(ids), self.mean(flat, offsets)], -1))


NETS = [Attention, Encoder, Decoder, Recurrence, Packed, GRU, PackedGRU, PlainRNN, Dropouts, Functions, Bags]


def study_of(net: Callable[[float], nn.Module]) -> Study:
    return Study(
        tasks=[Classification("a", sequences)],
        model=lambda config: net(config["rate"]),
        space={"rate": real(0, 0.5), "learning_rate": real(1e-4, 1e-1, log=True)},
        default={"rate": 0.1, "learning_rate": 1e-2},
        epochs=EPOCHS,
        batch_size=12,
    )


@pytest.mark.parametrize("net", NETS)
def test_mixed_rates_a_pruned_and_a_late_member_share_one_lane_and_equal_solo(net: type[Net]) -> None:
    study = study_of(net)
    trainer = PopulationTrainer(double(study), 3, Fused() if net is Encoder else Eager(), pytest.fail)
    configs = [config(study, rate=0.1), config(study, rate=0.5), config(study, rate=0.3, optimizer="sgd")]
    trainer.add(0, configs[0])
    trainer.add(1, configs[1])
    results = trainer.advance()
    trainer.drop(1)
    assert trainer.add(2, configs[2]) == 1
    assert len(list(trainer.lanes)) == 1
    for _ in range(EPOCHS):
        results += trainer.advance()
    assert_as_alone(trainer, 0, configs[0], [r for r in results if r.epoch < EPOCHS or r.number])
    assert_as_alone(trainer, 2, configs[2], results, entry_epoch=1)
