"""What `run` and `confirm` do: load a study, open its record, search it, confirm it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import torch

from mtlsearch.download import DownloadError
from mtlsearch.errors import StudyError, UsageError
from mtlsearch.evidence.answer import best_answer, outdated
from mtlsearch.kernels.available import works
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.definition import check_same
from mtlsearch.store.model_file import study_of
from mtlsearch.store.record import Record, find_record, open_record
from mtlsearch.study.describe import describe
from mtlsearch.study.study import SCORES, LoadedStudy, Study
from mtlsearch.study.study_file import load_study, study_name
from mtlsearch.training.ahead import in_a_thread
from mtlsearch.training.device import conditions_of, slow_choices, use_device
from mtlsearch.training.population.layout import repeat_population, search_population
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import choose_steps
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.choices import make_pruner, make_sampler
from mtlsearch.tuning.confirm import Confirming, as_recorded, confirm
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.progress import Progress

DEFAULT_STUDY = "mnist-fashion"
FALLBACK_STUDY = "digits"
Notice = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """Everything that `run` was told."""

    study: str | Study | None
    trials: int
    storage: str
    name: str | None = None
    data: Path = Path()
    device: str = "auto"
    seed: int | None = None
    sampler: str = "tpe"
    pruner: str = "peers"
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
    for line in slow_choices(device, threads, options.precision):
        notice(line)
    if device.type == "cuda":
        in_a_thread(works, device)  # the first kernel takes a C compiler its time: while the data are loaded
    loaded = load_with_fallback(options, device, notice)
    study = loaded.study
    make_sampler(options.sampler, 0)  # a wrong name is told before the store is touched
    pruner = make_pruner(options.pruner, study.epochs)
    name = recorded_name(options, study)
    artifacts = artifacts_folder(options.storage, options.artifacts)
    if options.artifacts is not None:  # one beside a SQLite store is told of with the store
        check_folder(artifacts)
    with open_storage(options.storage, create=True) as storage:
        population = options.population or search_population(loaded, options.trials)
        info = {**describe(loaded), "population": population}
        record = open_record(storage, name, info, options.seed, artifacts)
        seed = int(record.info["seed"])
        record.take_over()
        enqueue_default(record, study)
        before = record.counted()
        record.study.sampler = make_sampler(options.sampler, derived_seed(seed, "sampler", before))
        record.study.pruner = pruner
        training = Training(loaded, seed, options.precision, stop=stop)
        population = options.population or int(record.info["population"])
        deadline = None if options.timeout is None else begun + options.timeout
        conditions = conditions_of(device, threads, options.precision)
        if before >= options.trials:
            notice(
                f"study {name!r} already has {before} of {options.trials} trials; --trials is a total, so nothing is"
                " left to do"
            )
        else:
            if before:
                notice(f"study {name!r} goes on at trial {before} of {options.trials}")
            progress.begun(before, study.epochs, record.best_or_none())
            trainer = trainer_maker(loaded, population, options.trials, notice)(training)
            search(record, trainer, training, options.trials, progress, conditions, deadline)
        if options.confirming and record.counted() >= options.trials:
            hint = "; --no-confirm skips it"
            try:
                at_once = options.population or repeat_population(loaded, population)
                make_trainer = trainer_maker(loaded, at_once, options.confirming.trainings, notice)
                confirm(
                    record, training, make_trainer, options.confirming, progress, conditions, deadline, hint
                )
            except StudyError as error:  # the search has its answer all the same
                notice(f"not confirmed: {error}")
        return finished(record, options, notice)


def recorded_name(options: RunOptions, study: Study) -> str:
    """The study's name in the store: the one that was given, the shipped name, or the file's stem."""
    if not (options.name or study.source):
        raise UsageError("a study that is defined in Python needs a name in the store: search(study, name=…)")
    return options.name or study_name(study.source)


def trainer_maker(
    loaded: LoadedStudy, population: int, trials: int, notice: Notice
) -> Callable[[Training], Trainer]:
    """What makes the trainers of a run of about `trials` trials: populations, or solo where that is 1."""
    if population == 1:
        return SoloTrainer
    steps = choose_steps(loaded, trials, population, notice)
    return lambda training: PopulationTrainer(training, population, steps, notice)


def finished(record: Record, options: RunOptions, notice: Notice) -> dict[str, Any]:
    """The best config after a search, confirmed or not."""
    counted = record.counted()
    if counted < options.trials:
        notice(
            f"stopped after --timeout {options.timeout:g} s with {counted} of {options.trials} trials;"
            " the same command goes on"
        )
    show_in_dashboard(record)
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
        conditions = conditions_of(device, threads, options.precision)
        at_once = repeat_population(loaded, int(info["population"]))
        make_trainer = trainer_maker(loaded, at_once, options.confirming.trainings, progress.notice)
        confirm(record, training, make_trainer, options.confirming, progress, conditions)
        show_in_dashboard(record)
        return best_answer(record)[0]


def show_in_dashboard(record: Record) -> None:
    """Leave the verdict and the figures in the store, where optuna-dashboard shows them."""
    from mtlsearch.report.dashboard import publish  # plotly is slow to import, and needed only at the end

    publish(record)


def stored_name(study: str) -> str:
    """The name in the store that STUDY stands for: a shipped one or another name as it is, a file's stem."""
    return Path(study).stem if study.endswith(".py") else study


def load_with_fallback(options: RunOptions, device: torch.device, notice: Notice) -> LoadedStudy:
    """The study with its data; without a STUDY, the default one, or the fallback where its data cannot be had."""
    if options.study is not None:
        study = options.study if isinstance(options.study, Study) else load_study(options.study)
        return configured(study, options).load(options.data, device)
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
