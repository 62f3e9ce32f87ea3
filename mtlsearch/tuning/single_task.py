"""Each scored task alone, beside a confirmation: its study, and a search of its own."""

from collections.abc import Mapping
from dataclasses import replace

from mtlsearch.errors import ModelError
from mtlsearch.evidence.trainings import open_alone
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.trials import trial_epochs
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.space import Config
from mtlsearch.tuning.loop import search_more
from mtlsearch.tuning.options.groups import AgainOptions, AskOptions
from mtlsearch.tuning.progress import Watcher
from mtlsearch.tuning.session import Session, makes_searches

MOST_SINGLES = 8


def alone(loaded: LoadedStudy, single: bool | None, watcher: Watcher) -> dict[str, LoadedStudy]:
    """Each scored task's study by itself; none where there is one, or many, or the model needs all at once.

    Nor are there any beside terms, without which the model is another, nor of an evaluation, which has no loss.
    """
    study = loaded.study
    tasks = [task for task in study.scored_tasks if task in loaded.scored]
    if study.terms or study.evaluations or len(study.tasks) == 1:
        return {}
    if single is False or (single is None and len(tasks) > MOST_SINGLES):
        return {}
    try:
        return {task: loaded.only(task) for task in tasks}
    except ModelError as error:
        watcher.notice(f"no single-task training: {error}")
        return {}


def own_searches(session: Session, singles: Mapping[str, LoadedStudy], options: AgainOptions) -> dict[str, Session]:
    """A search of its own for each task alone, over the other hyperparameters; none where there are none to search.

    All together take at most the trial-epochs of the shared search, and each at most as many trials.
    """
    record, trials = session.record, session.record.counted()
    if all(dimension.single() for dimension in session.study.space.values()):
        return {}
    asks = options if isinstance(options, AskOptions) else AskOptions
    searched = {"sampler": asks.sampler, "pruner": asks.pruner}
    made: dict[str, Session] = {}
    for task, single in singles.items():
        made[task] = replace(
            session,
            record=open_alone(record, task, single.fingerprint(), searched),
            training=replace(session.training, loaded=single),
            make_trainer=makes_searches(session, single, trials),
            budget=trial_epochs(record.trials()) // len(singles),
        )
    return made


def search_alone(searches: Mapping[str, Session], trials: int) -> dict[str, dict[int, Config]]:
    """The best config of each task's own search, by the number of its trial; what is left of the search is done."""
    found: dict[str, dict[int, Config]] = {}
    for task, session in searches.items():
        about = session.record.study.user_attrs
        told = f"searching {task} alone, in at most {session.budget:,} trial-epochs"
        search_more(session, trials, about["sampler"], about["pruner"], told)
        best = session.record.best_or_none()
        found[task] = {} if best is None else {best.number: trial_config(session.record.info, best)}
    return found
