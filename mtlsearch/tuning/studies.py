"""The study that a command means, with the changes that its options or its record make."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from optuna.distributions import json_to_distribution

from mtlsearch.download import DownloadError
from mtlsearch.errors import StoreError, StudyError, UsageError
from mtlsearch.evidence.questions.asking import required
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.record import Info
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.score import CALLABLE, Score, parsed_score, recorded_score
from mtlsearch.study.shipped import shipped_studies, study_name
from mtlsearch.study.space import fixed_value
from mtlsearch.study.study import SIMPLEX, Study
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import Conditions
from mtlsearch.tuning.known.region import as_narrowed, narrowed
from mtlsearch.tuning.options.flags import is_text
from mtlsearch.tuning.options.groups import StudyOptions
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Watcher
from mtlsearch.wording import AUTO, EACH

DEFAULT_STUDY = "mnist-fashion"
FALLBACK_STUDY = "digits"


def recorded_name(options: RunOptions, study: Study) -> str:
    """The study's name in the store: the one that was given, the shipped name, or the file's stem."""
    if not (options.name or study.source):
        raise UsageError("a study that is defined in Python needs a name in the store: search(study, name=…)")
    name = options.name or study_name(study.source)
    if not is_text(name):
        raise UsageError(f"the study file's name {name!r} is not Unicode, so the study needs another with --name")
    return name


def recorded(storage: str, name: str, artifacts: Path) -> Info | None:
    """The description of a study in the store, None where there is none or the store cannot be read."""
    try:
        with open_storage(storage, create=False) as opened:
            return find_record(opened, name, artifacts).info
    except StoreError:
        return None


def load_with_fallback(
    options: RunOptions, conditions: Conditions, artifacts: Path, notice: Callable[[str], None]
) -> LoadedStudy:
    """The study with its data; without a STUDY the default one, or the fallback where its data cannot be had.

    A study that is in the store goes on with the weight prior and the units that it was begun with.
    """

    def load(study: Study) -> LoadedStudy:
        info = recorded(options.storage, recorded_name(options, study), artifacts)
        units = None if info is None else recorded_units(info)
        return load_data(
            narrowed_as(configured(begun_with(study, info), options), info, options, artifacts),
            options.directory,
            conditions.device,
            units,
        )

    given = options.study
    if given is not None:
        return load(given if isinstance(given, Study) else load_study(str(given)))
    try:
        return load(load_study(DEFAULT_STUDY))
    except DownloadError as error:
        notice(f"{error}")
        notice(f"searching the study {FALLBACK_STUDY!r} instead, which needs no data; name a STUDY to choose another")
        return load(load_study(FALLBACK_STUDY))


def narrowed_as(study: Study, info: Info | None, options: RunOptions, artifacts: Path) -> Study:
    """The study in the region of the search that `--narrow` names; one that was begun keeps its region."""
    if options.narrow is None:
        return study
    if info is not None:
        return as_narrowed(study, info)
    with open_storage(options.storage, create=False) as opened:
        return narrowed(study, find_record(opened, options.narrow, artifacts))


def begun_with(study: Study, info: Info | None) -> Study:
    """The study with the folds of its search, and with its weight prior: log ratios, before them the simplex."""
    if info is None:
        return study
    if study.folds is None:
        study = replace(study, folds=info["fingerprint"].get("folds"))
    if study.weights == AUTO:
        study = replace(study, weights=info["fingerprint"].get("weights", EACH))
    if len(study.weighted) == 1 or "weight range" in info["fingerprint"]:
        return study
    return replace(study, weight_prior=SIMPLEX)


def defined(
    command: str, options: StudyOptions, artifacts: Path, watcher: Watcher
) -> tuple[str, Study, Mapping[str, float] | None]:
    """The study's name in the store, its definition, as its search had changed it where there is one, and its units.

    `command` is that which needs it, for the advice where a file must be named.
    """
    if options.study is None:
        with open_storage(options.storage, create=False) as storage:
            found = find_record(storage, options.name, artifacts)
            name, info = found.name, found.info
        watcher.notice(f"study {name}")
        if info["source"] not in shipped_studies():
            raise UsageError(
                f"study {name!r} belongs to the study file {info['source']}, whose code runs only when named:"
                f" mtlsearch {command} {info['source']} --name {name}"
            )
        return name, as_recorded(load_study(info["source"]), info), recorded_units(info)
    study = load_study(options.study)
    name = options.name or study_name(study.source)
    found_info = recorded(options.storage, name, artifacts)
    if found_info is None:
        return name, study, None
    return name, as_recorded(study, found_info), recorded_units(found_info)


def recorded_units(info: Info) -> dict[str, float]:
    """The units of the losses that a store or a config keeps; before there were units, losses were as they are."""
    if "units" not in info:
        return dict.fromkeys(info["tasks"], 1.0)
    return {name: float(unit) for name, unit in info["units"].items()}


def configured(study: Study, options: RunOptions) -> Study:
    """The study with the changes that the options make: fixed dimensions, budget, score, metrics to reach."""
    if options.epochs is not None:
        study = replace(study, epochs=options.epochs)
    if options.folds is not None:
        study = replace(study, folds=options.folds)
    if options.weights is not None:
        study = replace(study, weights=options.weights)
    if options.score is not None:
        study = replace(study, score=score_option(options.score, study))
    if options.at_least is not None:
        study = replace(study, at_least={**study.at_least, **least_option(options.at_least, study)})
    # Last, since auxiliary tasks decide which weights there are.
    for name, value in (options.fixed or {}).items():
        study = study.fixed(name, str(value))
    return study


def score_option(given: str | Mapping[str, float], study: Study) -> Score:
    """The score that `--score` names, or weights by task. Raises UsageError."""
    try:
        score = parsed_score(given, study.task_names) if isinstance(given, str) else Score(given)
        score.check(study.task_names)
    except StudyError as error:
        raise UsageError(f"--score {given}: {error}") from None
    return score


def least_option(given: Mapping[str, object], study: Study) -> dict[str, float]:
    """The metrics that `--at-least` names. Raises UsageError."""
    return required("--at-least", given, study.task_names)


def as_recorded(study: Study, info: Info) -> Study:
    """The study as it was searched, with the changes that the search's options had made."""
    study = begun_with(study, info)
    fingerprint = info["fingerprint"]
    study = replace(
        study,
        **{"division": "first", **info["budget"]},
        score=score_of(study, info),
        at_least=fingerprint.get("at least", {}),
        folds=fingerprint.get("folds"),
        weights=fingerprint.get("weights", EACH),
        weight_range=fingerprint.get("weight range", study.weight_range),
    )
    for name, dimension in fingerprint["space"].items():
        then = json_to_distribution(json.dumps(dimension))
        known = name in study.space or name in study.weight_space.names
        if known and then.single() and not single(study, name):
            study = study.fixed(name, str(fixed_value(then)))
    return as_narrowed(study, info)


def single(study: Study, name: str) -> bool:
    """Whether a dimension of the study has one value already."""
    found = study.search_space.distributions.get(name)
    return found is not None and found.single()


def score_of(study: Study, info: Info) -> Score:
    """The score that the store describes; a callable is the study's own."""
    score = recorded_score(info)
    return study.scoring if score.kind == CALLABLE else score
