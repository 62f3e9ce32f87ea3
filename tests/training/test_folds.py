"""Cross-validation: a trial is one member of each fold's trainer, and its score is the mean over the folds."""

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import Any, Self

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from problems import CLASSES, NOWHERE, NanFor, config, disjoint, loaded, trunk
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import cross_val_score

from mtlsearch import Config, Study
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.training.folds import FoldTrainer, search_trainer, whole_state
from mtlsearch.training.population.layout import folds_share_lanes
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training

FOLDS = 3


def one_task(**changes: Any) -> Study:
    study = disjoint(model=trunk({"a": CLASSES}), folds=FOLDS, default={**disjoint().default, "dropout": 0.0})
    return replace(study, tasks=study.tasks[:1], **changes)


def population(training: Training) -> Trainer:
    return PopulationTrainer(training, 2, Eager())


def run(trainer: Trainer, epochs: int = 100) -> list[list[EpochResult]]:
    """The results of each epoch, until a trial has finished."""
    found: list[list[EpochResult]] = []
    while not (found and any(result.finished for result in found[-1])) and len(found) < epochs:
        found.append(trainer.advance())
    return found


def wide(training: Training) -> Trainer:
    return PopulationTrainer(training, 6, Eager())


class Plain(ClassifierMixin, BaseEstimator):
    """A plain PyTorch loop over a network of one hidden layer as a classifier of scikit-learn."""

    def __init__(self, config: Config, epochs: int, batch_size: int) -> None:
        self.config, self.epochs, self.batch_size = config, epochs, batch_size

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> Self:
        torch.manual_seed(0)
        self.classes_ = np.unique(y)
        self.model_ = trunk({"a": CLASSES})(self.config)
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=float(self.config["learning_rate"]))
        inputs, labels, steps = torch.from_numpy(x), torch.from_numpy(y), -(-len(x) // self.batch_size)
        for epoch in range(self.epochs):
            generator = torch.Generator().manual_seed(derived_seed(0, "batches", epoch, 0))
            passes = [torch.randperm(len(x), generator=generator) for _ in range(2)]
            for rows in torch.cat(passes)[: steps * self.batch_size].view(steps, self.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(self.model_({"a": inputs[rows]})["a"], labels[rows]).backward()
                optimizer.step()
        return self

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        with torch.no_grad():
            return self.model_.eval()({"a": torch.from_numpy(x)})["a"].argmax(1).numpy()


def test_a_trials_score_is_that_of_scikit_learns_cross_val_score() -> None:
    study = one_task(epochs=4)
    training = Training(loaded(study))
    trainer = search_trainer(SoloTrainer, training)
    trainer.add(0, study.default_config())
    (result,) = run(trainer)[-1]
    assert result.folds is not None
    pool = training.loaded.folds[0].splits[0].train
    x, y = pool.inputs[:].float().numpy() / 255, pool.labels["a"].numpy()
    every = np.arange(len(y))
    folds = [fold.splits[0].rows for fold in training.loaded.folds]
    cv = [(rows.numpy(), np.setdiff1d(every, rows.numpy())) for rows in folds if rows is not None]
    plain = Plain(study.default_config(), result.best_epoch + 1, study.batch_size)
    assert result.folds.scores == pytest.approx(cross_val_score(plain, x, y, cv=cv), abs=1e-6)
    assert result.best_score == pytest.approx(fmean(result.folds.scores))


@pytest.mark.parametrize("shares", [False, True])
def test_a_population_gives_each_trial_what_it_gives_solo(shares: bool) -> None:
    study = disjoint(folds=FOLDS)
    training = Training(loaded(study), dtype=torch.float64)
    other = config(study, {"a": 0.7, "b": 0.3}, hidden=12, norm="batch", optimizer="sgd")
    together = search_trainer(wide, training, shares)
    for number, chosen in enumerate((study.default_config(), other)):
        assert together.add(number, chosen) == 0
    found = run(together)
    for number, chosen in enumerate((study.default_config(), other)):
        alone = search_trainer(SoloTrainer, training)
        alone.add(number, chosen)
        for epoch, (result,) in enumerate(run(alone)):
            assert found[epoch][number].score == pytest.approx(result.score, abs=1e-8)


def test_members_of_all_folds_fill_the_same_lanes_where_models_are_small() -> None:
    training = Training(loaded(disjoint(folds=FOLDS)))
    assert folds_share_lanes(training.loaded)
    assert not folds_share_lanes(training.loaded.unfolded)
    assert not folds_share_lanes(loaded(disjoint(folds=FOLDS, batch_size=2**17)))
    made: list[PopulationTrainer] = []

    def make(each: Training) -> Trainer:
        made.append(PopulationTrainer(each, 6, Eager()))
        return made[-1]

    together = search_trainer(make, training, shares=True)
    assert together.room() == 2
    for number in (3, 4):
        together.add(number, training.loaded.study.default_config())
    assert together.room() == 0
    (lane,) = made[0].lanes
    assert [member.number for _, member in lane.active] == [9, 10, 11, 12, 13, 14]
    together.drop(3)
    assert [member.number for _, member in lane.active] == [12, 13, 14]
    assert [result.number for result in together.advance()] == [4]


@pytest.mark.parametrize(("make", "shares"), [(SoloTrainer, False), (population, False), (wide, True)])
def test_states_that_were_kept_go_on_bit_for_bit(make: Callable[[Training], Trainer], shares: bool) -> None:
    study = disjoint(folds=FOLDS, epochs=4)
    training = Training(loaded(study))
    trainer = search_trainer(make, training, shares)
    trainer.add(5, study.default_config())
    run(trainer, epochs=2)
    again = search_trainer(make, training, shares)
    again.restore(trainer.keep())
    assert again.kind == trainer.kind
    assert run(again) == run(trainer)


def test_a_loss_that_is_not_finite_in_one_fold_fails_the_trial() -> None:
    inner = trunk({"a": CLASSES})
    training = Training(loaded(one_task()))
    study = replace(training.loaded.study, model=lambda c: NanFor(inner(c), "a", after=12))
    # The third fold alone trains the model that breaks.
    fold = replace(training.loaded.folds[2], study=replace(study, folds=None))
    parts = [SoloTrainer(replace(training, loaded=each)) for each in (*training.loaded.folds[:2], fold)]
    trainer = FoldTrainer(training, parts)
    trainer.add(0, study.default_config())
    (result,) = run(trainer)[-1]
    assert result.finished
    assert result.reason == "the loss of a was not finite in epoch 1, step 4 of fold 3"
    trainer.drop(0)
    assert trainer.room() == 1


def test_conditions_are_those_of_every_fold_or_of_no_lane() -> None:
    training = Training(loaded(one_task()))
    same = search_trainer(population, training)
    same.add(0, training.loaded.study.default_config())
    assert same.conditions(0) == same.of_folds[0].conditions(0)  # type: ignore[attr-defined]
    assert same.conditions(0)["lane_slots"] == 2
    parts = [replace(training, loaded=fold) for fold in training.loaded.folds]
    mixed = FoldTrainer(training, [population(parts[0]), SoloTrainer(parts[1])])
    mixed.add(0, training.loaded.study.default_config())
    assert mixed.conditions(0) == {**same.conditions(0), "lane_slots": None}


class Told:
    """A trainer whose scores are told beforehand."""

    kind = "told"

    def __init__(self, training: Training, scores: list[float]) -> None:
        self.training, self.scores = training, scores

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        self.progress = self.training.progress(number, 0)
        return 0

    def advance(self) -> list[EpochResult]:
        score = self.scores[self.progress.epoch]
        return [self.progress.update(score, {"a": {"accuracy": score}})[0]]


def test_early_stopping_and_the_best_epoch_follow_the_mean() -> None:
    training = Training(loaded(one_task(epochs=6, patience=2)))
    # By themselves the first fold would stop after three epochs, and the second would be best in the last one.
    scores = [[0.9, 0.1, 0.1, 0.1, 0.1, 0.1], [0.0, 0.2, 0.9, 0.95, 0.96, 0.97], [0.3, 0.3, 0.6, 0.1, 0.1, 0.1]]
    trainer = FoldTrainer(training, [Told(training, each) for each in scores])  # type: ignore[misc]
    trainer.add(0, training.loaded.study.default_config())
    results = [result for (result,) in run(trainer)]
    assert [result.score for result in results] == pytest.approx([0.4, 0.2, 1.6 / 3, 1.15 / 3, 1.16 / 3])
    assert results[-1].best_epoch == 2
    assert results[-1].folds is not None
    assert results[-1].folds.scores == [0.1, 0.9, 0.6]
    assert results[-1].folds.validation == {"a": {"accuracy": [0.1, 0.9, 0.6]}}


def test_the_whole_model_is_trained_on_train_and_validation() -> None:
    study = one_task(epochs=3)
    training = Training(loaded(study))
    splits = training.loaded.whole.splits[0]
    assert splits.examples == len(training.loaded.splits[0].train) + len(training.loaded.splits[0].validation)
    state = whole_state(training, study.default_config(), 2, 0, 0)
    solo = SoloTrainer(replace(training, loaded=training.loaded.whole))
    solo.add(0, study.default_config())
    run(solo, epochs=2)
    last = solo.members[0].model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in last.items())


def test_a_study_without_folds_trains_as_before() -> None:
    training = Training(load_data(disjoint(), NOWHERE))
    assert isinstance(search_trainer(SoloTrainer, training), SoloTrainer)
