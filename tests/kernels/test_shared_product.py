"""Products in bf16: one for all members that share inputs gives what a product for each gives."""

import pytest
import torch
from problems import compiles, config, disjoint
from torch import Tensor
from torch.func import grad, vmap

from mtlsearch.kernels.shared_product import shared_product
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Eager, Steps, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training

MEMBERS, EXAMPLES, INPUTS, UNITS = 3, 8, 5, 4
ROUNDING = 2.0**-7  # of bf16, and of products of two


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def pulled(x: Tensor, weight: Tensor, pull: Tensor) -> Tensor:
    return (shared_product(x, weight) * pull).sum()


@pytest.mark.parametrize(("x_dim", "weight_dim"), [(None, 0), (0, 0), (0, None), (1, 2)])
def test_outputs_and_gradients_of_members_are_those_of_each_alone(x_dim: int | None, weight_dim: int | None) -> None:
    x, weight, pull = numbers(EXAMPLES, INPUTS), numbers(UNITS, INPUTS), numbers(MEMBERS, EXAMPLES, UNITS)
    if x_dim is not None:
        x = numbers(MEMBERS, EXAMPLES, INPUTS).movedim(0, x_dim)
    if weight_dim is not None:
        weight = numbers(MEMBERS, UNITS, INPUTS).movedim(0, weight_dim)
    dims = (x_dim, weight_dim)
    outputs = vmap(shared_product, dims)(x, weight)
    gradients = vmap(grad(pulled, (0, 1)), (*dims, 0))(x, weight, pull)
    for member in range(MEMBERS):
        own_x = x if x_dim is None else x.select(x_dim, member)
        own_weight = weight if weight_dim is None else weight.select(weight_dim, member)
        expected = own_x @ own_weight.mT
        assert outputs.dtype == torch.float32
        torch.testing.assert_close(outputs[member], expected, rtol=0, atol=8 * ROUNDING)
        assert not torch.equal(outputs[member], expected)  # it is bf16
        for gradient, known in zip(gradients, (pull[member] @ own_weight, pull[member].mT @ own_x), strict=True):
            torch.testing.assert_close(gradient[member], known, rtol=0, atol=16 * ROUNDING)


def test_members_that_share_inputs_take_one_product_with_contiguous_units() -> None:
    outputs = vmap(shared_product, (None, 0))(numbers(EXAMPLES, INPUTS), numbers(MEMBERS, UNITS, INPUTS))
    assert outputs.shape == (MEMBERS, EXAMPLES, UNITS)
    assert outputs.stride() == (UNITS, MEMBERS * UNITS, 1)


@pytest.mark.parametrize(
    "steps",
    [
        Eager(),
        pytest.param(Compiled(compiles), marks=pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")),
    ],
    ids=["eager", "compiled"],
)
def test_a_trial_in_a_population_gives_in_bf16_about_what_it_gives_alone(steps: Steps) -> None:
    study = disjoint(epochs=1)
    training = Training(load_data(study, None), seed=2, precision="bf16")
    found = []
    trainers: list[Trainer] = [SoloTrainer(training), PopulationTrainer(training, 2, steps, pytest.fail)]
    for trainer in trainers:
        results = []
        for number, norm in enumerate(["layer", "batch"][: trainer.room()]):
            trainer.add(number, config(study, hidden=16, norm=norm, dropout=0.2))
        results = trainer.advance()
        found.append((results[0].score, trainer.state(0)))
    (alone, own), (score, state) = found
    assert score == pytest.approx(alone, abs=0.05)
    for name, tensor in own.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(state[name], tensor, rtol=0, atol=0.02)
