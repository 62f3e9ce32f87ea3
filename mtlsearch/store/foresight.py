"""The expected result of trials in training, so that a sampler need not wait for their last epoch.

With many trials in training at once, a sampler that learns of a trial only at its end knows little at each ask. What a
pruned trial was expected to reach tells where a space is bad.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.curves import curve, epochs_reported

Array = NDArray[np.float64]
# After so many epochs the rank of a trial says much about its last one.
LEAST_EPOCHS = 2
NEWEST = 1000  # complete trials whose gains are remembered


class Foresight:
    """Predicts the final values of trials that have not trained to the end, of one study whose values are maximised.

    The prediction is the trial's best value so far plus the median gain that complete trials still made after as many
    epochs, for each value by itself.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        # Later gains [T] of complete trials, by the number of epochs trained before.
        self._gains: defaultdict[int, deque[Array]] = defaultdict(lambda: deque(maxlen=NEWEST))
        self._medians: dict[int, Array] = {}  # of those gains, where they have not changed since

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the complete trials that are not known yet."""
        for trial in trials:
            if trial.state is TrialState.COMPLETE and trial.number not in self._known:
                self._known.add(trial.number)
                best = best_values(trial)
                for epoch, values in enumerate(best, start=1):
                    if not np.isnan(gain := best[-1] - values).any():
                        self._gains[epoch].append(gain)
                        self._medians.pop(epoch, None)

    def expected(self, trial: FrozenTrial) -> Array | None:
        """The expected final values [T]; None where too few epochs tell them."""
        if epochs_reported(trial) < LEAST_EPOCHS:
            return None
        best = best_values(trial)
        if np.isnan(best[-1]).any():
            return None
        found: Array = best[-1] + self._gain(len(best))
        return found

    def _gain(self, epochs: int) -> Array:
        """The median gain [T] after so many epochs, 0 where none is known."""
        if epochs not in self._medians:
            gains = self._gains[epochs]
            self._medians[epochs] = np.median(np.array(gains), axis=0) if gains else np.zeros(1)
        return self._medians[epochs]

    def of(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as complete with its expected values, if it is in training and has enough epochs; else as it is."""
        return self._complete(trial) if trial.state is TrialState.RUNNING else trial

    def of_any(self, trial: FrozenTrial) -> FrozenTrial:
        """The same, also where the trial was pruned."""
        return self._complete(trial) if trial.state in (TrialState.RUNNING, TrialState.PRUNED) else trial

    def _complete(self, trial: FrozenTrial) -> FrozenTrial:
        values = self.expected(trial)
        if values is None:
            return trial
        expected = copy(trial)
        expected.state, expected.values = TrialState.COMPLETE, values.tolist()
        return expected


def best_values(trial: FrozenTrial) -> Array:
    """The best value up to each epoch [E, T], NaN until one is a number."""
    found: Array = np.fmax.accumulate(curve(trial), axis=0)
    return found
