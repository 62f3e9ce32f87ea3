"""The entrants of a comparison: a weighting method each, with its search and the trainings of its best config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mtlsearch.errors import StoreError
from mtlsearch.evidence.comparison import EQUAL, TUNED, Outcome, first_counted
from mtlsearch.evidence.trainings import Repeat, ended, linked_study, open_confirmation
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.record import Record
from mtlsearch.store.trials import best_of, busy_seconds
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.study import Study
from mtlsearch.training.gradient_weighting import GRADIENT_BASED
from mtlsearch.training.population.layout import repeat_population
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.weighting import STATIC
from mtlsearch.tuning.interruption.repeats import abandon
from mtlsearch.tuning.loop import search_more
from mtlsearch.tuning.repeats import train_repeats
from mtlsearch.tuning.session import MakeTrainer, Session


@dataclass(frozen=True)
class Entrant:
    """One method in the comparison: the session of its search, and how its best config is trained again."""

    method: str
    session: Session
    make_again: MakeTrainer
    searched: Mapping[str, Any]  # sampler, pruner, population

    @property
    def record(self) -> Record:
        return self.session.record


@dataclass(frozen=True)
class MethodRepeat(Repeat):
    """One training of a method's best config."""

    method: str = ""

    def attrs(self) -> dict[str, Any]:
        return {**super().attrs(), "method": self.method}

    def __str__(self) -> str:
        return f"{self.method}, trial {self.of}"


def entrant(session: Session, method: str, trials: int, searched: Mapping[str, Any]) -> Entrant:
    """A method with its record, made where there is none. Raises StoreError where it was searched otherwise."""
    training, notice = session.training, session.watcher.notice
    loaded = replace(training.loaded, study=weighted(training.loaded.study, method))
    population = 1 if method in GRADIENT_BASED else int(searched["population"])
    searched = {**searched, "population": population}
    make_again: MakeTrainer = SoloTrainer
    if population > 1:
        make_again = TrainerMaker(loaded, repeat_population(loaded, population), trials, notice)
    own = replace(
        session,
        record=open_entrant(session.record, loaded, method, searched),
        training=replace(training, loaded=loaded, method=STATIC if method in (EQUAL, TUNED) else method),
        # More slots than trials would stay empty. As many are asked for at once as in the study's search.
        make_trainer=TrainerMaker(loaded, min(population, trials), trials, notice),
        conditions=replace(session.conditions, method=method),
    )
    return Entrant(method, own, make_again, searched)


def weighted(study: Study, method: str) -> Study:
    """The study with the task weights that a method searches: all of them for `tuned`, else equal ones."""
    if method == TUNED:
        return study
    equal = dict.fromkeys(study.weighted, 1 / len(study.weighted))
    return replace(study, fixed_weights=study.weight_space.at(equal).fixed)


def open_entrant(record: Record, loaded: LoadedStudy, method: str, searched: Mapping[str, Any]) -> Record:
    """The record of a method's search. Raises StoreError where its name is another's, or it was searched otherwise."""
    name, fingerprint = f"{record.name}/compare/{method}", loaded.fingerprint()
    about = {"role": "compare", "method": method, "searched": dict(searched), "fingerprint": fingerprint}
    study = linked_study(record, name, "comparison", about)
    before = study.user_attrs["searched"]
    differing = [f"{key} {before.get(key)}, now {value}" for key, value in searched.items() if before.get(key) != value]
    if differing:
        raise StoreError(
            f"study {name!r} was begun otherwise ({'; '.join(differing)}): give the same options again, or compare"
            " under another --name"
        )
    linked = record.study.user_attrs.get("compare", {})
    if linked.get(method) != name:
        record.study.set_user_attr("compare", {**linked, method: name})
    info = {**record.info, "fingerprint": fingerprint}
    return Record(record.storage, study, info, record.artifacts, is_new=record.is_new)


def search_method(each: Entrant, trials: int, told: str) -> None:
    """Search a method's hyperparameters until it has its trials."""
    search_more(each.session, trials, each.searched["sampler"], each.searched["pruner"], told)


def outcome_of(each: Entrant, trials: int, seeds: Sequence[int]) -> Outcome | str:
    """Train the method's best config with every seed; its outcome, or why it has no config."""
    searched = first_counted(each.record, trials)
    best = best_of(searched)
    if best is None:
        reasons = (trial.user_attrs.get("reason") for trial in searched)
        return f"none of {len(searched)} trials is complete ({next(filter(None, reasons), 'all were pruned')})"
    config, loaded = trial_config(each.record.info, best), each.session.training.loaded
    repeats = [MethodRepeat("config", best.number, config, seed, method=each.method) for seed in seeds]
    book = open_confirmation(each.record)
    book.take_over()
    left = book.left(repeats)
    each.session.watcher.begun(len(repeats), len(repeats) - len(left), loaded.study.epochs)
    train_repeats(replace(each.session, make_trainer=each.make_again), book, repeats)
    abandon(book)
    found = ended(book)
    trained = [found[repeat.key] for repeat in repeats]
    tests = [trial.user_attrs.get("test") for trial in trained]
    metrics = {task: loaded.metrics[task].name for task in loaded.scored}
    spent = [*searched, *trained]
    return Outcome(
        each.method,
        best.number,
        {t: [torch.nan if test is None else test[t][name] for test in tests] for t, name in metrics.items()},
        [torch.nan if test is None else loaded.score(test) for test in tests],
        sum(trial.user_attrs.get("epochs", 0) for trial in spent),
        busy_seconds(searched) + busy_seconds(trained),
    )
