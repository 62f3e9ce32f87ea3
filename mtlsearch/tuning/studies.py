"""The study that a command means, with the changes that its options or its record make."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import json_to_distribution

from mtlsearch.download import DownloadError
from mtlsearch.errors import UsageError
from mtlsearch.study.space import fixed_value
from mtlsearch.study.study import SCORES, LoadedStudy, Study
from mtlsearch.study.study_file import load_study, study_name
from mtlsearch.training.device import Conditions
from mtlsearch.tuning.options import RunOptions

DEFAULT_STUDY = "mnist-fashion"
FALLBACK_STUDY = "digits"


def recorded_name(options: RunOptions, study: Study) -> str:
    """The study's name in the store: the one that was given, the shipped name, or the file's stem."""
    if not (options.name or study.source):
        raise UsageError("a study that is defined in Python needs a name in the store: search(study, name=…)")
    return options.name or study_name(study.source)


def load_with_fallback(options: RunOptions, conditions: Conditions, notice: Callable[[str], None]) -> LoadedStudy:
    """The study with its data; without a STUDY the default one, or the fallback where its data cannot be had."""
    given = options.study
    if given is not None:
        study = given if isinstance(given, Study) else load_study(str(given))
        return configured(study, options).load(options.directory, conditions.device)
    try:
        return configured(load_study(DEFAULT_STUDY), options).load(options.directory, conditions.device)
    except DownloadError as error:
        notice(f"{error}")
        notice(f"searching the study {FALLBACK_STUDY!r} instead, which needs no data; name a STUDY to choose another")
        return configured(load_study(FALLBACK_STUDY), options).load(options.directory, conditions.device)


def configured(study: Study, options: RunOptions) -> Study:
    """The study with the changes that the options make: fixed dimensions, budget, score."""
    for name, value in (options.fixed or {}).items():
        study = study.fixed(name, str(value))
    if options.epochs is not None:
        study = replace(study, epochs=options.epochs)
    if options.score is not None:
        if options.score not in SCORES:
            raise UsageError(f"--score must be {' or '.join(SCORES)}, but got {options.score!r}")
        study = replace(study, score=options.score)
    return study


def as_recorded(study: Study, info: Mapping[str, Any]) -> Study:
    """The study with the changes that its search's options had made, and the division that it was begun with."""
    for name, dimension in info["fingerprint"]["space"].items():
        then, now = json_to_distribution(json.dumps(dimension)), study.search_space.distributions.get(name)
        if now is not None and then.single() and not now.single():
            study = study.fixed(name, str(fixed_value(then)))
    score = info["score"] if info["score"] in SCORES else study.score
    return replace(study, **{"division": "first", **info["budget"]}, score=score)
