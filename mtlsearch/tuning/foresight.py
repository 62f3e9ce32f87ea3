"""What trials in training are expected to reach, so that a sampler need not wait for their last epoch.

With many trials in training at once, a sampler that learns of a trial at its end asks for most of them in the dark.
"""

from collections import defaultdict
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

LEAST_EPOCHS = 2  # before a trial's rank says much of its last one


class Foresight:
    """Takes a trial in training for one that is complete: its best score, and the median of what others still gained.

    That is from as many epochs on, by the complete trials of one study whose score is maximised.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._gains: defaultdict[int, list[float]] = defaultdict(list)  # by the epochs trained before

    def learn(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the complete ones of `trials` that are not known yet."""
        for trial in trials:
            if trial.state is TrialState.COMPLETE and trial.number not in self._known:
                self._known.add(trial.number)
                best = best_scores(trial)
                for epoch, score in enumerate(best, start=1):
                    self._gains[epoch].append(float(best[-1] - score))

    def of(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as it is expected to end, where it is in training and has scores enough; else as it is."""
        if trial.state is not TrialState.RUNNING or len(trial.intermediate_values) < LEAST_EPOCHS:
            return trial
        best = best_scores(trial)
        if np.isnan(best[-1]):
            return trial
        gains = [gain for gain in self._gains[len(best)] if not np.isnan(gain)]
        expected = copy(trial)
        expected.state = TrialState.COMPLETE
        expected.values = [float(best[-1]) + (float(np.median(gains)) if gains else 0.0)]
        return expected


def best_scores(trial: FrozenTrial) -> NDArray[np.float64]:
    """The best score up to each epoch [E], NaN until one is a number."""
    scores = [score for _, score in sorted(trial.intermediate_values.items())]
    best: NDArray[np.float64] = np.fmax.accumulate(np.array(scores, dtype=np.float64))
    return best
