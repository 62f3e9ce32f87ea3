"""Searches repeated with other seeds, each winner confirmed: how much of the gain is the luck of one search.

`run --searches K` searches and confirms the study as ever. Then `repeat_searches` runs K − 1 more searches of it, each
an Optuna study of its own, `NAME/search/2` to `NAME/search/K`, with a seed that follows from the study's: of sampler,
initialisation, batches and noise. The winner of each is confirmed with fresh seeds, or on new divisions, beside its
twin. Tasks alone, the plain sum and auxiliary tasks are left to the first search. A finished search is not repeated,
and the evidence (`evidence.searches`) is stored after each.
"""

from dataclasses import replace
from typing import Any

from mtlsearch.activity import doing
from mtlsearch.errors import StudyError, UsageError
from mtlsearch.evidence.answer import candidates, conclusion, expected_seconds, task_metrics
from mtlsearch.evidence.metric import score_floor, score_overlap
from mtlsearch.evidence.searches import Searched, evidence_over
from mtlsearch.evidence.sentences import Unit
from mtlsearch.evidence.statistics import Estimate
from mtlsearch.evidence.trainings import ended, find_confirmation, open_confirmation, open_search, search_name
from mtlsearch.store.record import Policy, Record
from mtlsearch.study.divisions import overlaps
from mtlsearch.study.score import PARETO
from mtlsearch.study.study import Study
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.seeds import derived_seed
from mtlsearch.tuning.confirming.conclusion import test_examples
from mtlsearch.tuning.confirming.divisions import new_divisions
from mtlsearch.tuning.confirming.plans import make_plans
from mtlsearch.tuning.loop import search_more
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.repeats import train_all
from mtlsearch.tuning.session import MakeTrainer, Session
from mtlsearch.wording import duration

NO_PARAMETERS = Policy(asks_again=False, group=lambda trial: None)


def check_repeatable(options: RunOptions, study: Study) -> None:
    """Raise UsageError where repeated searches have nothing to compare."""
    if options.searches == 1:
        return
    if not options.confirm:
        raise UsageError("--searches compares confirmed winners, but got --no-confirm: leave one of them out")
    if study.scoring.kind == PARETO:
        raise UsageError("--searches compares the scores of winners, but got --score pareto: name another score")
    if len(study.weighted) == 1:
        raise UsageError("--searches repeats the search for task weights, but the study has one task: leave it out")


def repeat_searches(session: Session, options: RunOptions, make_again: MakeTrainer) -> None:
    """Search and confirm until there are `options.searches`, and store the evidence over all that are there.

    `make_again` makes the trainers of the confirmations. Raises Interrupted after a stop; the same call goes on.
    """
    record, notice = session.record, session.watcher.notice
    if options.searches == 1:
        return
    if find_conclusion(record) is None:
        notice("the search is not repeated before it is confirmed; the same command goes on")
        return
    there = searches_there(record)
    if there > options.searches:
        notice(f"{there} searches are in the store, and --searches is a total: all of them count")
    tell_cost(session, options)
    for number in range(2, options.searches + 1):
        if not session.is_in_time():
            break
        with doing(f"repeating the search, {number} of {options.searches}"):
            each = another(session, number, options)
            told = f"search {number} of {options.searches}, seed {each.training.seed}"
            search_more(each, options.trials, options.sampler, options.pruner, told)
            if each.record.counted() < options.trials:
                break
            try:
                if not confirm_winner(replace(each, make_trainer=make_again), options, told):
                    break
            except StudyError as error:
                notice(f"search {number} has no result: {error}")
        store_evidence(session, options.trials)
    store_evidence(session, options.trials)
    if not session.is_in_time():
        done = len(searched(record, options.trials))
        notice(f"stopped after --timeout with {done} of {options.searches} searches; the same command goes on")


def another(session: Session, number: int, options: RunOptions) -> Session:
    """The session of search `number`, with a seed of its own."""
    seed, make = seed_of(session.record, number), session.make_trainer
    record = open_search(session.record, number, seed)
    given_up = not options.population and int(session.record.info["population"]) == 1
    if given_up and isinstance(make, TrainerMaker) and make.population > 1:
        make = TrainerMaker(session.training.loaded, 1, options.trials, session.watcher.notice)
    return replace(session, record=record, training=replace(session.training, seed=seed), make_trainer=make)


def seed_of(record: Record, number: int) -> int:
    """The seed of search `number`; the first one's is the study's."""
    seed = int(record.info["seed"])
    return seed if number == 1 else derived_seed(seed, "search", number)


def confirm_winner(session: Session, options: RunOptions, told: str) -> bool:
    """Confirm the best configs of a search with their twins alone; False where the deadline came first.

    Raises StudyError where nothing can be confirmed.
    """
    record, loaded = session.record, session.training.loaded
    if not candidates(record, options.top):
        raise StudyError("no trial of it is complete")
    confirmation = open_confirmation(record)
    confirmation.policy = NO_PARAMETERS
    confirmation.take_over()
    plan, divisions = make_plans(session, options, [])
    plan = replace(plan, units={}, auxiliary=())  # neither the plain sum nor the arms without a task
    repeats = plan.shared()
    left = confirmation.left(repeats)
    session.watcher.begun(len(repeats), len(repeats) - len(left), session.study.epochs)
    if left:
        session.watcher.notice(f"{told}: confirming it in {len(left)} trainings")
    if not train_all(session, confirmation, repeats, divisions):
        return False
    metrics = task_metrics(record, test_examples(loaded), overlaps(loaded.splits) if plan.divisions else None)
    found = ended(confirmation)
    verdict = plan.judge(found, metrics, loaded.study.scoring)
    concluded = conclusion(record, plan, found, verdict, confirmation.test_scorings())
    confirmation.study.set_user_attr("conclusion", concluded)
    return True


# What is there.


def find_conclusion(record: Record) -> Any:
    """The conclusion of a search's confirmation, None where it has none yet."""
    confirmation = find_confirmation(record)
    return None if confirmation is None else confirmation.conclusion


def numbers_there(record: Record) -> list[int]:
    """The numbers of the searches that are in the store, the first one included, in their order."""
    names = {study.study_name for study in record.storage.get_all_studies()}
    start = search_name(record, 2).removesuffix("2")
    ends = (name.removeprefix(start) for name in names if name.startswith(start))
    return [1, *sorted(int(end) for end in ends if end.isdecimal())]


def searches_there(record: Record) -> int:
    """The number of the last search that is in the store."""
    return numbers_there(record)[-1]


def searched(record: Record, trials: int) -> list[Searched]:
    """The searches that have `trials` trials and a winner that is confirmed as the first one is, on new data or not."""
    found = []
    divided = bool((find_conclusion(record) or {}).get("divisions"))
    for number in numbers_there(record):
        each = record if number == 1 else open_search(record, number, seed_of(record, number))
        concluded = find_conclusion(each)
        if concluded is None or bool(concluded.get("divisions")) != divided:
            continue
        if number > 1 and each.counted() < trials:
            continue
        verdict = concluded["verdict"]
        gain = Estimate.of_stored(verdict["difference"])
        about = each.name, seed_of(record, number), concluded["searched"], concluded["of"]
        found.append(Searched(*about, verdict["weights"], gain))
    return found


def store_evidence(session: Session, trials: int) -> None:
    """Store the evidence over the searches that have ended, where there are two or more."""
    record, loaded, found = session.record, session.training.loaded, searched(session.record, trials)
    if len(found) < 2:
        return
    concluded = find_conclusion(record)
    divided = overlaps(loaded.splits) if concluded.get("divisions") else None
    metrics, score = task_metrics(record, test_examples(loaded), divided), loaded.study.scoring
    unit = Unit.of_score(score, metrics)
    floor, overlap = score_floor(metrics, score), score_overlap(metrics, score)
    evidence = evidence_over(found, concluded["verdict"]["margin"], unit, floor, overlap)
    record.study.set_user_attr("searches", evidence)


# The cost.


def told_beforehand(options: RunOptions, session: Session) -> str:
    """The line on the searches to come, before the first one has begun."""
    more, trainings = options.searches - 1, trainings_of(options, session)
    epochs = more * (options.trials + trainings) * session.study.epochs
    return (
        f"{options.searches} searches: after this one {more} more with other seeds, each of {options.trials} trials and"
        f" {trainings} trainings to confirm its winner, up to {epochs:,} trial-epochs together"
    )


def trainings_of(options: RunOptions, session: Session) -> int:
    """The trainings that confirm a repeated search, at most."""
    each = new_divisions(session.training.loaded, options) or options.seeds
    return 2 * options.top * each


def tell_cost(session: Session, options: RunOptions) -> None:
    """Say what is left of the searches, in trial-epochs and expected time."""
    record, epochs = session.record, session.study.epochs
    there, trainings, left = numbers_there(record), trainings_of(options, session), 0
    search_epochs = confirm_epochs = 0
    for number in range(2, options.searches + 1):
        trials, again = options.trials, trainings
        if number in there:
            each = open_search(record, number, seed_of(record, number))
            confirmation = find_confirmation(each)
            trials = max(0, trials - each.counted())
            done = 0 if confirmation is None else len(ended(confirmation))
            again = 0 if find_conclusion(each) is not None and not trials else max(0, again - done)
        left += bool(trials or again)
        search_epochs, confirm_epochs = search_epochs + trials * epochs, confirm_epochs + again * epochs
    if not left:
        session.watcher.notice(f"all {options.searches} searches are done")
        return
    seconds = expected_seconds(record, search_epochs + confirm_epochs / (session.study.folds or 1))
    about = "" if seconds is None else f", about {duration(seconds)}"
    session.watcher.notice(
        f"{left} of {options.searches} searches are left: up to {search_epochs + confirm_epochs:,} trial-epochs{about}"
    )
