"""The pruners for populations, which compare the trials of one barrier with each other."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from mtlsearch.store.curves import epochs_reported
from mtlsearch.store.database.storage import Storage
from mtlsearch.store.foresight import best_values
from mtlsearch.study.front import order

# The fraction of all trials at an epoch that goes on.
KEPT = 1 / 3
# No trial is pruned before it can be compared with so many.
LEAST_PEERS = 16
# From so many scores on, the bar is computed anew only after so many more, as a fraction.
MANY, FEW_MORE = 2000, 0.01
# Of a trial's epochs: after these shares trials with several values are halved.
RUNGS = (1 / 8, 1 / 2, 3 / 4)
SHORT = 3  # epochs


class PeerPruner(BasePruner):
    """Prunes a trial unless its best score so far is in the upper third of all trials' scores at the same epoch.

    All trials count: in training, pruned and complete. So trials of one barrier are compared with each other. Optuna's
    median pruner counts complete trials alone. Later suggestions of TPE beat those at every epoch, so in a population
    it prunes next to nothing (benchmarks/RESULTS.md). One pruner serves one study whose score is maximised; for several
    values there is `FrontPruner`.
    """

    def __init__(self, kept: float = KEPT, least_peers: int = LEAST_PEERS, warmup_epochs: int = 1) -> None:
        self.kept, self.least_peers, self.warmup_epochs = kept, least_peers, warmup_epochs
        self._place = 0  # how many trials that got scores were taken in
        self._kept: Counter[int] = Counter()  # by trial the number of scores in `_scores`
        self._scores: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))  # by epoch
        # By epoch the number of scores that the bar follows from, and the bar.
        self._bars: dict[int, tuple[int, float]] = {}
        self._asked: Counter[int] = Counter()  # by epoch, since its bar was computed

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        if epoch is None or epoch < self.warmup_epochs:
            return False
        return best_so_far(trial) < self._bar(study, epoch)

    def _bar(self, study: Study, epoch: int) -> float:
        """The score that a trial must reach at `epoch`, −infinity where it has too few peers."""
        # Among thousands of scores, a few more do not move the bar; collecting them takes time.
        self._asked[epoch] += 1
        known, bar = self._bars.get(epoch, (0, 0.0))
        if known >= MANY and self._asked[epoch] <= FEW_MORE * known:
            return bar
        self._asked[epoch] = 0
        in_training = self._take_in(study, epoch)
        scores = self._scores[epoch]
        count = len(scores) + len(in_training)
        # A score never changes: an equal count means equal scores.
        if self._bars.get(epoch, (0, 0.0))[0] != count:
            found = np.concatenate([np.array(scores), np.array(in_training)])
            found = found[~np.isnan(found)]
            enough = len(found) >= self.least_peers
            self._bars[epoch] = count, float(np.quantile(found, 1 - self.kept)) if enough else -np.inf
        return self._bars[epoch][1]

    def _take_in(self, study: Study, epoch: int) -> list[float]:
        """Take in the new scores; those at `epoch` of trials in training where the store does not tell what is new."""
        storage, study_id = study._storage, study._study_id
        if isinstance(storage, Storage) and storage.version(study_id) is not None:
            new = storage.scored_since(study_id, self._place)
            self._place += len(new)
            for trial in new:
                self._keep(trial)
            return []
        in_training = []
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                self._keep(trial)
            elif epoch in trial.intermediate_values:
                in_training.append(trial.intermediate_values[epoch])
        return in_training

    def _keep(self, trial: FrozenTrial) -> None:
        """Keep the scores of a trial that are not kept yet."""
        before, scores = self._kept[trial.number], trial.intermediate_values
        if len(scores) > before:
            for at, score in islice(scores.items(), before, None):
                self._scores[at].append(score)
            self._kept[trial.number] = len(scores)


def best_so_far(trial: FrozenTrial) -> float:
    """The best score that a trial has reported, infinity where none is a number."""
    return max((score for score in trial.intermediate_values.values() if not np.isnan(score)), default=np.inf)


class FrontPruner(BasePruner):
    """Successive halving of trials with several values: after 1/8, 1/2 and 3/4 of the epochs the better half goes on.

    Trials are ordered by the non-dominated rank of their values, on one rank the loneliest first (`front.order`), so
    that the ends of the front survive. A value is the best one up to the epoch: one epoch's noise decides less. All
    trials count, as in `PeerPruner`: in training, pruned and complete. With `peers`' upper third at every epoch the
    front lost 4 % of its volume, with these rungs 1 % (`benchmarks/pareto.py`).
    """

    def __init__(
        self, epochs: int, rungs: Sequence[float] = RUNGS, kept: float = 1 / 2, least_peers: int = LEAST_PEERS // 2
    ) -> None:
        self.kept, self.least_peers = kept, least_peers
        # Epochs from 0: the second at the earliest, where there are more than three, and never the last.
        first = 1 if epochs > SHORT else 0
        places = (max(first, math.floor(epochs * rung) - 1) for rung in rungs)
        self.rungs = {place for place in places if place < epochs - 1}
        # By epoch the number of peers that the survivors follow from, and the survivors.
        self._survivors: dict[int, tuple[int, set[int]]] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        epoch = epochs_reported(trial) - 1
        return epoch in self.rungs and trial.number not in self._at(study, epoch)

    def _at(self, study: Study, epoch: int) -> set[int]:
        """The numbers of the trials that go on after `epoch`: all of them where there are too few peers."""
        peers = [trial for trial in study.get_trials(deepcopy=False) if epochs_reported(trial) > epoch]
        if self._survivors.get(epoch, (0, set()))[0] != len(peers):
            values = np.array([best_values(trial)[epoch] for trial in peers])
            kept = len(peers)
            if np.isfinite(values).all(axis=1).sum() >= self.least_peers:
                kept = max(1, round(self.kept * len(peers)))
            numbers = [trial.number for trial in peers]
            self._survivors[epoch] = len(peers), {numbers[place] for place in order(values)[:kept]}
        return self._survivors[epoch][1]
