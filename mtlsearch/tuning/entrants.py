"""One method in a comparison: the record of its search, the search, and its best config trained again.

What a method is given is the same for all: N trials of the same seed, sampler and pruner that begin with the default
config, and S fresh seeds. `tuned` alone searches the task weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mtlsearch.errors import StoreError
from mtlsearch.evidence.comparison import EQUAL, TUNED, Outcome, best_of, busy_seconds, first_counted
from mtlsearch.evidence.trainings import Repeat, ended, linked_study, open_confirmation
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.record import Record
from mtlsearch.study.space import quantiles_from_weights, real
from mtlsearch.study.study import LoadedStudy, Study
from mtlsearch.training.gradient_weighting import GRADIENT_BASED
from mtlsearch.training.population.layout import repeat_population
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.training.weighting import STATIC
from mtlsearch.tuning.choices import make_pruner, make_sampler
from mtlsearch.tuning.confirm import MakeTrainer, Work
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import trainer_maker


@dataclass(frozen=True)
class Entrant:
    """One method in the comparison: its search's record, and its training with the weights that it searches."""

    method: str
    record: Record
    training: Training
    make_trainer: MakeTrainer  # of the search
    make_again: MakeTrainer  # of the trainings with fresh seeds
    searched: Mapping[str, Any]  # sampler, pruner, population
    trained_on: Mapping[str, Any]


@dataclass(frozen=True)
class MethodRepeat(Repeat):
    """One training of a method's best config."""

    method: str = ""

    def attrs(self) -> dict[str, Any]:
        return {**super().attrs(), "method": self.method}

    def __str__(self) -> str:
        return f"{self.method}, trial {self.of}"


def entrant(
    record: Record,
    training: Training,
    method: str,
    trials: int,
    searched: Mapping[str, Any],
    trained_on: Mapping[str, Any],
    progress: Progress,
) -> Entrant:
    """A method with its record, made where there is none. Raises StoreError where it was searched otherwise."""
    loaded = replace(training.loaded, study=weighted(training.loaded.study, method))
    population = 1 if method in GRADIENT_BASED else int(searched["population"])
    searched = {**searched, "population": population}
    own = replace(training, loaded=loaded, method=STATIC if method in (EQUAL, TUNED) else method)
    # More slots than trials would stay empty. What is asked for at once is the same.
    make = trainer_maker(loaded, min(population, trials), trials, progress.notice)
    # Each seed has batches of its own, so a population would be lanes of one member: on a CPU that gains nothing.
    again: MakeTrainer = SoloTrainer
    if loaded.device.type == "cuda" and population > 1:
        again = trainer_maker(loaded, repeat_population(loaded, population), trials, progress.notice)
    return Entrant(
        method,
        open_entrant(record, loaded, method, searched),
        own,
        make,
        again,
        searched,
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
    about = {"role": "compare", "method": method, "searched": dict(searched), "fingerprint": fingerprint}
    study = linked_study(record, name, "comparison", about)
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


def search_method(each: Entrant, trials: int, progress: Progress, told: str) -> None:
    """Search a method's hyperparameters until it has its trials."""
    record, study, training = each.record, each.training.loaded.study, each.training
    record.take_over()
    enqueue_default(record, study)
    before = record.counted()
    if before >= trials:
        return
    progress.notice(f"{told}: {trials - before} trials")
    record.study.sampler = make_sampler(
        each.searched["sampler"], derived_seed(training.seed, "sampler", before)
    )
    record.study.pruner = make_pruner(each.searched["pruner"], study.epochs)
    progress.total, progress.best = trials, None
    progress.begun(before, study.epochs, record.best_or_none())
    search(record, each.make_trainer(training), training, trials, progress, dict(each.trained_on))


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
