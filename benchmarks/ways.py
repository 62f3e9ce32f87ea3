"""The ways to ask that `asks_compared.py` compares, each a search of a surrogate of recorded curves.

`Sampled` is a search as mtlsearch runs it, with a sampler of Optuna's kind: all reports of a barrier are in before the
pruner decides, and slots that fell free are asked for at once. `Smac` is the same search with SMAC3's random forest in
the sampler's place. SMAC3 is no dependency: `HAS_SMAC` says whether it can be imported.
"""

import importlib.util
import logging
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from curves import Surrogate
from joblib import parallel_config
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from mtlsearch.store.foresight import Foresight

Array = NDArray[np.float64]
IN_FLIGHT = 16
CHALLENGERS = 1000  # random configs that SMAC3 considers; its default, ten times as many, takes most of its time
HAS_SMAC = importlib.util.find_spec("smac") is not None


class Way(ABC):
    """A search of a surrogate, an epoch of the chosen members at each barrier.

    `found` holds what the search could answer with: the trial-epochs spent, the observed score, and the config.
    """

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self.surrogate = surrogate
        self.random = np.random.default_rng([seed, 1])  # of the noise of trainings
        self.params: list[dict[str, Any]] = []
        self.curves: list[Array] = []
        self.trained: list[int] = []  # epochs of each trial
        self.found: list[tuple[int, float, dict[str, Any]]] = []
        self.spent, self.seconds = 0, 0.0

    def begun(self, params: Mapping[str, Any]) -> int:
        """The number of a new trial of a config."""
        before = time.perf_counter()
        self.params.append(dict(params))
        self.curves.append(self.surrogate.trained(params, self.random))
        self.trained.append(0)
        self.seconds -= time.perf_counter() - before  # a real search would not spend it on asking
        return len(self.params) - 1

    def known(self, number: int) -> Array:
        """A trial's scores so far."""
        return self.curves[number][: self.trained[number]]

    def search(self, budget: int) -> None:
        """Search until `budget` trial-epochs are spent."""
        while self.spent < budget:
            before = time.perf_counter()
            members = self.chosen()
            self.seconds += time.perf_counter() - before
            for number in members:
                self.trained[number] += 1
                self.spent += 1
                if self.trained[number] == self.surrogate.epochs:
                    self.found.append((self.spent, float(self.known(number).max()), self.params[number]))
            self.learn(members)

    @abstractmethod
    def chosen(self) -> Sequence[int]:
        """The trials that train for an epoch now."""

    @abstractmethod
    def learn(self, members: Sequence[int]) -> None:
        """Take in the epoch that they have trained."""


class Sampled(Way):
    """A sampler and a pruner in mtlsearch's loop."""

    def __init__(self, surrogate: Surrogate, seed: int, sampler: BaseSampler, pruner: BasePruner) -> None:
        super().__init__(surrogate, seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self.study.enqueue_trial(surrogate.default)
        self.training: dict[int, Trial] = {}

    def asked(self) -> Trial:
        return self.study.ask(dict(self.surrogate.space))

    def ended(self, trial: Trial, value: float, state: TrialState) -> None:
        self.study.tell(trial, value if state is TrialState.COMPLETE else None, state=state)

    def chosen(self) -> Sequence[int]:
        while len(self.training) < IN_FLIGHT:
            trial = self.asked()
            self.training[self.begun(trial.params)] = trial
        return list(self.training)

    def learn(self, members: Sequence[int]) -> None:
        for number in members:
            self.training[number].report(float(self.known(number)[-1]), self.trained[number] - 1)
        for number in members:
            if self.trained[number] == self.surrogate.epochs:
                self.ended(self.training.pop(number), float(self.known(number).max()), TrialState.COMPLETE)
            elif number and self.training[number].should_prune():  # the default config is never pruned
                self.ended(self.training.pop(number), float(self.known(number).max()), TrialState.PRUNED)


class Smac(Sampled):
    """SMAC3's random forest and log expected improvement, asked one config at a time; the pruner is the default one.

    A pruned trial is told with its expected score, as TPE learns of it, for SMAC3 knows no curves without its own
    schedule of budgets.
    """

    def __init__(self, surrogate: Surrogate, seed: int, pruner: BasePruner, trials: int) -> None:
        super().__init__(surrogate, seed, optuna.samplers.RandomSampler(seed=seed), pruner)
        with _without_this_folder():
            from smac import HyperparameterOptimizationFacade, Scenario
        logging.getLogger("smac").setLevel(logging.ERROR)
        self._folder = tempfile.TemporaryDirectory(prefix="mtlsearch-smac-")
        scenario = Scenario(
            _configspace(surrogate, seed),
            deterministic=True,
            n_trials=trials,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        design = HyperparameterOptimizationFacade.get_initial_design(scenario, n_configs=IN_FLIGHT)
        maximizer = HyperparameterOptimizationFacade.get_acquisition_maximizer(scenario, challengers=CHALLENGERS)
        self._smac = HyperparameterOptimizationFacade(
            scenario,
            lambda config, seed=0: 0.0,
            initial_design=design,
            acquisition_maximizer=maximizer,
            logging_level=False,
            overwrite=True,
        )
        self._asked: dict[int, Any] = {}
        self._foresight = Foresight()

    def asked(self) -> Trial:
        if self.params:  # the first is the default config, as in all searches
            with parallel_config(backend="sequential"):  # threads for ten small trees cost more than they save
                info = self._smac.ask()
            params = {name: _plain(info.config[name], d) for name, d in self.surrogate.space.items()}
            self.study.enqueue_trial(params)
            trial = super().asked()
            self._asked[trial.number] = info
            return trial
        return super().asked()

    def ended(self, trial: Trial, value: float, state: TrialState) -> None:
        super().ended(trial, value, state)
        from smac.runhistory.dataclasses import TrialValue

        trials = self.study.get_trials(deepcopy=False)
        self._foresight.learn(trials)
        expected = self._foresight.expected(trials[trial.number])
        if state is TrialState.PRUNED and expected is not None:
            value = float(expected[0])
        if trial.number in self._asked:
            self._smac.tell(self._asked.pop(trial.number), TrialValue(cost=1 - value), save=False)


@contextmanager
def _without_this_folder() -> Iterator[None]:
    """Imports as from elsewhere: `distributed`, which SMAC3 imports, is the name of a benchmark here too."""
    path, here = sys.path[:], Path(__file__).resolve().parent
    sys.path[:] = [each for each in path if Path(each).resolve() != here]
    try:
        yield
    finally:
        sys.path[:] = path


def _configspace(surrogate: Surrogate, seed: int) -> Any:
    from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

    made: list[Any] = []
    for name, d in surrogate.space.items():
        if isinstance(d, CategoricalDistribution):
            made.append(Categorical(name, list(d.choices)))
        elif isinstance(d, IntDistribution):
            made.append(Integer(name, (d.low, d.high), log=d.log))
        else:
            assert isinstance(d, FloatDistribution)
            made.append(Float(name, (d.low, d.high), log=d.log))
    found = ConfigurationSpace(seed=seed)
    found.add(made)
    return found


def _plain(value: Any, distribution: BaseDistribution) -> Any:
    """A value as Optuna takes it, rounding moved back into the range."""
    if isinstance(distribution, IntDistribution):
        return int(value)
    if isinstance(distribution, FloatDistribution):
        return min(max(float(value), distribution.low), distribution.high)
    return next(choice for choice in distribution.choices if choice == value)
