"""Loss terms in a population: derivatives by the inputs, batched over members, give what they give alone."""

from dataclasses import replace

import pytest
import torch
import waves
from population_asserts import assert_population_equals_solo, double
from problems import NOWHERE, compiles
from torch import nn

from mtlsearch import Classification, Config, Data, Evaluation, Term
from mtlsearch.study.loaded import load_data
from mtlsearch.training.batches import epoch_reads
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Eager, Fused, has_compiler

CONFIGS = [
    Config({"learning_rate": 1e-2}, {"residual": 0.5, "ends": 0.5}),
    Config({"learning_rate": 3e-2}, {"residual": 0.01, "ends": 0.99}),
    Config({"learning_rate": 3e-3}, {"residual": 0.9, "ends": 0.1}),
]


@pytest.mark.parametrize("steps", [Eager, Fused])
@pytest.mark.parametrize("points", [waves.AT, waves.drawn], ids=["fixed", "drawn"])
def test_terms_with_second_derivatives_equal_solo(points, steps):
    study = waves.waves(terms=[Term("residual", points, waves.residual), Term("ends", waves.ENDS, waves.ends)])
    assert_population_equals_solo(study, CONFIGS, steps=steps())


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_a_compiled_step_with_second_derivatives_equals_solo():
    assert_population_equals_solo(waves.waves(), CONFIGS, steps=Compiled(compiles))


def test_members_of_several_seeds_equal_solo():
    training = double(waves.waves())
    trainer = PopulationTrainer(replace(training, mixes_seeds=True), 2, Eager())
    alone = [PopulationTrainer(replace(training, seed=seed), 1, Eager()) for seed in (3, 4)]
    for number, seed in enumerate((3, 4)):
        trainer.add(number, CONFIGS[0], seed=seed)
        alone[number].add(number, CONFIGS[0], seed=seed)
    together = {result.number: result.score for result in trainer.advance()}
    assert together == pytest.approx({n: each.advance()[0].score for n, each in enumerate(alone)}, abs=1e-8)


def test_tasks_terms_and_evaluations_stand_side_by_side_and_equal_solo():
    inputs = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    pair = inputs, (inputs[:, 0] > 0).long()

    def source(directory):
        return Data(pair, pair, validation=pair)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 6), nn.Tanh())
            self.heads = nn.ModuleDict({"side": nn.Linear(6, 2), "sum": nn.Linear(6, 1)})

        def forward(self, inputs):
            return {name: self.heads[name](self.body(x)) for name, x in inputs.items()}

    def flat(model, points):
        return model({"sum": points})["sum"].squeeze(1).square()

    labels = inputs.sum(1)
    study = waves.waves(
        tasks=[Classification("side", source)],
        terms=[Term("flat", inputs, flat)],
        evaluations=[Evaluation("sum", {"validation": (inputs, labels), "test": (inputs, labels)}, "relative_l2")],
        model=lambda config: Net(),
    )
    weights = [{"side": 0.5, "flat": 0.5}, {"side": 0.1, "flat": 0.9}]
    assert_population_equals_solo(study, [Config({"learning_rate": 1e-2}, each) for each in weights])
    assert study.scored_tasks == ["side", "sum"]
    assert study.weighted == ["side", "flat"]


def test_a_term_takes_points_by_name_and_parameters_of_the_model():
    """An inverse problem: the wave number is a parameter of the network's own."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(1, 1)
            self.number = nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.net(x)

    points = {"x": waves.AT, "seen": waves.solution(waves.AT)}
    study = waves.waves(
        terms=[
            Term(
                "fit", points, lambda model, batch: (model.number * model(batch["x"]) - batch["seen"]).square().mean()
            ),
            Term("ends", waves.ENDS, waves.ends),
        ],
        model=lambda config: Net(),
    )
    configs = [Config({"learning_rate": 1e-2}, {"fit": w, "ends": 1 - w}) for w in (0.5, 0.9)]
    assert_population_equals_solo(study, configs)


def test_drawn_points_are_a_function_of_seed_and_epoch():
    loaded = load_data(waves.waves(terms=[Term("residual", waves.drawn, waves.residual)]), NOWHERE)

    def first(seed, epoch):
        with epoch_reads(loaded, seed, epoch) as reads:
            return next(reads)[0]

    assert torch.equal(first(0, 1), first(0, 1))
    assert not torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, 1), first(1, 1))
    assert bool(torch.isin(first(0, 1), waves.drawn(0, 1)).all())
