"""The expected score of trials in training, so that a sampler need not wait for their last epoch.

With many trials in training at once, a sampler that learns of a trial only at its end knows little at each ask.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

# After so many epochs the rank of a trial says much about its last one.
LEAST_EPOCHS = 2
NEWEST = 1000  # complete trials whose gains are remembered


class Foresight:
    """Predicts the final score of trials in training, of one study whose score is maximised.

    The prediction is the trial's best score so far plus the median gain that complete trials still made after as
    many epochs.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        # Later gains of complete trials, by the number of epochs trained before.
        self._gains: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=NEWEST))
        self._medians: dict[int, float] = {}  # of those gains, where they have not changed since

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the complete trials that are not known yet."""
        for trial in trials:
            if trial.state is TrialState.COMPLETE and trial.number not in self._known:
                self._known.add(trial.number)
                best = best_scores(trial)
                for epoch, score in enumerate(best, start=1):
                    if not np.isnan(gain := float(best[-1] - score)):
                        self._gains[epoch].append(gain)
                        self._medians.pop(epoch, None)

    def of(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as complete with its expected score, if it is in training and has enough scores; else as it is."""
        if trial.state is not TrialState.RUNNING or len(trial.intermediate_values) < LEAST_EPOCHS:
            return trial
        best = best_scores(trial)
        if np.isnan(best[-1]):
            return trial
        expected = copy(trial)
        expected.state = TrialState.COMPLETE
        expected.values = [float(best[-1]) + self._gain(len(best))]
        return expected

    def _gain(self, epochs: int) -> float:
        """The median gain after so many epochs, 0 where none is known."""
        if epochs not in self._medians:
            gains = self._gains[epochs]
            self._medians[epochs] = float(np.median(gains)) if gains else 0.0
        return self._medians[epochs]


def best_scores(trial: FrozenTrial) -> NDArray[np.float64]:
    """The best score up to each epoch [E], NaN until one is a number."""
    scores = [score for _, score in sorted(trial.intermediate_values.items())]
    best: NDArray[np.float64] = np.fmax.accumulate(np.array(scores, dtype=np.float64))
    return best
