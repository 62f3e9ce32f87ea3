"""The window of a long history that a sampler looks at: the best trials and the newest.

TPE compares the best trials, 25 at most, with the others. Where the history is longer than the window, all of the best
are in it, so the density of the better trials is that of the whole history; the others are the newest ones. So an ask
costs the same after 100,000 trials as after a thousand.
"""

import heapq
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.curves import epochs_reported
from mtlsearch.store.database.storage import Storage
from mtlsearch.store.trials import rank_of

Space = dict[str, BaseDistribution]
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
WINDOW = 1000  # finished trials; and as many in training
BEST = 100  # of them


class Seen(NamedTuple):
    """What a sampler looks at: finished trials and those in training, by their numbers.

    Equal `told` mean equal finished trials and equal scores. Where they are those of the look before, `finished` is
    empty, and `training` has only what may be new.
    """

    told: Hashable
    finished: list[FrozenTrial]
    training: list[FrozenTrial]


class History:
    """The trials of one study that its sampler looks at; what has not changed since the last look is not read again."""

    def __init__(self) -> None:
        self.study_id = -1
        self.ended = 0  # how many trials that have ended are taken in
        self.useful = 0  # of them, those that are complete or pruned
        self.best: list[tuple[tuple[float, float, int], FrozenTrial]] = []  # with their ranks
        self.space: Space | None = None  # the dimensions that all of them have
        self.told: Hashable = None
        self.upto = 0  # trials with lower numbers were read

    def is_kept(self, study: optuna.Study) -> bool:
        """Whether the study is looked at bit by bit; Hyperband's brackets and foreign stores are read as a whole."""
        kept = type(study) is optuna.Study and isinstance(study._storage, Storage)
        return kept and study._storage.version(study._study_id) is not None  # type: ignore[attr-defined]

    def learn(self, study: optuna.Study) -> None:
        """Take in the trials that have ended since."""
        storage, study_id = study._storage, study._study_id
        assert isinstance(storage, Storage)
        if study_id != self.study_id:
            self.__init__()  # type: ignore[misc]
            self.study_id = study_id
        new = storage.ended_since(study_id, self.ended)
        self.ended += len(new)
        useful = [trial for trial in new if trial.state in STATES]
        self.useful += len(useful)
        if len(study.directions) == 1:
            complete = [(rank_of(trial), trial) for trial in useful if trial.state is TrialState.COMPLETE]
            self.best = heapq.nsmallest(BEST, [*self.best, *complete])
        for trial in useful:
            if self.space is None:
                self.space = dict(trial.distributions)
            elif self.space != trial.distributions:
                self.space = {name: d for name, d in self.space.items() if trial.distributions.get(name) == d}

    def of(self, study: optuna.Study, again: Iterable[int] = ()) -> Seen:
        """What there is to see now; trials in training whose numbers are in `again` count as new."""
        if not self.is_kept(study):
            return whole(study)
        self.learn(study)
        storage, study_id = study._storage, study._study_id
        assert isinstance(storage, Storage)
        told, begin = storage.version(study_id), self.upto
        new = storage.numbered(study_id, again, begin)
        self.upto = max(self.upto, new[-1].number + 1) if new else self.upto
        if told == self.told:
            return Seen(told, [], [trial for trial in new if trial.state is TrialState.RUNNING])
        self.told = told
        newest = storage.ended_since(study_id, max(0, self.ended - (WINDOW - BEST)) if self.ended > WINDOW else 0)
        chosen = {trial.number: trial for trial in newest if trial.state in STATES}
        chosen |= {trial.number: trial for _, trial in self.best}
        training = [t for t in storage.unfinished(study_id, WINDOW) if t.state is TrialState.RUNNING]
        return Seen(told, [chosen[number] for number in sorted(chosen)], training)


def whole(study: optuna.Study) -> Seen:
    """The same, read anew."""
    trials = study._get_trials(deepcopy=False, states=STATES, use_cache=False)
    finished = [trial for trial in trials if trial.state is not TrialState.RUNNING]
    training = [trial for trial in trials if trial.state is TrialState.RUNNING][-WINDOW:]
    told = getattr(study, "_bracket_id", None), len(finished), scores_of(training)
    if len(finished) > WINDOW:
        complete = [trial for trial in finished if trial.state is TrialState.COMPLETE]
        best = heapq.nsmallest(BEST, complete, key=rank_of)
        chosen = {trial.number: trial for trial in (*best, *finished[-(WINDOW - BEST) :])}
        finished = [chosen[number] for number in sorted(chosen)]
    return Seen(told, finished, training)


def scores_of(training: Iterable[FrozenTrial]) -> tuple[tuple[int, int], ...]:
    """The number and the count of scores of each trial in training that has any."""
    return tuple((trial.number, epochs) for trial in training if (epochs := epochs_reported(trial)))
