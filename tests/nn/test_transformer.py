"""`TransformerTrunk`, and widths that several trunks pad: a member among wider ones is what it is alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from population_asserts import assert_as_alone, assert_population_equals_solo, config, double
from torch import Tensor, nn

from mtlsearch import Classification, ConvTrunk, Data, Study, TextTrunk, TransformerTrunk, choice, integer, real
from mtlsearch.errors import StudyError
from mtlsearch.nn.batched.noisy import noise_keys
from mtlsearch.nn.batched.replacing import batchable
from mtlsearch.nn.norms import with_live_norms
from mtlsearch.nn.widening import blocks_of, corner, cut, extent, in_blocks, pad
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.seeds import layer_keys

HEADS: dict[str, Any] = {"a": 3, "b": ("tokens", 2)}
IDS = torch.tensor([[4, 2, 7, 0], [3, 0, 0, 0], [1, 5, 6, 8]])
PICTURES = torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(0))
SERIES = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
INPUTS: dict[str, tuple[dict[str, Any], Tensor, int]] = {
    "tokens": ({"vocabulary": 9, "places": 4}, IDS, 4),
    "tokens of several ids": ({"vocabulary": 9, "places": 4}, torch.stack([IDS, IDS], -1), 4),
    "patches": ({"patch": 2, "places": 6}, PICTURES, 6),
    "series": ({"series": 5, "places": 7}, SERIES, 4),
    "series of one number": ({"series": 1, "places": 4}, SERIES[..., 0], 4),
}


@pytest.mark.parametrize("pool", ["mean", "cls"])
@pytest.mark.parametrize("name", INPUTS)
def test_a_trunk_takes_tokens_patches_and_series(name: str, pool: str) -> None:
    options, x, places = INPUTS[name]
    model = TransformerTrunk(HEADS, hidden=8, attention_heads=2, pool=pool, **options)
    outputs = model({"a": x, "b": x})
    assert outputs["a"].shape == (3, 3)
    assert outputs["b"].shape == (3, places, 2)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_padding_does_not_change_a_texts_output(pool: str) -> None:
    model = TransformerTrunk({"a": 3}, vocabulary=9, places=9, hidden=8, pool=pool).eval()
    longer = torch.nn.functional.pad(IDS, (0, 5))
    torch.testing.assert_close(model({"a": longer})["a"], model({"a": IDS})["a"])


def test_layers_of_a_trunk_start_from_other_numbers() -> None:
    first, second = TransformerTrunk({"a": 3}, series=5, places=4, hidden=8).encoder.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    assert not torch.equal(first.self_attn.in_proj_weight, second.self_attn.in_proj_weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "takes one of vocabulary, patch and series, but got none"),
        ({"vocabulary": 9, "series": 1}, "but got vocabulary and series"),
        ({"vocabulary": 1}, "vocabulary must be 2 or more, but got 1"),
        ({"series": 1, "hidden": 9}, "hidden must be a multiple of attention_heads, but got 9 and 4"),
        ({"series": 1, "pool": "max"}, "pool must be mean or cls, but got 'max'"),
        ({"series": 1, "depth": 0}, "depth must be 1 or more, but got 0"),
    ],
)
def test_a_trunk_refuses_what_it_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        TransformerTrunk({"a": 3}, places=4, **options)


def test_inputs_of_another_form_are_refused() -> None:
    with pytest.raises(StudyError, match="up to 3 places, but got 4: raise places"):
        TransformerTrunk({"a": 3}, vocabulary=9, places=3)({"a": IDS})
    with pytest.raises(StudyError, match="series of 2 numbers a step, but got"):
        TransformerTrunk({"a": 3}, series=2, places=4)({"a": SERIES})
    with pytest.raises(StudyError, match="patch must divide the pictures' sides, but got 3 for 4 × 6"):
        TransformerTrunk({"a": 3}, patch=3, places=4)({"a": PICTURES})


class Recurrent(nn.Module):
    """A user's network of recurrent layers, attention and normalisation, whose width can be padded."""

    width_dimension = "units"

    def __init__(self, units: int, rate: float = 0.2) -> None:
        super().__init__()
        self.units, self.rate = units, rate
        self.lstm = nn.LSTM(5, units, num_layers=2, dropout=rate, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(2 * units, units, batch_first=True)
        self.attention = nn.MultiheadAttention(units, 2, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(units)
        self.head = nn.Linear(units, 3)
        self.blocks = {"gru.weight_ih_l0": (3, 2)}  # it takes both directions

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        def output(x: Tensor) -> Tensor:
            x = self.gru(self.lstm(x)[0])[0]
            x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
            return self.head(x.mean(1))

        return {task: output(x) for task, x in inputs.items()}

    def widened(self, units: int) -> "Recurrent":
        return Recurrent(units, self.rate)


NETS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...], Tensor]] = {
    "transformer": (
        lambda width: TransformerTrunk({"a": 3}, series=5, places=4, hidden=width, dropout=0.2, pool="cls"),
        (4, 8, 12),
        SERIES,
    ),
    "convolutions": (
        lambda width: ConvTrunk({"a": 3}, channels=width, norm="batch", dropout=0.2),
        (2, 3, 6),
        PICTURES[:, 0],
    ),
    "texts": (lambda width: TextTrunk(9, {"a": 3}, hidden=width, dropout=0.2), (3, 5, 9), IDS.unsqueeze(-1)),
    "recurrence": (Recurrent, (4, 6, 8), SERIES),
}


def source(x: Tensor) -> Callable[[Any], Data]:
    def data(directory: Any) -> Data:
        many = torch.cat([x] * 20)
        labels = torch.arange(len(many)) % 3
        kind = "numbers" if x.is_floating_point() else "tokens"
        return Data((many, labels), (many[:9], labels[:9]), validation=12, inputs=kind)

    return data


@pytest.mark.parametrize("name", NETS)
def test_members_of_several_widths_share_a_lane_and_equal_solo(name: str) -> None:
    make, widths, x = NETS[name]
    dimension = make(widths[1]).width_dimension
    study = Study(
        tasks=[Classification("a", source(x))],
        model=lambda config: make(config[dimension]),
        space={dimension: choice(*widths) if name == "transformer" else integer(widths[0], widths[-1])},
        default={dimension: widths[1]},
        epochs=2,
        batch_size=12,
    )
    configs = [config(study, **{dimension: width}, optimizer="sgd") for width in widths]
    trainer = PopulationTrainer(double(study), 3, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    assert len(list(trainer.lanes)) == 1
    assert trainer.conditions(0)["lane_width"] == widths[-1]
    assert_population_equals_solo(study, configs)


def keyed(model: nn.Module, step: int) -> None:
    """Give each layer its key of a step."""
    buffers = dict(model.named_buffers())
    for name, key in layer_keys(torch.tensor(7), torch.tensor(step), noise_keys(model)).items():
        buffers[name].copy_(key)


@pytest.mark.parametrize("name", NETS)
def test_padding_stays_zero_and_the_corners_are_the_unpadded_module(name: str) -> None:
    make, widths, x = NETS[name]
    torch.manual_seed(0)
    small = with_live_norms(batchable(make(widths[1]))).double()
    wide = pad(small, widths[-1])
    given = {"a": x.double() if x.is_floating_point() else x}
    for model in (small, wide):
        rule = torch.optim.SGD(model.parameters(), 0.1)
        for step in range(4):
            keyed(model.train(), step)
            rule.zero_grad()
            model(given)["a"].sin().sum().backward()
            rule.step()
    blocks, own = blocks_of(wide), dict(small.named_parameters())
    for key, tensor in wide.named_parameters():
        each = blocks.get(key)
        torch.testing.assert_close(cut(tensor, own[key].shape, each), own[key], rtol=0, atol=1e-9)
        rest = tensor.detach().clone()
        corner(rest, own[key].shape, each).zero_()
        assert not rest.any()


@pytest.mark.parametrize("blocks", [None, (1, 1), (2, 1), (3, 2)])
def test_the_extent_of_blocks_is_the_place_of_their_last_number(blocks: tuple[int, ...] | None) -> None:
    shape, padded = (6, 4), torch.zeros(12, 10)
    corner(padded, shape, blocks).fill_(1)
    assert int(padded.sum()) == 24
    assert extent(shape, padded.shape, blocks) == int(padded.flatten().nonzero().max()) + 1
    assert cut(padded, shape, blocks).shape == shape
    assert in_blocks(torch.ones(shape), blocks).shape == corner(padded, shape, blocks).shape


def test_a_module_whose_rate_is_a_number_is_padded_with_it() -> None:
    study = Study(
        tasks=[Classification("a", source(SERIES))],
        model=lambda config: Recurrent(config["units"], config["rate"]),
        space={"units": integer(4, 8), "rate": real(0, 0.5)},
        default={"units": 8, "rate": 0.1},
        epochs=1,
        batch_size=12,
    )
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    members = [config(study, units=4, rate=0.0), config(study, units=8, rate=0.4)]
    trainer.lanes.architectures.widths = [4, 8]  # as of larger modules
    trainer.lanes.packs = True
    for number, member in enumerate(members):
        trainer.add(number, member)
    trainer.lanes.arrange(0)
    assert len([lane for lane in trainer.lanes if lane.active]) == 1
    results = trainer.advance()
    for number, member in enumerate(members):
        assert_as_alone(trainer, number, member, results)


def test_a_module_that_can_be_widened_must_name_its_width() -> None:
    class Nameless(nn.Module):
        width_dimension = "units"

        def __init__(self, units: int) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: self.head(x.mean(1)) for task, x in inputs.items()}

        def widened(self, units: int) -> "Nameless":
            return Nameless(units)

    study = Study(
        tasks=[Classification("a", source(SERIES))],
        model=lambda config: Nameless(config["units"]),
        space={"units": integer(2, 4)},
        default={"units": 2},
        epochs=1,
    )
    trainer = PopulationTrainer(double(study), 1, Eager(), pytest.fail)
    with pytest.raises(StudyError, match="it must keep its width as an attribute: self"):
        trainer.add(0, config(study))
