"""Samplers and pruners by the name that `--sampler` and `--pruner` take, and the randomness of each ask.

A sampler's answer for a trial depends on the study's seed, the trial's number and the history alone. The store reserves
a trial and its number in one transaction, so no two asks have the same randomness: not in runs at once, not in a run
that was interrupted. One run alone gives the same trials for the same seed, however often it was stopped between two
trials.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import UsageError, one_line
from mtlsearch.training.seeds import derived_seed
from mtlsearch.tuning.options.groups import PRUNERS, SAMPLERS
from mtlsearch.tuning.pruners import FrontPruner, PeerPruner
from mtlsearch.tuning.samplers.gp import ForesightGPSampler
from mtlsearch.tuning.samplers.tpe import tpe_sampler

Space = dict[str, BaseDistribution]


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler that `name` names: tpe, random, gp, or an import path. Raises UsageError."""
    if name == "tpe":
        return tpe_sampler(seed)
    if name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return ForesightGPSampler(seed=seed, deterministic_objective=False)
        sampler: BaseSampler = _imported(name, "sampler", SAMPLERS, BaseSampler, seed=seed)
    return sampler


def make_pruner(name: str, epochs: int, *, several: bool = False) -> BasePruner:
    """The pruner that `name` names: peers, median, hyperband, halving, none, or an import path. Raises UsageError.

    Trials with `several` values report none that Optuna's own pruners know.
    """
    if several and name in PRUNERS and name not in ("peers", "none"):
        raise UsageError(f"--pruner {name} compares one score, which --score pareto has not: take peers or none")
    if name == "peers":
        return FrontPruner(epochs) if several else PeerPruner()
    if name == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if name == "none":
        return NopPruner()
    pruner: BasePruner = _imported(name, "pruner", PRUNERS, BasePruner)
    return pruner


def _imported(path: str, kind: str, known: tuple[str, ...], base: type, **options: Any) -> Any:
    module, _, name = path.rpartition(".")
    rule = f"--{kind} must be {', '.join(known)}, or an import path of an Optuna {kind}"
    if not all(map(str.isidentifier, path.split("."))) or not module:
        raise UsageError(f"{rule}, but got {path!r}")
    try:
        made = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module's own, and importlib's for a path such as ".."
        raise UsageError(f"{rule}, but {path!r} cannot be imported: {one_line(error)}") from error
    if not (isinstance(made, type) and issubclass(made, base)):
        raise UsageError(f"{rule}, but {path!r} is no {base.__name__}")
    try:
        return made(**options)
    except TypeError:
        try:
            return made()
        except Exception as error:
            why = one_line(error)
            raise UsageError(f"{rule} that can be made without arguments, but {path!r}: {why}") from error


def seeded_asks(name: str, seed: int) -> "SeededAsks":
    """The sampler that `name` names, seeded anew at each ask by the study's `seed`. Raises UsageError."""
    return SeededAsks(lambda ask_seed: make_sampler(name, ask_seed), seed)


class SeededAsks(BaseSampler):
    """Answers each ask as a new sampler would that `make` makes with the seed of that ask.

    A sampler is kept from ask to ask where its generators are Optuna's, which are seeded in place: what it keeps of the
    history saves time and changes no answer. Optuna's Gaussian process starts its fit where the last one ended, so
    it is made anew. A sampler with generators of its own is seeded once, by the first trial that it is asked for.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler: BaseSampler | None = None

    @property
    def sampler(self) -> BaseSampler:
        """The sampler as it was seeded for the last ask."""
        assert self._sampler is not None, "it was not asked yet"
        return self._sampler

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = derived_seed(self._seed, "ask", trial.number)
        if self._sampler is None or isinstance(self._sampler, GPSampler):
            self._sampler = self._make(seed)
        for each in generators(self._sampler):
            each.rng.seed(seed)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Optuna calls this in each worker of its own; here every ask is seeded anyway."""


def generators(sampler: BaseSampler) -> Iterator[LazyRandomState]:
    """The generators of a sampler and of the samplers that it holds."""
    for value in vars(sampler).values():
        if isinstance(value, LazyRandomState):
            yield value
        elif isinstance(value, BaseSampler):
            yield from generators(value)
