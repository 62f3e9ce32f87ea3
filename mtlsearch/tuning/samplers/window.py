"""The window of a long history that a sampler looks at: the best trials and the newest.

TPE compares the best trials, 25 at most, with the others. Where the history is longer than the window, all of the best
are in it, so the density of the better trials is that of the whole history; the others are the newest ones. So an ask
costs the same after 100,000 trials as after a thousand.
"""

import heapq

import optuna
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.database.storage import Storage
from mtlsearch.store.trials import rank_of

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
WINDOW = 1000  # finished trials; and as many in training
BEST = 100  # of them


class History:
    """The trials of one study that its sampler looks at."""

    def __init__(self) -> None:
        self.seen = 0  # of the trials that have ended
        self.best: list[FrozenTrial] = []

    def of(self, study: optuna.Study) -> tuple[int, list[FrozenTrial]]:
        """How many trials have ended, and those of the window by their numbers, with those in training."""
        storage, study_id = study._storage, study._study_id
        if not isinstance(storage, Storage):
            trials = study._get_trials(deepcopy=False, states=STATES, use_cache=False)
            return sum(trial.state is not TrialState.RUNNING for trial in trials), trials
        new = storage.ended_since(study_id, self.seen)
        self.seen += len(new)
        complete = [trial for trial in new if trial.state is TrialState.COMPLETE]
        self.best = heapq.nsmallest(BEST, [*self.best, *complete], key=rank_of)
        if self.seen <= WINDOW:
            return self.seen, study._get_trials(deepcopy=False, states=STATES, use_cache=False)
        newest = storage.ended_since(study_id, self.seen - (WINDOW - BEST))
        training = storage.unfinished(study_id)[-WINDOW:]
        chosen = {trial.number: trial for trial in (*self.best, *newest, *training) if trial.state in STATES}
        return self.seen, [chosen[number] for number in sorted(chosen)]
