"""The pruner for populations: a trial goes on in the upper third of all trials at its epoch."""

import math
import random

import numpy as np
import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from mtlsearch.tuning.choices import make_pruner
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.pruners import PeerPruner


def in_flight(pruner, scores, epochs=2):
    """Trials in training that have all reported their own score in each of some epochs."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    trials = [study.ask() for _ in scores]
    for epoch in range(epochs):
        for trial, score in zip(trials, scores, strict=True):
            trial.report(score, epoch)
    return study, trials


def test_it_is_the_default():
    assert isinstance(make_pruner(RunOptions.pruner, 10), PeerPruner)


def test_trials_of_one_barrier_are_compared_with_each_other():
    """None is complete, so the median pruner would let all go on."""
    scores = [number / 30 for number in range(30)]
    _, trials = in_flight(PeerPruner(), scores)
    assert [trial.should_prune() for trial in trials] == [True] * 20 + [False] * 10
    _, trials = in_flight(MedianPruner(5, 1), scores)
    assert not any(trial.should_prune() for trial in trials)


def test_those_that_were_pruned_or_failed_still_count():
    study, trials = in_flight(PeerPruner(), [number / 30 for number in range(30)])
    for trial in trials[:20]:
        study.tell(trial, state=TrialState.PRUNED if trial.number % 2 else TrialState.FAIL)
    assert not any(trial.should_prune() for trial in trials[20:])


def test_a_trial_is_known_by_its_best_epoch_and_others_by_theirs_at_the_same():
    study, _ = in_flight(PeerPruner(), [0.5] * 16)
    late = study.ask()
    for epoch, score in enumerate((0.6, 0.4)):
        late.report(score, epoch)
    assert not late.should_prune()
    slow = study.ask()
    for epoch, score in enumerate((0.3, 0.4)):
        slow.report(score, epoch)
    assert slow.should_prune()


@pytest.mark.parametrize(("scores", "epochs"), [([0.1] + [0.9] * 14, 2), ([0.1] + [0.9] * 29, 1)])
def test_nobody_is_pruned_with_few_peers_or_in_the_first_epoch(scores, epochs):
    _, trials = in_flight(PeerPruner(), scores, epochs)
    assert not trials[0].should_prune()


def test_scores_that_are_not_numbers_are_left_out():
    scores = [math.nan] * 20 + [number / 30 for number in range(30)]
    _, trials = in_flight(PeerPruner(), scores)
    assert [trial.should_prune() for trial in trials] == [False] * 20 + [True] * 20 + [False] * 10
    _, trials = in_flight(PeerPruner(), [math.nan] * 20)
    assert not any(trial.should_prune() for trial in trials)


def test_what_is_kept_of_finished_trials_changes_no_decision():
    """Sixteen at a time, some of which end early, by all three outcomes, against scores gathered anew each time."""
    numbers, pruner, pruned = random.Random(5), PeerPruner(), 0
    study = optuna.create_study(direction="maximize", pruner=pruner)
    seen: dict[int, dict[int, float]] = {}
    for _ in range(6):
        flight = [study.ask() for _ in range(16)]
        for epoch in range(5):
            for trial in flight:
                score = numbers.random() + trial.number / 200
                seen.setdefault(trial.number, {})[epoch] = score
                trial.report(score, epoch)
            for trial in flight[::-1]:
                scores = [own[epoch] for own in seen.values() if epoch in own]
                low = len(scores) >= 16 and epoch > 0
                due = low and max(seen[trial.number].values()) < np.quantile(scores, 2 / 3)
                assert trial.should_prune() == due
                pruned += due
                if due or numbers.random() < 0.1:
                    state = TrialState.PRUNED if due else numbers.choice((TrialState.COMPLETE, TrialState.FAIL))
                    study.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
                    flight.remove(trial)
        for trial in flight:
            study.tell(trial, 1.0)
    assert 20 < pruned < 80


def test_a_trial_that_has_reported_nothing_goes_on():
    assert not optuna.create_study(pruner=PeerPruner()).ask().should_prune()
