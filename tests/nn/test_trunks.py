"""Layers: noise that is uniform and reproducible, dropout, normalisation, trunks, and padding that changes nothing."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from problems import FEATURES, config, disjoint, inputs
from scipy import stats
from torch import Tensor, nn

from mtlsearch import Dropout, LayerNorm, SeparateTrunks, SharedTrunk
from mtlsearch.errors import StudyError
from mtlsearch.kernels.noise import noise
from mtlsearch.nn.batched.noisy import noise_keys
from mtlsearch.nn.batched.replacing import batchable
from mtlsearch.nn.widening import corner, extent, pad
from mtlsearch.training.optim import OPTIMIZERS, OptimizerSettings
from mtlsearch.training.seeds import epoch_keys, layer_keys

HEADS = {"a": 3, "b": 2}
B, H = 256, 256
PINNED = [1740938536, 504649996, 2073484519]


def plain_noise(key: int, shape: Sequence[int]) -> Tensor:
    """The noise place by place, in Python's whole numbers, which never overflow."""

    def mix(x: int) -> int:
        x %= 2**31
        x = (x ^ x >> 16) * 0xEB352D % 2**31
        x = (x ^ x >> 15) * 0x6CA68B % 2**31
        return x ^ x >> 16

    places = [1]
    for size in shape:
        places = [above * 0x9E3779 + index for above in places for index in range(size)]
    return torch.tensor([mix(key + place) for place in places], dtype=torch.int32).reshape(list(shape))


def places(key: int, *shape: int) -> Tensor:
    """The noise of a key, whole numbers in [0, 2³¹)."""
    numbers: Tensor = noise(torch.tensor(key, dtype=torch.int32), list(shape))
    return numbers


def uniform(step: int = 0, layer: int = 0, seed: int = 0, shape: tuple[int, ...] = (B, H), epoch: int = 0) -> Tensor:
    """The noise of one layer at one step of a trial's own epoch, scaled to [0, 1)."""
    key = epoch_keys(seed, [epoch])[0]
    keys = layer_keys(key, torch.tensor(step), [str(i) for i in range(layer + 1)])
    return places(int(keys[str(layer)]), *shape).double() / 2**31


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, in standard errors of independent numbers."""
    return float(np.corrcoef(a.flatten(), b.flatten())[0, 1]) * math.sqrt(a.numel())


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_uniform(seed: int) -> None:
    u = uniform(seed=seed)
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / u.numel())
    assert float(u.var()) == pytest.approx(1 / 12, rel=0.02)
    counts = np.bincount((u.flatten() * 64).long(), minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("bit", range(31))
def test_every_bit_of_the_noise_is_fair(bit: int) -> None:
    ones = int((places(17, B, H) >> bit & 1).sum())
    assert abs(ones - B * H / 2) < 5 * math.sqrt(B * H / 4)


def test_noise_of_neighbouring_units_samples_steps_layers_and_epochs_is_uncorrelated() -> None:
    u = uniform()
    pairs = {
        "units": (u[:, 1:], u[:, :-1]),
        "samples": (u[1:], u[:-1]),
        "steps": (uniform(1), u),
        "layers": (uniform(0, 1), u),
        "a step and the next one's layer": (uniform(1, 0), uniform(0, 1)),
        "seeds": (uniform(seed=1), u),
        "epochs": (uniform(epoch=1), u),
        "later epochs": (uniform(epoch=8), uniform(epoch=3)),
        "rows and columns": (u.T, u),
    }
    assert {name for name, pair in pairs.items() if abs(correlation(*pair)) > 4.5} == set()


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_number_of_dropped_units_varies_as_independent_draws_do(rate: float) -> None:
    steps = torch.stack([(uniform(step, shape=(64, 128)) < rate).double() for step in range(100)])
    epochs = torch.stack([(uniform(shape=(64, 128), epoch=epoch) < rate).double() for epoch in range(100)])
    for dropped in (steps, epochs):
        assert_varies_as_independent_draws(dropped, rate)


def assert_varies_as_independent_draws(dropped: Tensor, rate: float) -> None:
    """`dropped` [100, 64, 128] is 0 or 1; the sums over each of its dimensions have a binomial variance."""
    for counts, n in ((dropped.sum(2), 128), (dropped.sum(1), 64), (dropped.sum(0), 100)):
        variance = float(counts.var()) / (n * rate * (1 - rate))
        assert variance == pytest.approx(1, abs=5 * math.sqrt(2 / counts.numel()) + 0.01)


def test_noise_of_a_unit_does_not_depend_on_the_width_or_the_batch() -> None:
    wide = places(5, 32, 512)
    assert torch.equal(places(5, 32, 8), wide[:, :8])
    assert torch.equal(places(5, 7, 512), wide[:7])


@pytest.mark.parametrize("shape", [[7], [64, 130], [3, 4, 5], [0, 4]])
@pytest.mark.parametrize("key", [0, 1, 0x3FFFFFFF, 0x7FFFFFFF])
def test_noise_is_its_plain_reference(key: int, shape: list[int]) -> None:
    ours = places(key, *shape)
    assert torch.equal(ours, plain_noise(key, shape))
    assert ours.dtype == torch.int32


def test_noise_is_a_function_of_its_key_alone() -> None:
    torch.manual_seed(0)
    first = places(9, 4, 4)
    torch.manual_seed(1)
    assert torch.equal(places(9, 4, 4), first)
    assert not torch.equal(places(10, 4, 4), first)
    # Pinned: another hash would change every recorded trial.
    assert places(0, 3).tolist() == PINNED


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.7])
def test_dropout_keeps_the_expectation_and_drops_its_rate(rate: float) -> None:
    layer = Dropout(rate)
    layer.key.fill_(3)
    out = layer(torch.ones(400, 500))
    assert float((out == 0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert float(out.mean()) == pytest.approx(1, abs=0.01)
    assert torch.allclose(out[out != 0], torch.tensor(1 / (1 - rate)))


def test_dropout_is_the_identity_in_evaluation() -> None:
    x = inputs(5, 0)
    assert torch.equal(Dropout(0.5).eval()(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_dropout_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(StudyError, match=r"^dropout must lie in \[0, 1\), but got"):
        Dropout(rate)


def test_plain_dropout_is_replaced_wherever_it_is() -> None:
    shared = nn.Dropout(0.3)
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.2)), shared, shared)
    replaced = batchable(module)
    assert [type(m) for m in replaced.modules() if isinstance(m, nn.Dropout)] == []
    layers = [layer for layer in replaced.modules() if isinstance(layer, Dropout)]
    assert [round(float(layer.rate), 6) for layer in layers] == [0.1, 0.2, 0.3, 0.3]
    assert noise_keys(replaced) == ["1.key", "2.0.key", "3.key", "4.key", "noise_key"]


def test_dropout_in_a_users_model_is_replaced_when_the_study_builds_it() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.none = nn.Dropout(0.4), None

    study = disjoint(model=lambda config: Own())
    assert isinstance(study.build(study.default_config(), 0).drop, Dropout)


def test_layer_norm_is_torchs() -> None:
    ours, plain = LayerNorm(H), nn.LayerNorm(H)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(H))
        plain.bias.copy_(torch.randn(H))
    ours.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(9, H) * 5 + 3
    assert torch.allclose(ours(x), plain(x), atol=1e-5)


def test_shared_trunk_runs_once_for_joint_tasks() -> None:
    model = SharedTrunk(FEATURES, HEADS)
    seen: list[int] = []
    model.trunk.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    x, other = inputs(5, 0), inputs(4, 1)
    joint = model({"a": x, "b": x})
    assert seen == [5]
    apart = model({"a": x, "b": other})
    assert seen == [5, 9]
    assert {task: tuple(y.shape) for task, y in apart.items()} == {"a": (5, 3), "b": (4, 2)}
    assert torch.allclose(joint["a"], apart["a"], atol=1e-6)
    assert list(model({"b": other})) == ["b"]


def test_trunks_flatten_their_inputs_and_refuse_another_size() -> None:
    model = SharedTrunk(FEATURES, HEADS)
    assert model({"a": torch.zeros(4, 2, 3)})["a"].shape == (4, 3)
    with pytest.raises(StudyError, match=r"^the model takes inputs of 6 numbers, but got \(2, 4\), 8 numbers$"):
        model({"a": torch.zeros(4, 2, 4)})


def test_separate_trunks_share_nothing() -> None:
    model = SeparateTrunks(FEATURES, HEADS, norm="layer", depth=2)
    model({"a": inputs(3, 0), "b": inputs(3, 1)})["a"].sum().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {name for name, _ in model.named_parameters() if name.startswith("networks.a.")}


@pytest.mark.parametrize("options", [{"hidden": 0}, {"depth": 0}])
def test_trunks_without_units_or_layers_are_refused(options: Any) -> None:
    with pytest.raises(StudyError, match=r"^hidden and depth must be 1 or more"):
        SharedTrunk(FEATURES, HEADS, **options)


@pytest.mark.parametrize("trunk", [SharedTrunk, SeparateTrunks])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 2**17 + 1}, r"^hidden must be 131072 or less, but got 131073$"),
        ({"depth": 1001}, r"^depth must be 1000 or less, but got 1001$"),
        ({"heads": {"a": 10**6 + 1}}, r"^the outputs of task 'a' must be 1000000 or less, but got 1000001$"),
    ],
)
def test_trunks_beyond_the_bounds_are_refused(trunk: Any, options: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        trunk(FEATURES, **{"heads": HEADS, **options})


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(StudyError, match=r"^norm must be none, batch or layer, but got 'group'$"):
        SharedTrunk(FEATURES, HEADS, norm="group")


ARCHITECTURES = [
    (kind, norm, depth)
    for kind in (SharedTrunk, SeparateTrunks)
    for norm in ("none", "batch", "layer")
    for depth in (1, 2)
]
BATCH = {"a": inputs(16, 0).double(), "b": inputs(16, 1).double()}


def keyed(model: nn.Module, step: int) -> None:
    """Give each dropout layer its key of a step."""
    buffers = dict(model.named_buffers())
    for name, key in layer_keys(torch.tensor(7), torch.tensor(step), noise_keys(model)).items():
        buffers[name].copy_(key)


def train(model: nn.Module, optimizer: str, steps: int = 5) -> None:
    settings = OptimizerSettings(optimizer, 0.05, 0.01, 0.5, "constant", 0.0, math.inf)
    rule = settings.build(model.parameters())
    model.train()
    for step in range(steps):
        keyed(model, step)
        rule.zero_grad()
        sum(y.square().sum() + y.sum() for y in model(BATCH).values()).backward()
        rule.step()


def padding(small: nn.Module, wide: nn.Module) -> Tensor:
    """All numbers of the wide module's parameters outside the small one's corners."""
    outside = []
    sizes = dict(small.named_parameters())
    for name, p in wide.named_parameters():
        kept = torch.ones(p.shape, dtype=torch.bool)
        kept[tuple(slice(size) for size in sizes[name].shape)] = False
        outside.append(p.detach()[kept])
    return torch.cat(outside)


@pytest.mark.parametrize(("kind", "norm", "depth"), ARCHITECTURES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_padded_module_trains_as_the_unpadded_one(kind: Any, norm: str, depth: int, optimizer: str) -> None:
    torch.manual_seed(0)
    small = kind(FEATURES, HEADS, hidden=5, depth=depth, norm=norm, dropout=0.3).double()
    wide = pad(small, 12)
    small.eval(), wide.eval()
    for task, output in small(BATCH).items():
        assert torch.allclose(wide(BATCH)[task], output, rtol=0, atol=1e-12)
    train(small, optimizer)
    train(wide, optimizer)
    outside = padding(small, wide)
    assert len(outside) > 0
    assert (outside == 0).all()
    small.eval(), wide.eval()
    for task, output in small(BATCH).items():
        assert output.isfinite().all()
        assert torch.allclose(wide(BATCH)[task], output, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_modules_of_different_norms_get_one_architecture_without_a_change(norm: str) -> None:
    torch.manual_seed(0)
    small = SharedTrunk(FEATURES, HEADS, hidden=5, depth=2, norm=norm, dropout=0.3).double()
    wide = pad(small, 9, "any")
    reference = pad(SharedTrunk(FEATURES, HEADS, hidden=9, depth=2, norm="none").double(), 9, "any")
    assert {n: p.shape for n, p in wide.named_parameters()} == {n: p.shape for n, p in reference.named_parameters()}
    train(small, "sgd")
    train(wide, "sgd")
    small.eval(), wide.eval()
    for task, output in small(BATCH).items():
        assert torch.allclose(wide(BATCH)[task], output, rtol=1e-9, atol=1e-9)


def test_padding_keeps_the_type_and_leaves_the_module_alone() -> None:
    small = SharedTrunk(FEATURES, HEADS, hidden=5).double()
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    assert {p.dtype for p in pad(small, 8).parameters()} == {torch.float64}
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


class Scaled(SharedTrunk):
    """A user's network with a buffer that is initialised like a parameter."""

    def __init__(self, hidden: int) -> None:
        super().__init__(FEATURES, HEADS, hidden=hidden)
        self.register_buffer("scale", nn.init.constant_(torch.empty(3), 2.0), persistent=False)

    def widened(self, hidden: int, norm: str | None = None) -> "Scaled":
        return Scaled(hidden)


def test_padding_initialises_buffers_but_no_parameter() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    small = Scaled(5)
    torch.manual_seed(0)
    wide = pad(small, 8)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(dict(wide.named_buffers())["scale"], torch.full((3,), 2.0))
    for name, parameter in small.named_parameters():
        padded = dict(wide.named_parameters())[name]
        assert torch.equal(corner(padded, parameter.shape), parameter)
        assert padded.count_nonzero() == parameter.count_nonzero()  # all else is zero


def test_building_a_model_depends_on_its_seed_alone_and_leaves_torchs_generator() -> None:
    study = disjoint()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = study.build(config(study), 3).state_dict()
    assert torch.equal(torch.rand(1), expected)
    again, other = (study.build(config(study), seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["heads.a.weight"], other["heads.a.weight"])


@pytest.mark.parametrize("shape", [(), (4,), (1,), (2, 3), (4, 5), (3, 5), (4, 2), (1, 1)])
def test_the_extent_of_a_corner_is_the_place_of_its_last_number(shape: tuple[int, ...]) -> None:
    padded = torch.zeros((4, 5)[: len(shape)])
    corner(padded, shape).fill_(1)
    assert extent(torch.Size(shape), padded.shape) == int(padded.flatten().nonzero().max()) + 1
