"""The sampler's window of a long history keeps the best trials, and so the density of the better ones."""

import random
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.probability_distributions import _BatchedTruncNormDistributions
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

from mtlsearch.store.database.opening import open_storage
from mtlsearch.tuning.choices import generators
from mtlsearch.tuning.samplers.tpe import SharedTPESampler
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


def test_long_history_gives_what_a_new_sampler_gives_and_takes_its_better_trials_from_all_of_it(tmp_path: Path) -> None:
    window = Window(longest=30, best=10, newest=15, in_training=5)
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 9)}
    chance = random.Random(1)
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as storage:
        study = optuna.create_study(storage=storage, direction="maximize")
        kept = SharedTPESampler(window, seed=0)
        for barrier in range(20):
            trials = [study.ask() for _ in range(4)]
            for trial in trials:
                found = []
                for sampler in (kept, SharedTPESampler(window, seed=0)):
                    study.sampler = sampler
                    for generator in generators(sampler):
                        generator.rng.seed(trial.number)
                    relative = sampler.infer_relative_search_space(study, trial._cached_frozen_trial)
                    found.append(sampler.sample_relative(study, trial._cached_frozen_trial, relative))
                assert found[0] == found[1], (barrier, trial.number)
                study.sampler = kept
                values = {name: trial._suggest(name, distribution) for name, distribution in space.items()}
                trial.report(-abs(values["x"] - 0.3), 0)
            for trial in trials:
                study.tell(trial, -abs(trial.params["x"] - 0.3) - 0.01 * trial.params["n"] + chance.gauss(0, 0.01))
        ended = study.get_trials(deepcopy=False)
    split = kept._split
    assert split is not None
    assert split.is_long
    # The last ask saw all but the trials of the last barrier.
    known = ended[:-4]
    better = sorted(known, key=lambda trial: -(trial.value or 0.0))[: default_gamma(len(known))]
    kernels = split.below._mixture_distribution.distributions[1]
    assert isinstance(kernels, _BatchedTruncNormDistributions)
    assert sorted(trial.params["x"] for trial in better) == sorted(kernels.mu[:-1].tolist())
