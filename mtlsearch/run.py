"""What the commands do with torch: search, train one config, verify a recorded result.

Each function takes plain values, does one command's work and returns what is to be printed.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor

from mtlsearch.capacity import population_size
from mtlsearch.confirm import Confirming, as_recorded, confirm
from mtlsearch.datasets import DownloadError
from mtlsearch.errors import ConfigError, StudyError, UsageError
from mtlsearch.evidence import best_answer, outdated
from mtlsearch.export import config_of, read_config
from mtlsearch.models import study_of
from mtlsearch.population import PopulationTrainer
from mtlsearch.programs import choose_steps, steps_named
from mtlsearch.progress import Progress
from mtlsearch.search import enqueue_default, make_pruner, make_sampler, search
from mtlsearch.solo import SOLO_CONDITIONS, SoloTrainer, evaluate_state
from mtlsearch.space import Config
from mtlsearch.step import derived_seed
from mtlsearch.storage import open_storage
from mtlsearch.store import (
    Record,
    artifacts_folder,
    check_folder,
    check_same,
    config_document,
    find_record,
    open_record,
)
from mtlsearch.study import SCORES, LoadedStudy, Study, describe, load_study, study_name
from mtlsearch.threads import fewer_are_faster
from mtlsearch.trainer import EpochResult, Trainer, Training

DEFAULT_STUDY = "mnist-fashion"
FALLBACK_STUDY = "digits"
TOLERANCE = 0.002
Notice = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """Everything that `run` was told."""

    study: str | None
    trials: int
    storage: str
    name: str | None = None
    data: Path = Path()
    device: str = "auto"
    seed: int | None = None
    sampler: str = "tpe"
    pruner: str = "hyperband"
    score: str | None = None
    epochs: int | None = None
    timeout: float | None = None
    population: int | None = None
    threads: int | None = None
    precision: str = "fp32"
    settings: tuple[tuple[str, str], ...] = ()
    artifacts: Path | None = None
    confirming: Confirming | None = field(default_factory=Confirming)


def run_search(options: RunOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Search, and give the best trial's exported config. Raises Interrupted after a stop."""
    notice = progress.notice
    device, threads = use_device(options.device, options.threads, options.precision)
    begun = time.monotonic()
    if device.type == "cpu" and (ratio := fewer_are_faster(threads)) is not None:
        notice(
            f"one thread is {ratio:.1f} times as fast as {threads} now (is the machine busy?): try --threads 1"
        )
    loaded = load_with_fallback(options, device, notice)
    study = loaded.study
    make_sampler(options.sampler, 0)  # a wrong name is told before the store is touched
    pruner = make_pruner(options.pruner, study.epochs)
    name = options.name or study_name(study.source)
    artifacts = artifacts_folder(options.storage, options.artifacts)
    if options.artifacts is not None:  # one beside a SQLite store is told of with the store
        check_folder(artifacts)
    with open_storage(options.storage, create=True) as storage:
        info = {**describe(loaded), "population": options.population or population_size(loaded)}
        record = open_record(storage, name, info, options.seed, artifacts)
        seed = int(record.info["seed"])
        record.take_over()
        enqueue_default(record, study)
        before = record.counted()
        record.study.sampler = make_sampler(options.sampler, derived_seed(seed, "sampler", before))
        record.study.pruner = pruner
        training = Training(loaded, seed, options.precision, stop=stop)
        population = options.population or int(record.info["population"])
        make_trainer = trainer_maker(loaded, population, options.trials, notice)
        deadline = None if options.timeout is None else begun + options.timeout
        conditions = trained_on(device, threads, options.precision)
        if before >= options.trials:
            notice(
                f"study {name!r} already has {before} of {options.trials} trials; --trials is a total, so nothing is"
                " left to do"
            )
        else:
            if before:
                notice(f"study {name!r} goes on at trial {before} of {options.trials}")
            progress.begun(before, study.epochs, record.best_or_none())
            search(record, make_trainer(training), training, options.trials, progress, conditions, deadline)
        if options.confirming and record.counted() >= options.trials:
            hint = "; --no-confirm skips it"
            try:
                confirm(
                    record, training, make_trainer, options.confirming, progress, conditions, deadline, hint
                )
            except StudyError as error:  # the search has its answer all the same
                notice(f"not confirmed: {error}")
        return finished(record, options, notice)


def trainer_maker(
    loaded: LoadedStudy, population: int, trials: int, notice: Notice
) -> Callable[[Training], Trainer]:
    """What makes the trainers of a run of about `trials` trials: populations, or solo where that is 1."""
    if population == 1:
        return SoloTrainer
    steps = choose_steps(loaded, trials)
    return lambda training: PopulationTrainer(training, population, steps, notice)


def finished(record: Record, options: RunOptions, notice: Notice) -> dict[str, Any]:
    """The best config after a search, confirmed or not."""
    counted = record.counted()
    if counted < options.trials:
        notice(
            f"stopped after --timeout {options.timeout:g} s with {counted} of {options.trials} trials;"
            " the same command goes on"
        )
    config = best_answer(record)[0]
    told = outdated(record, config)
    if told:
        notice(told)
    return config


@dataclass(frozen=True)
class ConfirmOptions:
    """Everything that `confirm` was told."""

    study: str | None
    storage: str
    name: str | None
    data: Path
    device: str
    threads: int | None
    precision: str
    artifacts: Path | None
    study_path: str | None
    confirming: Confirming


def confirm_command(options: ConfirmOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """`mtlsearch confirm`: confirm a study of the store; its best config. Raises Interrupted after a stop."""
    artifacts = artifacts_folder(options.storage, options.artifacts)
    wanted = options.name or (options.study and stored_name(options.study))
    with open_storage(options.storage, create=False) as storage:  # a missing store is not made
        found = find_record(storage, wanted, artifacts)
        name, info = found.name, found.info
    if wanted is None:
        progress.notice(f"study {name}")
    path = options.study_path or (options.study if options.study and options.study.endswith(".py") else None)
    device, threads = use_device(options.device, options.threads, options.precision)
    loaded = as_recorded(study_of({"study": info}, path), info).load(options.data, device)
    check_same(name, info, describe(loaded), None)
    training = Training(loaded, int(info["seed"]), options.precision, stop=stop)
    with open_storage(options.storage, create=True) as storage:
        record = find_record(storage, name, artifacts)
        record.best()  # without a complete trial there is nothing to confirm
        conditions = trained_on(device, threads, options.precision)
        make_trainer = trainer_maker(
            loaded, int(info["population"]), options.confirming.seeds, progress.notice
        )
        confirm(record, training, make_trainer, options.confirming, progress, conditions)
        return best_answer(record)[0]


def stored_name(study: str) -> str:
    """The name in the store that STUDY stands for: a shipped one or another name as it is, a file's stem."""
    return Path(study).stem if study.endswith(".py") else study


def load_with_fallback(options: RunOptions, device: torch.device, notice: Notice) -> LoadedStudy:
    """The study with its data; without a STUDY, the default one, or the fallback where its data cannot be had."""
    if options.study is not None:
        return configured(load_study(options.study), options).load(options.data, device)
    try:
        return configured(load_study(DEFAULT_STUDY), options).load(options.data, device)
    except DownloadError as error:
        notice(f"{error}")
        notice(
            f"searching the study {FALLBACK_STUDY!r} instead, which needs no data; name a STUDY to choose another"
        )
        return configured(load_study(FALLBACK_STUDY), options).load(options.data, device)


def configured(study: Study, options: RunOptions) -> Study:
    """The study with what the command line changes in it."""
    for name, value in options.settings:
        study = study.fixed(name, value)
    if options.epochs is not None:
        study = replace(study, epochs=options.epochs)
    if options.score is not None:
        if options.score not in SCORES:
            raise UsageError(f"--score must be {' or '.join(SCORES)}, but got {options.score!r}")
        study = replace(study, score=options.score)
    return study


def use_device(name: str, threads: int | None, precision: str = "fp32") -> tuple[torch.device, int]:
    """The device that `name` names, made ready; and the number of CPU threads. Raises UsageError."""
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, but got {name!r}") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"--device {name}: this machine has {count} CUDA devices; use --device cpu or auto"
            )
    elif device.type != "cpu" or device.index is not None:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, but got {name!r}")
    return device, threads


def train_config(
    training: Training,
    config: Config,
    entry_epoch: int = 0,
    epochs: int | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    trainer: Trainer | None = None,
) -> tuple[EpochResult, dict[str, Tensor]]:
    """Train one config by itself; the last epoch's result, and the parameters of the best epoch.

    Raises StudyError where a loss is not finite.
    """
    trainer = SoloTrainer(training) if trainer is None else trainer
    trainer.add(0, config, entry_epoch=entry_epoch)
    while True:
        (result,) = trainer.advance()
        if result.reason is not None:
            raise StudyError(f"training failed: {result.reason}; try a lower learning_rate")
        on_epoch(result)
        if result.finished or result.epoch + 1 == epochs:
            return result, trainer.state(0)


def train(
    training: Training,
    config: Config,
    conditions: Mapping[str, Any],
    on_epoch: Callable[[EpochResult], None],
    name: str,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train `config` from epoch 0; its exported config with test metrics, and its parameters."""
    result, state = train_config(training, config, on_epoch=on_epoch)
    document = config_document(
        describe(training.loaded),
        name=name,
        trial=None,
        score=result.best_score,
        config=config,
        validation=result.best_validation,
        training={
            "epochs_trained": result.epoch + 1,
            "best_epoch": result.best_epoch,
            "entry_epoch": 0,
            "seed": training.seed,
        },
        trained_on=conditions,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        storage=None,
    )
    test = evaluate_state(training.loaded, config, state, "test", training.precision)
    return {**document, "test": test, "test_scorings": 1}, state


def train_command(
    what: str,
    data: Path,
    *,
    device: str,
    threads: int | None,
    seed: int | None,
    epochs: int | None,
    study_path: str | None,
    on_epoch: Callable[[EpochResult], None],
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`mtlsearch train`: an exported config's file, or a study's default config."""
    used, count = use_device(device, threads)
    exported_config = read_config(Path(what)) if what.endswith(".json") else None
    if exported_config is None:
        study = load_study(what)
        config = study.default_config()
    else:
        study = budgeted(study_of(exported_config, study_path), exported_config)
        config = config_of(exported_config, study)
        seed = exported_config["training"]["seed"] if seed is None else seed
    if epochs is not None:
        study = replace(study, epochs=epochs)
    training = Training(study.load(data, used), seed or 0)
    name = exported_config["study"]["name"] if exported_config else study_name(study.source)
    return train(training, config, trained_on(used, count, "fp32"), on_epoch, name)


def verify_command(
    path: Path, data: Path, *, device: str, threads: int | None, study_path: str | None
) -> dict[str, Any]:
    """`mtlsearch verify`: train the config in a file again, under its recorded threads unless others are named."""
    config = read_config(path)
    recorded = config["training"]
    used, count = use_device(device, threads or recorded.get("threads"), recorded.get("precision", "fp32"))
    study = budgeted(study_of(config, study_path), config)
    config_of(config, study)
    loaded = study.load(data, used)
    changed = [
        task for task, digest in config["provenance"]["data_sha256"].items() if loaded.sha256[task] != digest
    ]
    if changed:
        raise ConfigError(f"the data of {', '.join(changed)} are not those of the config (another SHA-256)")
    precision = recorded.get("precision", "fp32")
    return verify(Training(loaded, recorded["seed"], precision), config, trained_on(used, count, precision))


def trained_on(device: torch.device, threads: int, precision: str) -> dict[str, Any]:
    """On what a model is trained, as it is recorded."""
    return {"device": str(device), "threads": threads, "precision": precision, **SOLO_CONDITIONS}


def budgeted(study: Study, config: Mapping[str, Any]) -> Study:
    """The study with the budget and the split under which `config` was trained."""
    training = config["training"]
    return replace(
        study,
        epochs=training["epochs"],
        patience=training.get("patience"),
        batch_size=training["batch_size"],
        split_seed=training["split_seed"],
    )


def verify(training: Training, config: Mapping[str, Any], conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Train an exported config again and hold every validation metric against the recorded one.

    Bitwise equality is asked for on the same device kind, thread count and trainer; else a difference of the
    larger of 0.2 points and 3 binomial standard errors is allowed.
    """
    loaded, recorded = training.loaded, config["training"]
    trainer = _trainer_like(training, recorded)
    result, _ = train_config(
        training,
        config_of(config, loaded.study),
        recorded["entry_epoch"],
        recorded["epochs_trained"],
        trainer=trainer,
    )
    exact = _same_conditions(recorded, {**conditions, **trainer.conditions(0)})
    sizes = {task: len(splits.validation) for splits in loaded.splits for task in splits.tasks}
    rows = []
    for task, values in config["validation"].items():
        for metric, before in values.items():
            now = result.best_validation[task][metric]
            allowed = 0.0 if exact else tolerance(before, sizes[task])
            rows.append(
                {
                    "task": task,
                    "metric": metric,
                    "recorded": before,
                    "now": now,
                    "allowed": allowed,
                    "agrees": abs(now - before) <= allowed,
                }
            )
    return {
        "agrees": all(row["agrees"] for row in rows),
        "rule": "bitwise" if exact else "tolerance",
        "metrics": rows,
    }


def _trainer_like(training: Training, recorded: Mapping[str, Any]) -> Trainer:
    """A trainer of the kind that a config was trained by, with the same number of slots; solo where it had moved."""
    slots = recorded.get("lane_slots")
    if recorded.get("trainer") != "population" or slots is None:
        return SoloTrainer(training)
    return PopulationTrainer(training, slots, steps_named(recorded.get("steps", "eager")), shrinks=False)


def tolerance(value: float, examples: int) -> float:
    """The larger of 0.2 points and 3 binomial standard errors of a fraction `value` of `examples`."""
    share = min(max(value, 0.0), 1.0)
    return max(TOLERANCE, 3 * sqrt(share * (1 - share) / examples))


def _same_conditions(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    names = ("threads", "precision", "trainer", "lane_width", "lane_slots", "steps")
    same_device = str(recorded.get("device", "")).split(":")[0] == str(now["device"]).split(":")[0]
    return same_device and all(recorded.get(name) == now.get(name) for name in names)
