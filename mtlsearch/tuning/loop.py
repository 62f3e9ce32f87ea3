"""The search: Optuna asks, a trainer trains, the store keeps; one loop that fits on a screen."""

import importlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import optuna
import torch
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import UsageError
from mtlsearch.store.model_file import save_model
from mtlsearch.store.record import Record, suggest
from mtlsearch.study.space import Config
from mtlsearch.study.study import Study
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import EpochResult, Trainer, Training
from mtlsearch.tuning.pruners import KeptHyperbandPruner, KeptMedianPruner, PeerPruner
from mtlsearch.tuning.tpe import tpe_sampler

SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("peers", "median", "hyperband", "halving", "none")
WAIT_SECONDS = 1.0


class Watcher(Protocol):
    """Who is told how a search goes."""

    def asked(self, number: int, config: Config) -> None: ...

    def reported(self, result: EpochResult) -> None: ...

    def ended(self, trial: FrozenTrial) -> None: ...

    def waiting(self, others: int) -> None: ...


def search(
    record: Record,
    trainer: Trainer,
    training: Training,
    total: int,
    watcher: Watcher,
    trained_on: dict[str, Any],
    deadline: float | None = None,
) -> None:
    """Search until `total` trials are counted, or the monotonic clock passes `deadline`.

    All reports of an epoch are stored before the first pruning decision, in the order of the trials' numbers,
    so that the same seed gives the same trials. Whatever ends the search early, `Interrupted` included, leaves
    the trials in training to be asked again.
    """
    space = training.loaded.study.search_space
    try:
        record.take_over()
        while deadline is None or time.monotonic() < deadline:
            while trainer.room() and (asked := record.ask(space, total)):
                trial, config = asked
                record.enter(trial.number, trainer.add(trial.number, config), trained_on)
                watcher.asked(trial.number, config)
            if not record.running:
                if not _wait_for_others(record, training, watcher, total):
                    return
                continue
            results = barrier(record, trainer)
            for result in results:
                record.report(result)
                watcher.reported(result)
            for result in results:
                if result.number not in record.running:  # another process has just taken it over
                    trainer.drop(result.number)
                elif (state := _outcome(record, result)) and _end(record, trainer, result, state):
                    watcher.ended(record.trial(result.number))
    finally:
        record.interrupt()


def barrier(record: Record, trainer: Trainer) -> list[EpochResult]:
    """Train an epoch and take in what other processes did; the results by trial number."""
    results = sorted(trainer.advance(), key=lambda result: result.number)
    for number in record.refresh():
        trainer.drop(number)
    return [result for result in results if result.number in record.running]


def _outcome(record: Record, result: EpochResult) -> TrialState | None:
    """How a trial ends after this epoch, None where it goes on."""
    if result.reason is not None:
        return TrialState.FAIL
    if result.finished:
        return TrialState.COMPLETE
    return TrialState.PRUNED if record.should_prune(result.number) else None


def _end(record: Record, trainer: Trainer, result: EpochResult, state: TrialState) -> bool:
    """Tell a trial's outcome and free its room; False where another process has just taken it over."""

    def save(path: Path, config: dict[str, Any]) -> None:
        save_model(path, trainer.state(result.number), config)

    record.note(result.number, trainer.conditions(result.number))
    told = record.tell(result, state, save)
    trainer.drop(result.number)
    return told


def _wait_for_others(record: Record, training: Training, watcher: Watcher, total: int) -> bool:
    """Whether other processes still train trials of this total; waits a moment for them, takes over the dead's."""
    record.refresh()
    if record.counted() >= total:
        return False
    if not record.take_over():
        watcher.waiting(len(record.trials(TrialState.RUNNING)))
        training.stop.wait(WAIT_SECONDS)
        training.check_stop()
    return True


def enqueue_default(record: Record, study: Study) -> None:
    """Let the first trial be the study's default config, with equal task weights."""
    if not record.trials():
        record.study.enqueue_trial(study.search_space.params(study.default_config()))


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
        return KeptMedianPruner(n_startup_trials=5, n_warmup_steps=1)
    if name == "hyperband":
        return KeptHyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    if name == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if name == "none":
        return NopPruner()
    pruner: BasePruner = _imported(name, "pruner", PRUNERS, BasePruner)
    return pruner


def _imported(path: str, kind: str, known: tuple[str, ...], base: type, **options: Any) -> Any:
    module, _, name = path.rpartition(".")
    rule = f"--{kind} must be {', '.join(known)}, or an import path of an Optuna {kind}"
    if not module:
        raise UsageError(f"{rule}, but got {path!r}")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{rule}, but {path!r} cannot be imported: {error}") from error
    if not (isinstance(made, type) and issubclass(made, base)):
        raise UsageError(f"{rule}, but {path!r} is no {base.__name__}")
    try:
        return made(**options)
    except TypeError:
        try:
            return made()
        except TypeError as error:
            raise UsageError(f"{rule} that can be made without arguments, but {path!r}: {error}") from error


def objective(
    study: Study, *, data: str | Path = ".", device: torch.device | str = "cpu", seed: int = 0
) -> Callable[[optuna.Trial], float]:
    """The training of `study` as an ordinary Optuna objective, to be maximised, for one's own `study.optimize`.

    `data` is the data directory. Scores are reported at every epoch, and a trial is pruned where the Optuna
    study's pruner says so; a loss that is not finite gives NaN, which Optuna records as a failed trial.
    """
    training = Training(study.load(Path(data), device), seed)
    space = study.search_space

    def train(trial: optuna.Trial) -> float:
        params = {name: suggest(trial, name, d) for name, d in space.distributions.items()}
        config = space.config(params, study.default)
        trial.set_user_attr("task_weights", dict(config.task_weights))
        trainer = SoloTrainer(training)
        trainer.add(trial.number, config)
        while True:
            (result,) = trainer.advance()
            if result.reason is not None:
                trial.set_user_attr("reason", result.reason)
                return float("nan")
            trial.report(result.score, result.epoch)
            trial.set_user_attr("validation", result.best_validation)
            if result.finished:
                return result.best_score
            if trial.should_prune():
                raise optuna.TrialPruned

    return train
