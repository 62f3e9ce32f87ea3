"""Optuna's TPE that learns of trials while they train, and shares work between the asks of one barrier.

Plain TPE counts every trial in training as a bad one, so that asks differ. Here a trial in training with scores
counts as complete with its expected score (`foresight.py`), so that sixteen trials at once lose little to one at a
time.

Two things cost TPE its time. It splits and reads the history again at every ask, though between two epochs only
trials without scores are added; this sampler keeps the split. And it computes candidates' densities with a Python
function for each number; this one uses torch's functions on whole arrays. Densities are equal up to rounding, and the
winning candidate is Optuna's own, float for float. A test holds the suggestions to those of a plain TPE with the same
history.

Of a history that is longer than its `window` it looks at a part, and all asks between two reports share one density.
There its candidates are Optuna's up to rounding.

Source: optuna/samplers/_tpe of Optuna 5.0. This file uses its private parts; with another version the plain sampler
is taken.
"""

import heapq
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.foresight import Foresight
from mtlsearch.tuning.samplers.crowds import MANY, CrowdEstimator, drawn
from mtlsearch.tuning.samplers.density import Density, density_of
from mtlsearch.tuning.samplers.window import STATES, History, Seen, Window, scores_of

Array = NDArray[np.float64]
Space = dict[str, BaseDistribution]
KNOWN_OPTUNA = "5.0."
MOST_ROWS = 5000  # trials whose params are remembered


def share_of_front(count: int) -> int:
    """How many of `count` trials with several values count as good ones.

    A front needs more of them than one best trial: with a fifth, 200 trials covered 98 % of a known front of two tasks
    in three dimensions, with Optuna's tenth 97 % (`benchmarks/pareto.py`).
    """
    return math.ceil(0.2 * count)


def tpe_sampler(seed: int) -> TPESampler:
    """The fast sampler with the Optuna version that it knows, else the plain one."""
    return (SharedTPESampler if optuna.__version__.startswith(KNOWN_OPTUNA) else TPESampler)(seed=seed)


@dataclass
class Split:
    """The better trials' density and the other trials' observations.

    `told` is the history that the split follows from. `density` is that of the better trials `below`. `numbers` [N] are
    those of the other trials that have all D params of the space, ascending, and `above` [N, D] their observations.
    Trials in training that lack params are `bare`; those whose expected scores count are `foreseen`.
    """

    told: Hashable
    space: Space
    below: _ParzenEstimator
    density: Density
    numbers: NDArray[np.int64]
    above: Array
    foreseen: set[int]
    is_long: bool  # whether the history is longer than the window
    bare: set[int] = field(default_factory=set)
    known: set[int] = field(default_factory=set)  # whose numbers were added
    others: "Density | None" = None  # of the others, where it stays as it is until the next split

    def add(self, rows: dict[int, Array]) -> None:
        """Add the observations of other trials by their numbers."""
        if rows:
            numbers = np.array(sorted(rows), dtype=np.int64)
            places = np.searchsorted(self.numbers, numbers)
            self.above = np.insert(self.above, places, np.array([rows[n] for n in numbers.tolist()]), axis=0)
            self.numbers = np.insert(self.numbers, places, numbers)
            self.known |= rows.keys()


class SharedTPESampler(TPESampler):
    """TPE for values that are maximised; it keeps the split of the trials from ask to ask."""

    _split: Split | None = None
    _halves: tuple[Hashable, tuple[list[FrozenTrial], list[FrozenTrial]]] | None = None

    def __init__(self, window: Window | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._read_space: Space = {}
        self._rows: dict[tuple[int, int], Array] = {}
        self._short: dict[int, bool] = {}  # whether a finished trial misses a constraint, by number
        self._foresight = Foresight()
        self._history = History(window or Window())

    # Optuna's own three read all trials at every ask.

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        if not (self._is_multivariate(study) and not self._group and self._history.is_kept(study)):
            return super().infer_relative_search_space(study, trial)
        self._history.learn(study)
        return {name: d for name, d in sorted((self._history.space or {}).items()) if not d.single()}

    def _sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        if not self._history.is_kept(study):
            return super()._sample_relative(study, trial, search_space)
        self._history.learn(study)
        begins = not search_space or self._history.useful < self._n_startup_trials
        return {} if begins else self._sample(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if not self._history.is_kept(study):
            return super().sample_independent(study, trial, param_name, param_distribution)
        self._history.learn(study)
        if self._history.useful < self._n_startup_trials:
            return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._sample(study, trial, {param_name: param_distribution})[param_name]

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        if study._is_multi_objective():
            return self._sample_several(study, trial, search_space)
        if not self._constant_liar:
            return super()._sample(study, trial, search_space)
        split = self._shared(study, trial, search_space)
        above = split.others or self._others(split)
        if len(search_space) < MANY and not split.is_long:
            samples = split.below.sample(self._rng.rng, self._n_ei_candidates)
        else:
            found = drawn(split.below._mixture_distribution, self._rng.rng, self._n_ei_candidates)
            samples = split.below._untransform(found)
        candidates = split.below._transform(samples)
        best = self._compare(samples, split.density.log(candidates) - above.log(candidates))
        return {name: d.to_external_repr(best[name]) for name, d in search_space.items()}

    def _others(self, split: Split) -> Density:
        """The density of the other trials."""
        self._parzen_estimator_cls = CrowdEstimator if len(split.space) >= MANY else _ParzenEstimator
        observed = {name: split.above[:, i] for i, name in enumerate(split.space)}
        estimator = self._parzen_estimator_cls(observed, split.space, self._parzen_estimator_parameters)
        return density_of(estimator, often=split.is_long)

    def _sample_several(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Optuna's TPE for several values, which learns of trials in training and of pruned ones by foresight.

        Optuna ranks pruned trials by their intermediate values, which there are none of with several values.
        """
        trials = study._get_trials(deepcopy=False, states=STATES, use_cache=False)
        training = [t for t in trials if t.state == TrialState.RUNNING]
        told = trial.number, len(trials) - len(training), scores_of(training)
        if self._halves is None or self._halves[0] != told:  # each dimension is asked for by itself
            self._foresight.learn(trials)
            foreseen = [self._foresight.of_any(t) for t in trials if t.number != trial.number]
            count = sum(t.state != TrialState.RUNNING for t in foreseen)
            below, above = _split_trials(study, foreseen, (self._gamma or share_of_front)(count))
            self._halves = told, (below, above)
        below, above = self._halves[1]
        good = self._build_parzen_estimator(study, search_space, below, handle_below=True)
        other = self._build_parzen_estimator(study, search_space, above, handle_below=False)
        samples = good.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(samples, self._compute_acquisition_func(samples, good, other))
        return {name: d.to_external_repr(best[name]) for name, d in search_space.items()}

    def _shared(self, study: optuna.Study, trial: FrozenTrial, space: Space) -> Split:
        """The split of all trials but the one that is asked for; the one before, where nothing was reported since."""
        split = self._split
        seen = self._history.of(study, () if split is None or split.is_long else split.bare)
        if split is None or split.told != seen.told or split.space != space or trial.number in split.foreseen:
            if not seen.finished:  # it is another reason than news
                self._history.told = None
                seen = self._history.of(study)
            split = self._split = self._new_split(study, trial, space, seen)
            return split
        if not split.is_long:
            self._grow(study, split, (t for t in seen.training if t.number != trial.number))
            split.bare.add(trial.number)
        return split

    def _new_split(self, study: optuna.Study, trial: FrozenTrial, space: Space, seen: Seen) -> Split:
        self._foresight.learn(seen.finished)
        expected = [self._foresight.of(t) for t in seen.training if t.number != trial.number]
        foreseen = [t for t in expected if t.state != TrialState.RUNNING]
        finished = sorted([*seen.finished, *foreseen], key=lambda t: t.number) if foreseen else seen.finished
        count = (self._gamma or default_gamma)(seen.useful + len(foreseen))  # of the whole history
        below, above = self._halve(study, finished, count) if seen.is_long else _split_trials(study, finished, count)
        self._parzen_estimator_cls = CrowdEstimator if len(space) >= MANY else _ParzenEstimator
        estimator = self._build_parzen_estimator(study, space, below, handle_below=True)
        nothing = np.empty((0, len(space)))
        numbers = np.empty(0, dtype=np.int64)
        found = Split(
            seen.told,
            space,
            estimator,
            density_of(estimator, often=seen.is_long),
            numbers,
            nothing,
            {t.number for t in foreseen},
            seen.is_long,
        )
        found.add({t.number: row for t in above if (row := self._row(t, space, study)) is not None})
        self._grow(study, found, (t for t in expected if t.state == TrialState.RUNNING))
        found.bare.add(trial.number)
        if seen.is_long:
            found.others = self._others(found)
        return found

    def _halve(
        self, study: optuna.Study, finished: list[FrozenTrial], count: int
    ) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """Optuna's split into `count` better trials and the others, without a look at every trial's constraints."""
        complete = [t for t in finished if t.state is TrialState.COMPLETE]
        if len(complete) < count or any(self._is_short(t) for t in finished):
            return _split_trials(study, finished, count)
        numbers = {t.number for t in heapq.nsmallest(count, complete, key=lambda t: -t.values[0])}
        return [t for t in finished if t.number in numbers], [t for t in finished if t.number not in numbers]

    def _is_short(self, trial: FrozenTrial) -> bool:
        """Whether a trial misses a constraint."""
        if len(self._short) > MOST_ROWS:
            self._short = {}
        if trial.number not in self._short:
            self._short[trial.number] = any(by > 0 for by in trial.constraints.values())
        return self._short[trial.number]

    def _grow(self, study: optuna.Study, split: Split, training: Iterable[FrozenTrial]) -> None:
        """Add trials in training, which count as worse ones, and note those that lack params."""
        new = (t for t in training if t.number not in split.known and t.number not in split.foreseen)
        rows = {t.number: self._row(t, split.space, study) for t in new}
        split.add({number: row for number, row in rows.items() if row is not None})
        split.bare = {number for number, row in rows.items() if row is None}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: Space, study: optuna.Study
    ) -> dict[str, Array]:
        """The params of trials that have all of them; each trial is read once."""
        rows = [row for t in trials if (row := self._row(t, search_space, study)) is not None]
        found = np.array(rows).reshape(-1, len(search_space))
        return {name: found[:, i] for i, name in enumerate(search_space)}

    def _row(self, trial: FrozenTrial, space: Space, study: optuna.Study) -> Array | None:
        """A trial's params [D], None unless it has all of them."""
        if self._read_space != space or len(self._rows) > MOST_ROWS:
            self._read_space, self._rows = dict(space), {}
        key = study._study_id, trial.number
        if key not in self._rows:
            params = self._get_params(trial, study)
            if not space.keys() <= params.keys():
                return None
            self._rows[key] = np.array([d.to_internal_repr(params[name]) for name, d in space.items()], np.float64)
        return self._rows[key]
