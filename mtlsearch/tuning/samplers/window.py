"""The window of a long history that a sampler looks at: the best trials and the newest.

TPE compares the best trials, 25 at most, with the others. Where the history is longer than the window, all of the best
are in it, so the density of the better trials is that of the whole history; the others are the newest ones. So an ask
costs the same after 100,000 trials as after a thousand.
"""

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.curves import epochs_reported
from mtlsearch.store.database.storage import Storage
from mtlsearch.store.trials import rank_of

Space = dict[str, BaseDistribution]
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


@dataclass(frozen=True)
class Window:
    """How much of a history is looked at.

    All of it, while no more than `longest` trials have ended, with the newest `longest` in training. Then the `best`
    and the `newest` by number, and the newest `in_training` that have a score. Without those that have none, all asks
    between two reports look at the same trials, and share the work.
    """

    longest: int = 1000
    best: int = 100
    newest: int = 300
    in_training: int = 100


class Seen(NamedTuple):
    """What a sampler looks at: finished trials and those in training, by their numbers.

    Equal `told` mean equal finished trials and equal scores. Where they are those of the look before, `finished` is
    empty, and `training` has only what may be new. A history is long where it is longer than the window.
    """

    told: Hashable
    useful: int  # how many trials are complete or pruned, those outside of the window too
    is_long: bool
    finished: list[FrozenTrial]
    training: list[FrozenTrial]


class History:
    """The trials of one study that its sampler looks at; what has not changed since the last look is not read again."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.study_id = -1
        self.ended = 0  # how many trials that have ended are taken in
        self.useful = 0  # of them, those that are complete or pruned
        self.best: list[tuple[tuple[float, float, int], FrozenTrial]] = []  # with their ranks
        self.newest: list[FrozenTrial] = []
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
            self.__init__(self.window)  # type: ignore[misc]
            self.study_id = study_id
        new = storage.ended_since(study_id, self.ended)
        if not new:
            return
        self.ended += len(new)
        useful = [trial for trial in new if trial.state in STATES]
        self.useful += len(useful)
        self.newest = heapq.nlargest(self.window.newest, [*self.newest, *useful], key=lambda trial: trial.number)
        if len(study.directions) == 1:
            complete = [(rank_of(trial), trial) for trial in useful if trial.state is TrialState.COMPLETE]
            self.best = heapq.nsmallest(self.window.best, [*self.best, *complete])
        for trial in useful:
            if self.space is None:
                self.space = dict(trial.distributions)
            elif self.space != trial.distributions:
                self.space = {name: d for name, d in self.space.items() if trial.distributions.get(name) == d}

    def of(self, study: optuna.Study, again: Iterable[int] = ()) -> Seen:
        """What there is to see now; trials in training whose numbers are in `again` count as new."""
        if not self.is_kept(study):
            return whole(study, self.window)
        self.learn(study)
        storage, study_id, window = study._storage, study._study_id, self.window
        assert isinstance(storage, Storage)
        told, begin, is_long = storage.version(study_id), self.upto, self.ended > window.longest
        new = storage.numbered(study_id, again, begin)
        self.upto = max(self.upto, new[-1].number + 1) if new else self.upto
        if told == self.told:
            return Seen(told, self.useful, is_long, [], [trial for trial in new if trial.state is TrialState.RUNNING])
        self.told = told
        every = self.newest if is_long else storage.ended_since(study_id, 0)
        chosen = {trial.number: trial for trial in every if trial.state in STATES}
        chosen |= {trial.number: trial for _, trial in self.best}
        training = storage.unfinished(study_id, window.in_training if is_long else window.longest, scored=is_long)
        running = [trial for trial in training if trial.state is TrialState.RUNNING]
        return Seen(told, self.useful, is_long, [chosen[number] for number in sorted(chosen)], running)


def whole(study: optuna.Study, window: Window) -> Seen:
    """The same, read anew."""
    trials = study._get_trials(deepcopy=False, states=STATES, use_cache=False)
    finished = [trial for trial in trials if trial.state is not TrialState.RUNNING]
    is_long = len(finished) > window.longest
    training = [trial for trial in trials if trial.state is TrialState.RUNNING]
    training = [trial for trial in training if not is_long or epochs_reported(trial)]
    training = training[-(window.in_training if is_long else window.longest) :]
    useful = len(finished)
    told = getattr(study, "_bracket_id", None), useful, scores_of(training)
    if is_long:
        complete = [trial for trial in finished if trial.state is TrialState.COMPLETE]
        best = heapq.nsmallest(window.best, complete, key=rank_of)
        chosen = {trial.number: trial for trial in (*best, *finished[-window.newest :])}
        finished = [chosen[number] for number in sorted(chosen)]
    return Seen(told, useful, is_long, finished, training)


def scores_of(training: Iterable[FrozenTrial]) -> tuple[tuple[int, int], ...]:
    """The number and the count of scores of each trial in training that has any."""
    return tuple((trial.number, epochs) for trial in training if (epochs := epochs_reported(trial)))
