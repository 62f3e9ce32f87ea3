"""Packing members into lanes of several widths: no other packing is cheaper, and trials stay as they are alone."""

import random
from dataclasses import replace
from itertools import product

import pytest
import torch
from population_asserts import EPOCHS, assert_same_trial, config, disjoint_study, double

from mtlsearch import integer
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.population.packing import carried_up
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager

WIDTHS = (8, 16, 24)


def lanes_cost(counts, slots, widths):
    return sum(-(-n // s) * s * w for n, s, w in zip(counts, slots, widths, strict=True))


def seated(counts, carried):
    """The members at each width after the carries."""
    return [n - up + down for n, up, down in zip(counts, carried, [0, *carried[:-1]], strict=True)]


@pytest.mark.parametrize(
    ("counts", "slots", "carried"),
    [
        ([1, 1], [2, 2], [1, 0]),  # two half-empty lanes become one
        ([2, 1], [2, 2], [0, 0]),  # a full lane stays
        ([1, 2], [2, 2], [0, 0]),  # no room above
        ([1, 0, 1], [2, 2, 2], [1, 1, 0]),  # past a width without members
        ([3, 1, 0], [2, 2, 2], [1, 0, 0]),
        ([0], [2], [0]),
    ],
)
def test_members_that_do_not_fill_a_lane_go_where_there_is_room(counts, slots, carried):
    assert carried_up(counts, slots, WIDTHS[: len(counts)]) == carried


def test_no_other_packing_that_keeps_members_at_least_as_wide_is_cheaper():
    """Compare with every way to carry members upwards, for many populations."""
    numbers = random.Random(3)
    for _ in range(200):
        counts = [numbers.randint(0, 6) for _ in WIDTHS]
        slots = sorted((numbers.choice((1, 2, 4)) for _ in WIDTHS), reverse=True)
        found = lanes_cost(seated(counts, carried_up(counts, slots, WIDTHS)), slots, WIDTHS)
        every = [[a, b, 0] for a, b in product(range(counts[0] + 1), range(sum(counts) + 1)) if b <= counts[1] + a]
        assert found == min(lanes_cost(seated(counts, carried), slots, WIDTHS) for carried in every)


@pytest.fixture
def three_widths(monkeypatch):
    """A trainer of a study of three lane widths, two slots a lane, and its training."""
    monkeypatch.setattr("mtlsearch.training.population.layout.SMALL_FLOP", 0.0)
    monkeypatch.setattr("mtlsearch.training.population.layout.LANE_FLOP", 0.0)
    monkeypatch.setattr("mtlsearch.training.population.layout.WIDTH_STEP", 8)
    monkeypatch.setattr("mtlsearch.training.population.layout.WIDTH_FRACTIONS", (1 / 3, 2 / 3))
    study = disjoint_study()
    training = double(replace(study, space={**study.space, "hidden": integer(4, 24)}))
    trainer = PopulationTrainer(training, 6, Eager(), pytest.fail)
    assert trainer.architectures.widths == list(WIDTHS)
    return trainer, training


def lanes_of(trainer):
    """The members of each lane, by its width."""
    return sorted((lane.width, sorted(member.number for _, member in lane.active)) for lane in trainer.lanes)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_members_go_up_and_come_back_and_stay_exact(three_widths, norm):
    trainer, training = three_widths
    study = training.loaded.study
    hidden = (5, 7, 8, 13, 21, 20)
    optimizers = ("adam", "rmsprop", "sgd", "adam", "rmsprop", "sgd")
    configs = [
        config(study, hidden=h, norm=norm, optimizer=o, dropout=0.3) for h, o in zip(hidden, optimizers, strict=True)
    ]
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = trainer.advance()
    assert lanes_of(trainer) == [(8, [0, 1]), (16, [2, 3]), (24, [4, 5])]
    assert trainer.conditions(2)["lane_width"] == 16
    assert trainer.conditions(2)["lane_slots"] is None
    assert trainer.conditions(0)["lane_slots"] == 2
    trainer.drop(1)
    trainer.drop(5)
    results += trainer.advance()
    # Back at its own width, and the widest lane is filled by the next narrower one.
    assert lanes_of(trainer) == [(8, [0, 2]), (24, [3, 4])]
    for _ in range(EPOCHS - 2):
        results += trainer.advance()
    for number in (0, 2, 3, 4):
        own = [result for result in results if result.number == number]
        assert len(own) * steps_per_epoch(training.loaded) >= 50
        assert_same_trial(training, configs[number], own, trainer.state(number))


def test_a_member_that_moves_leaves_no_values_behind_and_finds_none(three_widths):
    trainer, training = three_widths
    study = training.loaded.study
    for number, hidden in enumerate((5, 21)):
        trainer.add(number, config(study, hidden=hidden, norm="batch", optimizer="adam"))
    trainer.advance()
    assert lanes_of(trainer) == [(24, [0, 1])]
    lane, slot = trainer.lanes.find(0)
    for name, shape in lane.members[slot].shapes.items():
        for tensors in (lane.state.params, lane.state.first, lane.state.second):
            if name in tensors:
                padding = tensors[name][slot].clone()
                padding[tuple(slice(size) for size in shape)] = 0
                assert torch.equal(padding, torch.zeros_like(padding)), name
    trainer.drop(1)
    trainer.advance()
    assert lanes_of(trainer) == [(8, [0])]
