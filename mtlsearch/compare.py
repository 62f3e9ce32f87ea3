"""The fair comparison of weighting methods: the same search for each, and the same seeds for its best config.

`compare_command` is `mtlsearch compare`. Each method is searched in an Optuna study of its own,
`NAME/compare/METHOD`: N trials of the same seed, sampler and pruner, which begin with the default config. All
methods search the other hyperparameters; `tuned` alone searches the task weights too, and equal ones are given to
the rest. `tuned` is searched anew even where the study was: only so are budget, sampler and pruner surely the same.
The best config on validation is trained again with S fresh seeds (`NAME/compare/METHOD/confirmation`), each scored
on test once. Methods that look at losses are searched in the population, those of TorchJD solo.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import optuna
import torch

from mtlsearch.artifacts import artifacts_folder, check_folder
from mtlsearch.balance import METHODS, STATIC
from mtlsearch.capacity import population_size
from mtlsearch.comparison import (
    EQUAL,
    TUNED,
    Outcome,
    best_of,
    busy_seconds,
    compared,
    first_counted,
    single_runs,
)
from mtlsearch.confirm import Confirming, MakeTrainer, Work, as_recorded, duration, make_plan, test_examples
from mtlsearch.confirmation import Repeat, ended, find_confirmation, open_confirmation
from mtlsearch.device import conditions_of, use_device
from mtlsearch.document import trial_config
from mtlsearch.errors import StoreError, UsageError
from mtlsearch.evidence import expected_seconds, task_metrics
from mtlsearch.jacobian import GRADIENT_BASED, aggregator
from mtlsearch.loop import enqueue_default, make_pruner, make_sampler, search
from mtlsearch.progress import Progress
from mtlsearch.run import trainer_maker
from mtlsearch.solo import SoloTrainer
from mtlsearch.space import quantiles_from_weights, real
from mtlsearch.step import derived_seed
from mtlsearch.storage import open_storage
from mtlsearch.store import Info, Record, find_record, open_record
from mtlsearch.study import LoadedStudy, Study, describe, load_study, shipped_studies, study_name
from mtlsearch.trainer import Training

KNOWN = (EQUAL, TUNED, *(name for name in METHODS if name != STATIC), *GRADIENT_BASED)


@dataclass(frozen=True)
class CompareOptions:
    """Everything that `compare` was told."""

    study: str | None
    methods: tuple[str, ...]
    trials: int
    seeds: int
    storage: str
    name: str | None
    data: Path
    device: str
    threads: int | None
    precision: str
    population: int | None
    sampler: str
    pruner: str
    artifacts: Path | None


@dataclass(frozen=True)
class Entrant:
    """One method in the comparison: its search's record, and its training with the weights that it searches."""

    method: str
    record: Record
    training: Training
    make_trainer: MakeTrainer  # of the search
    make_again: MakeTrainer  # of the trainings with fresh seeds
    trained_on: Mapping[str, Any]


@dataclass(frozen=True)
class MethodRepeat(Repeat):
    """One training of a method's best config."""

    method: str = ""

    def attrs(self) -> dict[str, Any]:
        return {**super().attrs(), "method": self.method}

    def __str__(self) -> str:
        return f"{self.method}, trial {self.of}"


def compare_command(options: CompareOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Compare methods on a study; the comparison with the study's name. Raises Interrupted after a stop."""
    methods = with_equal(options.methods)
    make_sampler(options.sampler, 0)  # wrong names are told before the store is touched
    artifacts = artifacts_folder(options.storage, options.artifacts)
    name, study = definition(options, artifacts, progress)
    if len(study.tasks) == 1:
        raise UsageError(
            f"study {name!r} has one task, whose weight nothing changes: compare needs two or more"
        )
    for method in methods:
        if method in GRADIENT_BASED:
            aggregator(method, len(study.tasks))  # a missing package is told now, not hours later
    device, threads = use_device(options.device, options.threads, options.precision)
    loaded = study.load(options.data, device)
    make_pruner(options.pruner, study.epochs)
    if options.artifacts is not None:
        check_folder(artifacts)
    with open_storage(options.storage, create=True) as storage:
        population = options.population or population_size(loaded)
        record = open_record(storage, name, {**describe(loaded), "population": population}, None, artifacts)
        training = Training(loaded, int(record.info["seed"]), options.precision, stop=stop)
        trained_on = conditions_of(device, threads, options.precision)
        entrants = [entrant(record, training, options, method, trained_on, progress) for method in methods]
        comparison = compare(record, entrants, options, progress)
        record.study.set_user_attr("comparison", comparison)
        return {"study": name, "score": study.score_name, **comparison}


def with_equal(methods: Sequence[str]) -> list[str]:
    """The methods, each once, and equal weights first where they are left out. Raises UsageError."""
    for method in methods:
        if method not in KNOWN:
            raise UsageError(f"--methods: no method {method!r}; there are {', '.join(KNOWN)}")
    chosen = list(dict.fromkeys(methods))
    if len(set(chosen) - {EQUAL}) == 0:
        raise UsageError(f"--methods must name a method beside {EQUAL}: {', '.join(KNOWN[1:])}")
    return chosen if EQUAL in chosen else [EQUAL, *chosen]


def definition(options: CompareOptions, artifacts: Path, progress: Progress) -> tuple[str, Study]:
    """The study's name in the store and its definition, as its search had changed it where there is one."""
    if options.study is None:
        with open_storage(options.storage, create=False) as storage:
            found = find_record(storage, options.name, artifacts)
            name, info = found.name, found.info
        progress.notice(f"study {name}")
        if info["source"] not in shipped_studies():
            raise UsageError(
                f"study {name!r} belongs to the study file {info['source']}, whose code runs only when named:"
                f" mtlsearch compare {info['source']} --name {name}"
            )
        return name, as_recorded(load_study(info["source"]), info)
    study = load_study(options.study)
    name = options.name or study_name(study.source)
    recorded = _recorded(options.storage, name, artifacts)
    return name, study if recorded is None else as_recorded(study, recorded)


def _recorded(storage: str, name: str, artifacts: Path) -> Info | None:
    """What the store holds of a study, None where it has none; a bad store is told of when it is opened for real."""
    try:
        with open_storage(storage, create=False) as opened:
            return find_record(opened, name, artifacts).info
    except StoreError:
        return None


def entrant(
    record: Record,
    training: Training,
    options: CompareOptions,
    method: str,
    trained_on: Mapping[str, Any],
    progress: Progress,
) -> Entrant:
    """A method with its record, made where there is none. Raises StoreError where it was searched otherwise."""
    loaded = replace(training.loaded, study=weighted(training.loaded.study, method))
    population = 1 if method in GRADIENT_BASED else options.population or int(record.info["population"])
    searched = {"sampler": options.sampler, "pruner": options.pruner, "population": population}
    own = replace(training, loaded=loaded, method=STATIC if method in (EQUAL, TUNED) else method)
    # More slots than trials would stay empty. What is asked for at once is the same.
    make = trainer_maker(loaded, min(population, options.trials), options.trials, progress.notice)
    # Each seed has batches of its own, so a population would be lanes of one member: on a CPU that gains nothing.
    again = make if loaded.device.type == "cuda" and method not in GRADIENT_BASED else SoloTrainer
    return Entrant(
        method,
        open_entrant(record, loaded, method, searched),
        own,
        make,
        again,
        {**trained_on, "method": method},
    )


def weighted(study: Study, method: str) -> Study:
    """The study with the task weights that a method searches: all of them for `tuned`, else equal ones."""
    if method == TUNED:
        return study
    tasks = len(study.tasks)
    equal = quantiles_from_weights([1 / tasks] * tasks)
    names = study.search_space.weight_names
    return replace(study, fixed_weights={n: real(q, q) for n, q in zip(names, equal, strict=True)})


def open_entrant(record: Record, loaded: LoadedStudy, method: str, searched: Mapping[str, Any]) -> Record:
    """The record of a method's search. Raises StoreError where its name is another's, or it was searched otherwise."""
    name, fingerprint = f"{record.name}/compare/{method}", loaded.fingerprint()
    about = {"role": "compare", "of": record.name, "method": method}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=record.storage, study_name=name, direction="maximize", load_if_exists=True
        )
        if "of" not in study.user_attrs:
            if study.get_trials(deepcopy=False):
                raise StoreError(f"study {name!r} in the store is no comparison: rename or delete it first")
            study.set_metric_names([record.info["score"]])
            for key, value in {**about, "searched": dict(searched), "fingerprint": fingerprint}.items():
                study.set_user_attr(key, value)
    before = study.user_attrs["searched"]
    differing = [
        f"{key} {before.get(key)}, now {value}" for key, value in searched.items() if before.get(key) != value
    ]
    if differing:
        raise StoreError(
            f"study {name!r} was begun otherwise ({'; '.join(differing)}): give the same options again, or compare"
            " under another --name"
        )
    linked = record.study.user_attrs.get("compare", {})
    if linked.get(method) != name:
        record.study.set_user_attr("compare", {**linked, method: name})
    return Record(record.storage, study, {**record.info, "fingerprint": fingerprint}, record.artifacts)


def compare(
    record: Record, entrants: Sequence[Entrant], options: CompareOptions, progress: Progress
) -> dict[str, Any]:
    """Search and train what is left of every method; the comparison. Raises Interrupted after a stop."""
    seeds = make_plan(record, Confirming(options.seeds), single=False).seeds
    tell_cost(record, entrants, options, progress)
    outcomes, failed = [], {}
    for number, each in enumerate(entrants, 1):
        search_method(each, options, progress, f"{each.method} ({number} of {len(entrants)})")
        outcome = outcome_of(each, options.trials, seeds, progress)
        if isinstance(outcome, str):
            failed[each.method] = outcome
        else:
            outcomes.append(outcome)
    loaded = entrants[0].training.loaded
    metrics = task_metrics(record, test_examples(loaded))
    single = single_runs(record, seeds, metrics)
    score = loaded.study.score
    return compared(outcomes, failed, metrics, score, single, trials=options.trials, seeds=seeds)


def tell_cost(
    record: Record, entrants: Sequence[Entrant], options: CompareOptions, progress: Progress
) -> None:
    """Say beforehand what is to be trained, in trial-epochs and expected time."""
    trainings = len(entrants) * (options.trials + options.seeds)
    left = 0
    for each in entrants:
        book = find_confirmation(each.record)
        left += max(0, options.trials - each.record.counted())
        left += max(0, options.seeds - len(ended(book) if book is not None else ()))
    if not left:
        progress.notice(f"all {trainings} trainings of the comparison are done")
        return
    epochs = left * entrants[0].training.loaded.study.epochs
    rates = (expected_seconds(timed, epochs) for timed in (record, *(each.record for each in entrants)))
    seconds = next((rate for rate in rates if rate is not None), None)
    about = "" if seconds is None else f", about {duration(seconds)}"
    done = f" ({trainings - left} are done)" if left < trainings else ""
    solo = [each.method for each in entrants if each.method in GRADIENT_BASED]
    slower = f"; {', '.join(solo)} one at a time, which takes longer" if solo else ""
    progress.notice(
        f"comparing {len(entrants)} methods, {options.trials} trials and {options.seeds} seeds of the best config"
        f" each: {left} trainings{done}, up to {epochs:,} trial-epochs{about}{slower}"
    )


def search_method(each: Entrant, options: CompareOptions, progress: Progress, told: str) -> None:
    """Search a method's hyperparameters until it has its trials."""
    record, study, training = each.record, each.training.loaded.study, each.training
    record.take_over()
    enqueue_default(record, study)
    before = record.counted()
    if before >= options.trials:
        return
    progress.notice(f"{told}: {options.trials - before} trials")
    record.study.sampler = make_sampler(options.sampler, derived_seed(training.seed, "sampler", before))
    record.study.pruner = make_pruner(options.pruner, study.epochs)
    progress.total, progress.best = options.trials, None
    progress.begun(before, study.epochs, record.best_or_none())
    search(record, each.make_trainer(training), training, options.trials, progress, dict(each.trained_on))


def outcome_of(each: Entrant, trials: int, seeds: Sequence[int], progress: Progress) -> Outcome | str:
    """Train the method's best config with every seed; what it reached, or why it has no config."""
    searched = first_counted(each.record, trials)
    best = best_of(searched)
    if best is None:
        reasons = (trial.user_attrs.get("reason") for trial in searched)
        return (
            f"none of {len(searched)} trials is complete ({next(filter(None, reasons), 'all were pruned')})"
        )
    config, loaded = trial_config(each.record.info, best), each.training.loaded
    repeats = [MethodRepeat("config", best.number, config, seed, method=each.method) for seed in seeds]
    book = open_confirmation(each.record)
    book.take_over()
    left = book.left(repeats)
    progress.total = len(repeats)
    progress.begun(len(repeats) - len(left), loaded.study.epochs)
    work = Work(book, each.training, each.make_again, progress, each.trained_on, None)
    work.train(each.training, repeats)
    found = ended(book)
    trained = [found[repeat.key] for repeat in repeats]
    tests = [trial.user_attrs.get("test") for trial in trained]
    metrics = {task: metric.name for task, metric in loaded.metrics.items()}
    spent = [*searched, *trained]
    return Outcome(
        each.method,
        best.number,
        {t: [torch.nan if test is None else test[t][name] for test in tests] for t, name in metrics.items()},
        [torch.nan if test is None else loaded.score(test) for test in tests],
        sum(trial.user_attrs.get("epochs", 0) for trial in spent),
        busy_seconds(searched) + busy_seconds(trained),
    )
