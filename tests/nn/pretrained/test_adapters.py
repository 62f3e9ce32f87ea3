"""Adapters in a population: the pretrained weights are one tensor, and each member trains as it does alone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from population_asserts import FEATURES, assert_as_alone, assert_population_equals_solo, config, double, joint
from torch import nn

from mtlsearch import Classification, Dropout, MultiLabel, Study, adapted, choice, integer
from mtlsearch.errors import StudyError
from mtlsearch.nn.pretrained.adapters import AdaptedLinear
from mtlsearch.nn.pretrained.shared import own_state, shared_tensors
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager, Fused
from mtlsearch.training.solo import SoloTrainer


class Attention(nn.Module):
    """Self-attention over tokens, with its query, key, value and output as linear layers."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention, self.norm1, self.norm2 = Attention(width, heads), nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down, self.drop = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class Encoder(nn.Module):
    """The first four of numbers [B, F] as tokens; [B, W]."""

    def __init__(self, width: int = 8, layers: int = 1, dropout: float = 0.1):
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.blocks = nn.ModuleList(Block(width, 2, dropout) for _ in range(layers))

    def forward(self, x):
        x = self.embed(x[:, :4].unsqueeze(-1))
        for block in self.blocks:
            x = block(x)
        return x.mean(1)


class Net(nn.Module):
    def __init__(self, encoder: nn.Module, width: int = 8):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({"kind": nn.Linear(width, 3), "tags": nn.Linear(width, 4)})

    def forward(self, inputs):
        return {task: self.heads[task](self.encoder(x)) for task, x in inputs.items()}


def pretrained(**settings) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Encoder(**settings)


def study(base: nn.Module, layers=("query", "value", "up"), **changes) -> Study:
    def model(values):
        rate = values["adapter_dropout"]
        return Net(adapted(base, values["rank"], layers=layers, alpha=values["alpha"], dropout=rate))

    return Study(
        tasks=[Classification("kind", joint), MultiLabel("tags", joint, metric_name="macro_f1")],
        model=model,
        space={"rank": integer(1, 6)},
        default={
            "rank": 2,
            "alpha": 4.0,
            "adapter_dropout": 0.2,
            "clip_norm": 5.0,
            "optimizer": "adamw",
            "learning_rate": 1e-2,
        },
        epochs=2,
        batch_size=16,
        **changes,
    )


MIXED = [
    {"rank": 1, "optimizer": "sgd"},
    {"rank": 6, "adapter_dropout": 0.0, "weight_decay": 0.1},
    {"rank": 3, "alpha": 1.0, "clip_norm": 0.5, "optimizer": "adam"},
    {"rank": 2, "optimizer": "rmsprop", "learning_rate": 1e-3},
]


def test_adapters_of_mixed_ranks_train_in_one_lane_as_alone():
    base = pretrained()
    searched = study(base)
    configs = [config(searched, [w, 1 - w], **values) for w, values in zip((0.5, 0.2, 0.7, 0.9), MIXED, strict=True)]
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    training = double(searched)
    trainer = PopulationTrainer(training, len(configs), Fused(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(searched.epochs) for result in trainer.advance()]
    (lane,) = trainer.lanes  # one program for all ranks
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)
    frozen = {name for name, p in lane.program.base.named_parameters() if not p.requires_grad}
    assert frozen == {f"encoder.{name}" for name in before}
    assert frozen.isdisjoint(lane.state.params | lane.state.buffers | lane.state.best)  # not stacked
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, before[name])
        held = {id(member.module.get_parameter(f"encoder.{name}")) for _, member in lane.active}
        placed = lane.program.base.get_parameter(f"encoder.{name}")
        assert held <= {id(base.get_parameter(name)), id(placed)}  # one copy in memory, and one as the lane takes it
    assert frozen.isdisjoint(trainer.state(0))


def test_a_late_member_and_a_dropped_one_are_as_alone():
    searched = study(pretrained())
    configs = [config(searched, [0.5, 0.5], **values) for values in MIXED]
    trainer = PopulationTrainer(double(searched), 3, Eager(), pytest.fail)
    for number in range(3):
        trainer.add(number, configs[number])
    results = trainer.advance()
    trainer.drop(1)
    entry = trainer.add(3, configs[3])
    results += trainer.advance()
    assert_as_alone(trainer, 0, configs[0], results)
    trainer.drop(0)
    results += trainer.advance()
    assert_as_alone(trainer, 3, configs[3], results, entry)


@pytest.mark.parametrize("kind", ["population", "solo"])
def test_a_kept_state_leaves_the_shared_weights_out_and_goes_on(kind):
    searched = study(pretrained())
    training = double(searched)

    def made():
        return PopulationTrainer(training, 2, Eager(), pytest.fail) if kind == "population" else SoloTrainer(training)

    trainer, again = made(), made()
    trainer.add(0, config(searched, [0.5, 0.5], **MIXED[2]))
    trainer.advance()
    kept = trainer.keep()
    kept = replace(kept, tensors={name: tensor.clone() for name, tensor in kept.tensors.items()})
    assert not any("embed" in name for name in kept.tensors)
    again.restore(kept)
    assert again.advance()[0].score == trainer.advance()[0].score
    for name, tensor in trainer.state(0).items():
        assert torch.equal(again.state(0)[name], tensor)


def test_parameters_without_gradients_stay_in_a_population_too():
    """A part of a user's model that asks for no gradient has each member's own values, and is not trained."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.drop = nn.Linear(FEATURES, 8), Dropout(0.1)
            self.first.requires_grad_(False)
            self.heads = nn.ModuleDict({"kind": nn.Linear(8, 3), "tags": nn.Linear(8, 4)})

        def forward(self, inputs):
            return {task: self.heads[task](self.drop(self.first(x).relu())) for task, x in inputs.items()}

    searched = study(pretrained())
    searched = Study(tasks=searched.tasks, model=lambda values: Half(), space={}, default={}, epochs=2, batch_size=16)
    assert_population_equals_solo(searched, [config(searched), config(searched, [0.9, 0.1])])


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_merges():
    base = pretrained(dropout=0.0)
    x = torch.randn(5, FEATURES)
    new = adapted(base, 4, layers=["query", "down"], alpha=8.0)
    assert type(new) is Encoder
    assert new is not base
    assert torch.equal(new(x), base(x))
    assert sum(p.requires_grad for p in new.parameters()) == 2 * 2
    layer = new.blocks[0].attention.query
    assert isinstance(layer, AdaptedLinear)
    nn.init.normal_(layer.up)
    assert not torch.allclose(new(x), base(x))
    base.blocks[0].attention.query.weight = nn.Parameter(layer.merged().detach())
    torch.testing.assert_close(base(x), new(x))
    assert set(own_state(new)) == {name for name, p in new.named_parameters() if p.requires_grad}
    assert "blocks.0.attention.query.weight" in shared_tensors(new)


def test_torchs_encoder_layer_uses_its_adapters_in_evaluation_too():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    new = adapted(layer, 2, layers=["linear1"]).eval()
    x = torch.randn(3, 4, 8)
    with torch.no_grad():
        before = new(x)
        nn.init.normal_(new.linear1.up)
        assert not torch.allclose(new(x), before)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: adapted(Encoder(), 0), "rank must be a whole number of 1 or more, but got 0"),
        (lambda: adapted(Encoder(), 2, alpha=-1.0), "alpha must be above 0"),
        (lambda: adapted(Encoder(), 2, layers="query"), r"write \['query'\]"),
        (lambda: adapted(Encoder(), 2, layers=["q_proj"]), "query.*but 'q_proj' is none"),
        (lambda: adapted(nn.ReLU(), 2), "there is none"),
        (
            lambda: adapted(nn.MultiheadAttention(8, 2), 2),
            "out_proj lie.* in a layer of torch that reads their weights",
        ),
    ],
)
def test_wrong_calls_say_the_rule(call, rule):
    with pytest.raises(StudyError, match=rule):
        call()


def test_ranks_of_a_choice_share_a_lane_too():
    searched = study(pretrained())
    searched = Study(
        tasks=searched.tasks, model=searched.model, space={"rank": choice(2, 4)}, default=searched.default, epochs=1
    )
    trainer = PopulationTrainer(double(searched), 2, Eager(), pytest.fail)
    for number, rank in enumerate((2, 4)):
        trainer.add(number, config(searched, [0.5, 0.5], rank=rank))
    assert len(list(trainer.lanes)) == 1
