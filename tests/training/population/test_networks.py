"""Attention, recurrence, dropout of every kind, bags of embeddings: in a population they give what they give alone."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from population_asserts import assert_as_alone, config, double
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree

from mtlsearch import Classification, Data, Study, real
from mtlsearch.nn.batched import noisy
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.compiler import traced
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import (
    Eager,
    Fused,
    choose_steps,
    has_compiler,
    steps_like,
)

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
        self.rate = rate
        self.q, self.k, self.v = (nn.Linear(UNITS, UNITS) for _ in range(3))

    def run(self, x, padding):
        x = F.dropout(x, self.rate, self.training)
        q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        seen = ~padding[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=self.rate if self.training else 0.0)
        y = F.scaled_dot_product_attention(y, k, v, is_causal=True)
        return F.alpha_dropout(y.transpose(1, 2).flatten(2), self.rate, self.training)


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
def test_mixed_rates_a_pruned_and_a_late_member_share_one_lane_and_equal_solo(
    net: type[Net], monkeypatch: pytest.MonkeyPatch
) -> None:
    if net in (Encoder, Functions, Dropouts):  # as with larger masks: members share the noise of a key
        monkeypatch.setattr(noisy, "LARGE", 1)
    study = study_of(net)
    trainer = PopulationTrainer(double(study), 3, Fused() if net is Encoder else Eager(), pytest.fail)
    configs = [config(study, rate=0.1), config(study, rate=0.5), config(study, rate=0.3, optimizer="sgd")]
    trainer.add(0, configs[0])
    trainer.add(1, configs[1])
    results = trainer.advance()
    trainer.drop(1)
    assert trainer.add(2, configs[2]) == 1
    assert len(list(trainer.lanes)) == 1
    for _ in range(EPOCHS - 1):
        results += trainer.advance()
    assert_as_alone(trainer, 0, configs[0], results)
    trainer.drop(0)
    assert_as_alone(trainer, 2, configs[2], results + trainer.advance(), entry_epoch=1)


@pytest.mark.skipif(not has_compiler(), reason="nothing is compiled here")
@pytest.mark.parametrize("net", [Encoder, Recurrence, Functions])
def test_what_a_compiler_gets_is_the_step(net: type[Net], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy, "LARGE", 1)
    study = study_of(net)
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    for number, rate in enumerate((0.1, 0.4)):
        trainer.add(number, config(study, rate=rate))
    (lane,) = trainer.lanes
    lane.begin_epoch(0)
    traced_state = deepcopy(lane.state)
    graph, data = traced(lane.program, traced_state)
    graph(*_pytree.tree_leaves(traced_state), *data)
    lane.program.step(lane.state)
    for one, other in zip(traced_state.stacked(), lane.state.stacked(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    names = {node.target for node in graph.graph.nodes}
    assert (torch.ops.mtlsearch.recurrence.default in names) == (net is Recurrence)  # whole, not unrolled


def test_sixteen_rates_are_one_lane_and_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    from mtlsearch.training.population import architectures

    for net in (Encoder, Recurrence, Functions):
        probes: list[object] = []
        monkeypatch.setattr(architectures, "why_not", probes.append)
        study = study_of(net)
        trainer = PopulationTrainer(double(study), 16, Eager(), pytest.fail)
        for number in range(16):
            trainer.add(number, config(study, rate=number / 32))  # 0 too
        assert len(list(trainer.lanes)) == len(probes) == 1


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand_like(x)


class Floats(Net):
    """It needs its rate as a number, and has a layer that cannot be batched."""

    def make(self, rate):
        self.rate = rate
        self.body = nn.Sequential(nn.Linear(UNITS, UNITS), Draws())

    def run(self, x, padding):
        return self.body(x) * float(self.rate)


class Floating(Floats):
    """It needs its rate as a number."""

    def make(self, rate):
        self.rate, self.body = rate, nn.Linear(UNITS, UNITS)


def test_what_cannot_be_batched_is_told_once_with_its_place_and_what_to_write() -> None:
    study, notices = study_of(Floats), list[str]()
    trainer = PopulationTrainer(double(study), 3, Eager(), notices.append)
    for number in range(3):
        trainer.add(number, config(study, rate=0.1 + number / 10))
    assert notices == [
        "Floats is trained one at a time: its layer body.1 (Draws) draws noise that is no function of seed and step;"
        " draw it by nn.Dropout, F.dropout or mtlsearch.Dropout"
    ]
    assert len(trainer.solo) == 3


def test_a_number_that_a_layer_needs_as_such_has_a_lane_for_each_value() -> None:
    study = study_of(Floating)
    trainer = PopulationTrainer(double(study), 3, Eager(), pytest.fail)
    for number, rate in enumerate((0.1, 0.2, 0.2)):
        trainer.add(number, config(study, rate=rate))
    assert sorted(len(lane.active) for lane in trainer.lanes) == [1, 2]


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (lambda x: x * x.sum().item(), "reads a value out of a tensor, as .item(), .tolist() and `if` do"),
        (lambda x: x if x.sum() > 0 else -x, "use torch.where"),
        (lambda x: x[x > 0].sum() * x, "use torch.where instead of indexing by a mask"),
        (lambda x: torch.zeros(x.shape).add_(x), "write x = x + y instead of x += y"),
        (lambda x: F.rrelu(x, training=True), "calls aten::rrelu_with_noise, which torch cannot batch"),
    ],
)
def test_the_reason_is_in_words_of_our_own(does: Callable[[Tensor], Tensor], told: str) -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return does(x)

    class Does(Net):
        def make(self, rate):
            self.body = nn.Sequential(nn.Linear(UNITS, UNITS), Layer())

        def run(self, x, padding):
            return self.body(x)

    study, notices = study_of(Does), list[str]()
    trainer = PopulationTrainer(double(study), 1, Eager(), notices.append)
    trainer.add(0, config(study))
    assert len(notices) == 1
    assert notices[0].startswith("Does is trained one at a time: its layer body.1 (Layer) ")
    assert told in notices[0]


def test_an_older_torch_runs_steps_uncompiled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    told: list[str] = []
    steps = choose_steps(load_data(study_of(Bags), Path()), 100, 16, told.append, compiles=True)
    assert steps.name == "fused"
    assert told == ["torch 2.6.0+cpu is not known to compile a step exactly: steps run uncompiled; 2.14 is"]
    assert steps_like("compiled", torch.device("cpu")).name == "fused"
