"""The fair comparison of weighting methods: the same search for each, and the same seeds for its best config.

`compare_command` is `mtlsearch compare`. Each method is searched in an Optuna study of its own,
`NAME/compare/METHOD`: N trials of the same seed, sampler and pruner, which begin with the default config. All
methods search the other hyperparameters; `tuned` alone searches the task weights too, and equal ones are given to
the rest. `tuned` is searched anew even where the study was: only so are budget, sampler and pruner surely the same.
The best config on validation is trained again with S fresh seeds (`NAME/compare/METHOD/confirmation`), each scored
on test once. Methods that look at losses are searched in the population, those of TorchJD solo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from mtlsearch.errors import StoreError, UsageError
from mtlsearch.evidence.answer import expected_seconds, task_metrics
from mtlsearch.evidence.comparison import EQUAL, TUNED, compared, single_runs
from mtlsearch.evidence.trainings import ended, find_confirmation
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.record import Info, Record, find_record, open_record
from mtlsearch.study.describe import describe
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import load_study, shipped_studies, study_name
from mtlsearch.training.device import conditions_of, use_device
from mtlsearch.training.gradient_weighting import GRADIENT_BASED, aggregator
from mtlsearch.training.population.layout import search_population
from mtlsearch.training.trainer import Training
from mtlsearch.training.weighting import METHODS, STATIC
from mtlsearch.tuning.choices import make_pruner, make_sampler
from mtlsearch.tuning.confirm import Confirming, as_recorded, make_plan, test_examples
from mtlsearch.tuning.entrants import Entrant, entrant, outcome_of, search_method
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import show_in_dashboard
from mtlsearch.wording import duration

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
        population = options.population or search_population(loaded, options.trials)
        record = open_record(storage, name, {**describe(loaded), "population": population}, None, artifacts)
        training = Training(loaded, int(record.info["seed"]), options.precision, stop=stop)
        trained_on = conditions_of(device, threads, options.precision)
        size = options.population or int(record.info["population"])
        searched = {"sampler": options.sampler, "pruner": options.pruner, "population": size}
        entrants = [
            entrant(record, training, method, options.trials, searched, trained_on, progress)
            for method in methods
        ]
        comparison = compare(record, entrants, options, progress)
        record.study.set_user_attr("comparison", comparison)
        show_in_dashboard(record)
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


def compare(
    record: Record, entrants: Sequence[Entrant], options: CompareOptions, progress: Progress
) -> dict[str, Any]:
    """Search and train what is left of every method; the comparison. Raises Interrupted after a stop."""
    seeds = make_plan(record, Confirming(options.seeds), single=False).seeds
    tell_cost(record, entrants, options, progress)
    outcomes, failed = [], {}
    for number, each in enumerate(entrants, 1):
        search_method(each, options.trials, progress, f"{each.method} ({number} of {len(entrants)})")
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
    # Those of the comparison first: the study's own search may have been over larger models.
    rates = (expected_seconds(timed, epochs) for timed in (*(each.record for each in entrants), record))
    seconds = next((rate for rate in rates if rate is not None), None)
    about = "" if seconds is None else f", about {duration(seconds)} at the rate of what was searched so far"
    done = f" ({trainings - left} are done)" if left < trainings else ""
    solo = [each.method for each in entrants if each.method in GRADIENT_BASED]
    slower = f"; {', '.join(solo)} one at a time, which takes longer" if solo else ""
    progress.notice(
        f"comparing {len(entrants)} methods, {options.trials} trials and {options.seeds} seeds of the best config"
        f" each: {left} trainings{done}, up to {epochs:,} trial-epochs{about}{slower}"
    )
