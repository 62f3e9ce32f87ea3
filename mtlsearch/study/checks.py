"""Checks of a study's definition, each with the rule in its message."""

import math
from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution

from mtlsearch.errors import StudyError
from mtlsearch.limits import LARGEST_SEED, LONGEST_TASK, MOST_BATCH, MOST_EPOCHS, MOST_FOLDS, check_most
from mtlsearch.study.space import Value
from mtlsearch.tasks.evaluation import Evaluation
from mtlsearch.tasks.task import Task
from mtlsearch.tasks.term import Term
from mtlsearch.wording import is_name, shortened


def check_name(name: object) -> None:
    """Raise StudyError unless a task's name can be read where it is printed, and stored."""
    if not is_name(name, LONGEST_TASK):
        rule = f"a task's name is a printable text of 1 to {LONGEST_TASK} letters without a space at its ends"
        raise StudyError(f"{rule}, but got {shortened(repr(name), 60)}")


def check_kinds(tasks: Sequence[object], terms: Sequence[object], evaluations: Sequence[object]) -> None:
    """Raise StudyError unless a study holds a loss and a metric, and each of its parts where it belongs."""
    kinds = {"tasks": (tasks, Task), "terms": (terms, Term), "evaluations": (evaluations, Evaluation)}
    for name, (given, kind) in kinds.items():
        wrong = next((each for each in given if not isinstance(each, kind)), None)
        if wrong is not None:
            got = type(wrong).__name__
            home = {"Term": ": name it in terms=", "Evaluation": ": name it in evaluations="}.get(got, "")
            raise StudyError(f"{name} must hold {kind.__name__}s, but got a {got}{home}")
    if not (tasks or terms):
        or_terms = ": give tasks, or terms=[Term(name, points, loss)]" if evaluations else ""
        raise StudyError(f"a study needs one task or more, but tasks is empty{or_terms}")
    if not (tasks or evaluations):
        raise StudyError(
            "a study needs something that is scored, but terms have no metric: add evaluations=[Evaluation(name, data,"
            " metric)]"
        )


def check_size(name: str, value: object) -> None:
    """Raise StudyError unless the number of epochs or examples is whole, and neither too small nor too large."""
    if not isinstance(value, int) or value < 1:
        raise StudyError(f"{name} must be a whole number of 1 or more, but got {shortened(repr(value), 60)}")
    check_most(MOST_BATCH if name == "batch_size" else MOST_EPOCHS, **{name: value})


def check_mapping(name: str, value: object) -> None:
    """Raise StudyError unless a value by name is a dict."""
    if not isinstance(value, Mapping):
        raise StudyError(f"{name} must be a dict, but got {shortened(repr(value), 60)}")


def check_seed(split_seed: object) -> None:
    """Raise StudyError unless the seed of a division is a whole number within its bounds."""
    if not isinstance(split_seed, int) or abs(split_seed) > LARGEST_SEED:
        raise StudyError(f"split_seed must be a whole number, but got {shortened(repr(split_seed), 60)}")


def check_folds(folds: object) -> None:
    """Raise StudyError unless the number of folds is None, or whole and within its bounds."""
    if folds is not None and not (isinstance(folds, int) and 2 <= folds <= MOST_FOLDS):
        raise StudyError(f"folds must be a whole number from 2 to {MOST_FOLDS}, but got {folds!r}")


def check_range(weight_range: float) -> None:
    """Raise StudyError unless the range of task weights is a finite number above 1."""
    number = isinstance(weight_range, int | float) and not isinstance(weight_range, bool)
    if not (number and 1 < weight_range < math.inf):
        raise StudyError(f"weight_range must be a finite number above 1, but got {weight_range!r}")


def check_at_least(at_least: Mapping[str, float], tasks: Sequence[str]) -> None:
    """Raise StudyError unless the metrics to reach are numbers of known tasks."""
    for task, least in at_least.items():
        if task not in tasks:
            raise StudyError(f"at_least must name tasks of the study ({', '.join(tasks)}), but got {task!r}")
        if isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least):
            raise StudyError(f"at_least must hold finite numbers, but {task!r} has {least!r}")


def check_default(name: str, distribution: object, value: Value) -> None:
    """Raise StudyError unless a dimension of the space is a distribution that holds its default."""
    if not isinstance(distribution, BaseDistribution):
        raise StudyError(f"space must hold integer(…), real(…) or choice(…) by name, but {name!r} is {distribution!r}")
    try:
        inside = distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        inside = False
    if not inside:
        raise StudyError(f"default {name}={value!r} lies outside its distribution {distribution}")
