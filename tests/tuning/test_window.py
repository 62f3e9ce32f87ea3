"""The sampler's window of a long history keeps the best trials, and so the density of the better ones."""

import random
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

from mtlsearch.store.database.opening import open_storage
from mtlsearch.tuning.samplers.window import History, Window

ENDED, TRAINING, SCORED = 300, 60, 45


def test_window_has_the_best_and_the_newest_trials(tmp_path: Path) -> None:
    chance = random.Random(0)
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as storage:
        study = optuna.create_study(storage=storage, direction="maximize")
        history = History(Window(longest=50, best=30, newest=20, in_training=40))
        for number in range(ENDED):
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if number % 3 else TrialState.PRUNED,
                    value=chance.random() if number % 3 else None,
                    params={"x": chance.random()},
                    distributions={"x": FloatDistribution(0, 1)},
                    intermediate_values={0: chance.random()},
                )
            )
            if number % 50 == 0:
                history.of(study)  # it learns of the trials bit by bit
        for number in range(TRAINING):
            trial = study.ask()
            if number < SCORED:
                trial.report(chance.random(), 0)
        seen = history.of(study)
        every = study.get_trials(deepcopy=False)
    assert history.ended == ENDED
    assert [trial.number for trial in seen.training] == list(range(ENDED + SCORED - 40, ENDED + SCORED))
    numbers = [trial.number for trial in seen.finished]
    assert numbers == sorted(set(numbers))
    assert set(range(ENDED - 20, ENDED)) <= set(numbers), "the newest are not all there"
    finished = [trial for trial in every if trial.state is not TrialState.RUNNING]
    assert seen.is_long
    assert len(seen.finished) <= 50
    below = default_gamma(ENDED)
    whole, of_window = (_split_trials(study, trials, below)[0] for trials in (finished, seen.finished))
    assert [t.number for t in of_window] == [t.number for t in whole], "the better trials are others"
