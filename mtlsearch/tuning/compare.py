"""The fair comparison of weighting methods: the same search for each, and the same seeds for its best config.

`compare_command` is `mtlsearch compare`. Each method is searched in an Optuna study of its own,
`NAME/compare/METHOD`: N trials with the same seed, sampler and pruner, which begin with the default config. All
methods search the other hyperparameters; only `tuned` searches the task weights too, the others start from equal
ones. `tuned` is searched anew even where the study was searched before, so that budget, sampler and pruner are the
same. The best config on validation is trained again with S fresh seeds (`NAME/compare/METHOD/confirmation`), each
scored on test once. Methods that look at losses are searched in the population, those of TorchJD solo.
"""

from collections.abc import Sequence
from threading import Event
from typing import Any

from mtlsearch.errors import UsageError
from mtlsearch.evidence.answer import expected_seconds, task_metrics
from mtlsearch.evidence.comparison import EQUAL, TUNED, compared, outcome_line, single_runs
from mtlsearch.evidence.trainings import ended, find_confirmation
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record, recorded_info
from mtlsearch.store.unbegun import removed_if_unbegun
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.training.device import with_recorded
from mtlsearch.training.first_step import take_first_step
from mtlsearch.training.gradient_weighting import GRADIENT_BASED, aggregator
from mtlsearch.training.population.layout import search_population
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.training.weighting import METHODS, STATIC
from mtlsearch.tuning.choices import make_pruner, make_sampler
from mtlsearch.tuning.confirming.conclusion import test_examples
from mtlsearch.tuning.confirming.plans import fresh_seeds
from mtlsearch.tuning.entrants import Entrant, entrant, outcome_of, search_method
from mtlsearch.tuning.hiring import ready_device, staffed
from mtlsearch.tuning.options.training import CompareOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.session import Session, show_in_dashboard
from mtlsearch.tuning.studies import defined
from mtlsearch.wording import duration

KNOWN = (EQUAL, TUNED, *(name for name in METHODS if name != STATIC), *GRADIENT_BASED)


def compare_command(options: CompareOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Compare methods on a study; the comparison with the study's name. Raises Interrupted after a stop."""
    methods = with_equal(options.methods)
    make_sampler(options.sampler, 0)  # wrong names are told before the store is touched
    artifacts = artifacts_folder(options.storage, options.artifacts_path)
    name, study, units = defined("compare", options, artifacts, progress)
    make_pruner(options.pruner, study.epochs)
    if len(study.weighted) == 1:
        raise UsageError(f"study {name!r} has one task, whose weight nothing changes: compare needs two or more")
    for method in methods:
        if method in GRADIENT_BASED:
            aggregator(method, len(study.weighted))  # a missing package is told now, not hours later
    conditions = ready_device(options, options.precision)
    loaded = load_data(study, options.directory, conditions.device, units)
    if options.artifacts is not None:
        check_folder(artifacts)
    with open_storage(options.storage, create=True) as storage:
        if recorded_info(storage, name) is None:
            take_first_step(Training(loaded, precision=options.precision))
        population = options.population or search_population(loaded, options.trials)
        record = open_record(storage, name, {**describe(loaded), "population": population}, None, artifacts)
        conditions = with_recorded(conditions, options.threads, record.info)
        training = Training(loaded, int(record.info["seed"]), options.precision, stop=stop)
        opened = Session(record, training, SoloTrainer, progress, conditions)
        size = options.population or int(record.info["population"])
        searched = {"sampler": options.sampler, "pruner": options.pruner, "population": size}
        entrants, records = [], [record]
        with removed_if_unbegun(records), staffed(opened, options) as session:
            for method in methods:
                entrants.append(entrant(session, method, options.trials, searched))
                records.append(entrants[-1].record)
            comparison = compare(session, entrants, options)
        record.study.set_user_attr("comparison", comparison)
        show_in_dashboard(record)
        return {"study": name, "score": study.score_name, "scoring": study.scoring.describe(), **comparison}


def with_equal(methods: Sequence[str]) -> list[str]:
    """The methods, each once, and equal weights first where they are left out. Raises UsageError."""
    for method in methods:
        if method not in KNOWN:
            raise UsageError(f"--methods: no method {method!r}; there are {', '.join(KNOWN)}")
    chosen = list(dict.fromkeys(methods))
    if len(set(chosen) - {EQUAL}) == 0:
        raise UsageError(f"--methods must name a method beside {EQUAL}: {', '.join(KNOWN[1:])}")
    return chosen if EQUAL in chosen else [EQUAL, *chosen]


def compare(session: Session, entrants: Sequence[Entrant], options: CompareOptions) -> dict[str, Any]:
    """Search and train what is left of every method; the comparison. Raises Interrupted after a stop."""
    record, loaded = session.record, session.training.loaded
    seeds = fresh_seeds(session.training.seed, options.seeds)
    tell_cost(session, entrants, options)
    outcomes, failed = [], {}
    metrics = task_metrics(record, test_examples(loaded))
    for number, each in enumerate(entrants, 1):
        search_method(each, options.trials, f"{each.method} ({number} of {len(entrants)})")
        outcome = outcome_of(each, options.trials, seeds)
        if isinstance(outcome, str):
            failed[each.method] = outcome
        else:
            outcomes.append(outcome)
            session.watcher.notice(outcome_line(outcome, metrics, loaded.study.scoring))
    single = single_runs(record, seeds, metrics)
    return compared(outcomes, failed, metrics, loaded.study.scoring, single, trials=options.trials, seeds=seeds)


def tell_cost(session: Session, entrants: Sequence[Entrant], options: CompareOptions) -> None:
    """Say beforehand what is to be trained, in trial-epochs and expected time."""
    trainings = len(entrants) * (options.trials + options.seeds)
    left = 0
    for each in entrants:
        book = find_confirmation(each.record)
        left += max(0, options.trials - each.record.counted())
        left += max(0, options.seeds - len(ended(book) if book is not None else ()))
    if not left:
        session.watcher.notice(f"all {trainings} trainings of the comparison are done")
        return
    epochs = left * session.study.epochs
    # The comparison's own trials first: the study's search may have been over larger models.
    rates = (expected_seconds(timed, epochs) for timed in (*(each.record for each in entrants), session.record))
    seconds = next((rate for rate in rates if rate is not None), None)
    about = "" if seconds is None else f", about {duration(seconds)} at the rate of what was searched so far"
    done = f" ({trainings - left} are done)" if left < trainings else ""
    solo = [each.method for each in entrants if each.method in GRADIENT_BASED]
    slower = f"; {', '.join(solo)} one at a time, which takes longer" if solo else ""
    session.watcher.notice(
        f"comparing {len(entrants)} methods, {options.trials} trials and {options.seeds} seeds of the best config"
        f" each: {left} trainings{done}, up to {epochs:,} trial-epochs{about}{slower}"
    )
