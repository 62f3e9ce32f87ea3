"""Samplers and pruners by the name that `--sampler` and `--pruner` take."""

import importlib
import warnings
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler

from mtlsearch.errors import UsageError, one_line
from mtlsearch.tuning.options import PRUNERS, SAMPLERS
from mtlsearch.tuning.pruners import PeerPruner
from mtlsearch.tuning.tpe import tpe_sampler


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler that `name` names: tpe, random, gp, or an import path. Raises UsageError."""
    if name == "tpe":
        return tpe_sampler(seed)
    if name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return GPSampler(seed=seed, deterministic_objective=False)
        sampler: BaseSampler = _imported(name, "sampler", SAMPLERS, BaseSampler, seed=seed)
    return sampler


def make_pruner(name: str, epochs: int) -> BasePruner:
    """The pruner that `name` names: peers, median, hyperband, halving, none, or an import path. Raises UsageError."""
    if name == "peers":
        return PeerPruner()
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
