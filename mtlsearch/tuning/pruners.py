"""The pruner for populations; and Optuna's median pruner and Hyperband, which keep what they have worked out.

The median of a step changes where a trial is complete, and is asked for at every decision. A trial's bracket is a
checksum of the study's name and the trial's number; Hyperband takes it of every trial again at every decision, and
makes a class and a study for it. At 1,000 trials that is most of what a decision costs.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner
from optuna.trial import FrozenTrial, TrialState

KEPT = 1 / 3  # of all trials at an epoch: which go on
LEAST_PEERS = 16  # to be compared with, before any trial is pruned


class PeerPruner(BasePruner):
    """Lets a trial go on whose best score so far is in the upper third of all trials' scores at the same epoch.

    All are those in training and those pruned as well as those complete, so that trials of one barrier are compared
    with each other. The median pruner knows the complete alone: of those, what TPE suggests later is better at every
    epoch, and in a population it prunes next to nothing (benchmarks/RESULTS.md). For one study whose score is
    maximised.
    """

    def __init__(self, kept: float = KEPT, least_peers: int = LEAST_PEERS, warmup_epochs: int = 1) -> None:
        self.kept, self.least_peers, self.warmup_epochs = kept, least_peers, warmup_epochs
        self._finished: set[int] = set()
        self._scores: defaultdict[int, list[float]] = defaultdict(list)  # of the finished trials, by epoch
        self._bars: dict[int, tuple[int, float]] = {}  # by epoch: from how many scores, and what it is

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        if epoch is None or epoch < self.warmup_epochs:
            return False
        return best_so_far(trial) < self._bar(study, epoch)

    def _bar(self, study: Study, epoch: int) -> float:
        """The score that a trial has to reach at `epoch`, −infinity where it has too few peers."""
        in_training = []
        for trial in study.get_trials(deepcopy=False):
            if trial.number in self._finished:
                continue
            if trial.state.is_finished():  # and will not change any more
                self._finished.add(trial.number)
                for at, score in trial.intermediate_values.items():
                    self._scores[at].append(score)
            elif epoch in trial.intermediate_values:
                in_training.append(trial.intermediate_values[epoch])
        count = len(self._scores[epoch]) + len(in_training)
        # A score never changes, so as many are the same ones.
        if self._bars.get(epoch, (0, 0.0))[0] != count:
            scores = [score for score in self._scores[epoch] + in_training if not np.isnan(score)]
            enough = len(scores) >= self.least_peers
            self._bars[epoch] = count, float(np.quantile(scores, 1 - self.kept)) if enough else -np.inf
        return self._bars[epoch][1]


def best_so_far(trial: FrozenTrial) -> float:
    """The best score that a trial has reported, infinity where none is finite."""
    return max((score for score in trial.intermediate_values.values() if not np.isnan(score)), default=np.inf)


class KeptMedianPruner(MedianPruner):
    """The median pruner for one study whose score is maximised."""

    def __init__(self, n_startup_trials: int, n_warmup_steps: int) -> None:
        super().__init__(n_startup_trials, n_warmup_steps)
        self._complete = 0
        self._medians: dict[int, float] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._n_warmup_steps:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < max(self._n_startup_trials, 1):
            return False
        if len(complete) != self._complete:  # what is complete never changes
            self._complete, self._medians = len(complete), {}
        if step not in self._medians:
            self._medians[step] = median_at(step, complete)
        # No trial at this step gives NaN, which no score is below.
        return best_so_far(trial) < self._medians[step]


def median_at(step: int, trials: Sequence[FrozenTrial]) -> float:
    """The median of what `trials` reported at `step`, NaN where none did."""
    values = [trial.intermediate_values[step] for trial in trials if step in trial.intermediate_values]
    return float(np.nanpercentile(values, 50)) if values else float("nan")


class KeptHyperbandPruner(HyperbandPruner):
    """Hyperband for one study, whose name with a trial's number decides on the trial's bracket."""

    def __init__(self, min_resource: int, max_resource: int, reduction_factor: int) -> None:
        super().__init__(min_resource, max_resource, reduction_factor)
        self._brackets: dict[int, int] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if not self._pruners:
            self._try_initialization(study)
        bracket: Any = Bracket(study, self, self._get_bracket_id(study, trial))
        return bool(self._pruners[bracket.number].prune(bracket, trial))

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        if not self._pruners:  # before the first decision there are no brackets yet
            return super()._get_bracket_id(study, trial)
        bracket = self._brackets.get(trial.number)
        if bracket is None:
            bracket = self._brackets[trial.number] = super()._get_bracket_id(study, trial)
        return bracket


@dataclass
class Bracket:
    """What successive halving asks of a study: the trials of this bracket alone."""

    study: Study
    pruner: KeptHyperbandPruner
    number: int

    def __post_init__(self) -> None:
        self.direction, self._storage = self.study.direction, self.study._storage

    def get_trials(self, deepcopy: bool) -> list[FrozenTrial]:
        of, study = self.pruner._get_bracket_id, self.study
        trials = study._get_trials(deepcopy=deepcopy, use_cache=False)
        return [trial for trial in trials if of(study, trial) == self.number]
