"""Open the record of a study: for a run, which begins it where there is none, or for reading."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.study import StudyDirection

from mtlsearch.errors import StoreError
from mtlsearch.store.database.damage import check_info
from mtlsearch.store.database.opening import Storage, mask_password
from mtlsearch.store.definition import STUDY_FORMAT, check_same
from mtlsearch.study.score import PARETO

if TYPE_CHECKING:
    pass

from mtlsearch.store.record import Info, Record


def open_record(storage: Storage, name: str, info: Info, seed: int | None, artifacts: Path) -> Record:
    """The record of study `name` for a run, made where there is none. Raises StoreError for another definition."""
    if name in (study.study_name for study in storage.get_all_studies()):
        study = optuna.load_study(storage=storage, study_name=name)  # looks only: it may be another program's
    else:
        directions = [StudyDirection.MAXIMIZE] * len(value_names(info))
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    found = study.user_attrs.get("mtlsearch")
    if found is None and study.get_trials(deepcopy=False):
        raise _not_ours(name)
    is_new = found is None
    if found is None:
        found = {"format": STUDY_FORMAT, **info, "seed": 0 if seed is None else seed}
        study.set_user_attr("mtlsearch", found)
        name_values(study, value_names(found))
    check_info(name, found)
    check_same(name, found, info, seed)
    return Record(storage, study, found, artifacts, is_new=is_new)


def recorded_info(storage: Storage, name: str) -> Info | None:
    """The stored definition of study `name`, None where it holds none of mtlsearch's."""
    found = next((study for study in storage.get_all_studies() if study.study_name == name), None)
    return None if found is None else found.user_attrs.get("mtlsearch")


def value_names(info: Info) -> list[str]:
    """The names of a trial's values: the score, or with `pareto` each scored task's metric; − where lower is better."""
    if info["score"] != PARETO:
        return [info["score"]]
    scored = {task: about for task, about in info["tasks"].items() if task not in info.get("left_out", {})}
    return [f"{'' if about['higher_is_better'] else '−'}{task} {about['metric']}" for task, about in scored.items()]


def name_values(study: optuna.Study, names: Sequence[str]) -> None:
    """Give the values of the study's trials their names, for the dashboard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))


def find_record(storage: Storage, name: str | None, artifacts: Path) -> Record:
    """The record of study `name`, for reading; without a name the store's only study, else the latest."""
    studies = {study.study_name: study for study in storage.get_all_studies()}
    ours = [n for n, s in studies.items() if "mtlsearch" in s.user_attrs and "role" not in s.user_attrs]
    where = mask_password(str(storage.url))
    if name is None and not ours:
        raise StoreError(f"the store {where} holds no study of mtlsearch yet: `mtlsearch run` makes one")
    if name is None:
        name = max(ours, key=lambda each: studies[each]._study_id)
    if name not in ours:
        if name in studies:
            raise _not_ours(name)
        raise StoreError(f"the store {where} holds no study {name!r}; it holds: {', '.join(ours) or 'none'}")
    study = optuna.load_study(storage=storage, study_name=name)
    check_info(name, study.user_attrs["mtlsearch"])
    return Record(storage, study, study.user_attrs["mtlsearch"], artifacts)


def _not_ours(name: str) -> StoreError:
    return StoreError(f"study {name!r} in the store was not written by mtlsearch: give this one another --name")
