"""Lanes of several seeds: each member has batches of its own, and gives what it gives alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from population_asserts import TOLERANCE, config, disjoint_study, double, joint_study

from mtlsearch import integer
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Eager, Fused, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training

SEEDS = (5, 11, 5, 2**31 - 1)


def trained(trainer: Trainer, numbers: dict[int, tuple[Any, int]], epochs: int) -> dict[int, list[Any]]:
    """The results of members, (config, seed) by number, after so many epochs."""
    for number, (of, seed) in numbers.items():
        assert trainer.add(number, of, entry_epoch=0, seed=seed) == 0
    found: dict[int, list[Any]] = {number: [] for number in numbers}
    for _ in range(epochs):
        for result in trainer.advance():
            found[result.number].append(result)
    return found


def assert_as_alone(training: Training, trainer: PopulationTrainer, members: dict[int, tuple[Any, int]]) -> None:
    epochs = training.loaded.study.epochs
    together = trained(trainer, members, epochs)
    for number, member in members.items():
        solo = SoloTrainer(training)
        alone = trained(solo, {number: member}, epochs)[number]
        assert [r.epoch for r in together[number]] == [r.epoch for r in alone]
        for got, due in zip(together[number], alone, strict=True):
            assert got.score == pytest.approx(due.score, abs=TOLERANCE)
        state, due_state = trainer.state(number), solo.state(number)
        for name, tensor in due_state.items():
            torch.testing.assert_close(state[name], tensor, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("steps", "method"), [(Eager(), "static"), (Fused(), "static"), (Fused(), "famo"), (Eager(), "uncertainty")]
)
def test_members_of_several_seeds_in_one_lane_are_as_alone(steps: Any, method: str) -> None:
    study = joint_study()
    training = double(study, mixes_seeds=True, method=method)
    trainer = PopulationTrainer(training, len(SEEDS), steps, pytest.fail)
    members = {n: (config(study, hidden=8 + n, learning_rate=10**-2 * (n + 1)), seed) for n, seed in enumerate(SEEDS)}
    assert_as_alone(training, trainer, members)
    (lane,) = trainer.lanes
    assert lane.seed is None
    assert len(lane.active) == len(SEEDS)
    assert trainer.conditions(0)["own_batches"] is True


def test_disjoint_data_and_a_refilled_slot_have_batches_of_their_own() -> None:
    study = disjoint_study()
    training = double(study, mixes_seeds=True)
    trainer = PopulationTrainer(training, 3, Eager(), pytest.fail)
    trained(trainer, {0: (config(study), 5), 1: (config(study), 6)}, study.epochs)
    for number in (0, 1):
        trainer.drop(number)
    assert_as_alone(training, trainer, {n: (config(study, hidden=9 + n), 7 + n) for n in (2, 3, 4)})


def test_lanes_that_are_kept_go_on_bit_for_bit_with_every_seed() -> None:
    study = replace(joint_study(), epochs=4)
    training = double(study, mixes_seeds=True)
    members = {n: (config(study, hidden=8 + n), seed) for n, seed in enumerate(SEEDS)}

    def population() -> PopulationTrainer:
        return PopulationTrainer(training, len(SEEDS), Fused(), pytest.fail)

    whole, first, second = population(), population(), population()
    due = trained(whole, members, 4)
    trained(first, members, 2)
    second.restore(first.keep())
    results = [second.advance() for _ in range(2)]
    for number in members:
        own = [r.score for epoch in results for r in epoch if r.number == number]
        assert own == [r.score for r in due[number][2:]]
        for name, tensor in whole.state(number).items():
            assert torch.equal(second.state(number)[name], tensor)


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="nothing is compiled here")
def test_compiled_lane_of_several_seeds_is_as_alone() -> None:
    # Without norms there is less to compile.
    study = replace(joint_study(), space={"hidden": integer(4, 24)}, default={"hidden": 8, "norm": "none"})
    training = double(study, mixes_seeds=True)
    trainer = PopulationTrainer(training, len(SEEDS), Compiled(), lambda text: None)
    assert_as_alone(training, trainer, {n: (config(study, hidden=8 + n), seed) for n, seed in enumerate(SEEDS)})


def test_lanes_of_one_seed_share_their_batches_as_before() -> None:
    study = joint_study()
    training = double(study)
    trainer = PopulationTrainer(training, 4, Eager(), pytest.fail)
    trained(trainer, {n: (config(study), seed) for n, seed in enumerate(SEEDS)}, 1)
    assert sorted(lane.seed for lane in trainer.lanes if lane.seed is not None) == sorted({*SEEDS})
    assert "own_batches" not in trainer.conditions(0)
