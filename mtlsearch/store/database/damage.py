"""Values that come from a store, checked where they enter: another program, a disk or a hand may have changed them.

A trial with a damaged value is taken as a failed one whose reason names the damage, so that the others are shown and
searched on. It stays in the store as it is.
"""

import copy
import math
from collections.abc import Collection, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import StoreError
from mtlsearch.wording import message_line

Whole, Number, Text, Anything = "a whole number", "a finite number", "text", "anything"
Shape = Any  # one of the words above, {key: shape}, [shape of each value of a mapping], or (shape, None)

METRICS: Shape = [[(Number, None)]]
ENDED: Shape = {"task_weights": [Number], "epochs": Whole}
COMPLETE: Shape = {**ENDED, "validation": METRICS, "best_epoch": Whole, "entry_epoch": Whole}
OPTIONAL: Shape = {
    "task_weights": [Number],
    "validation": METRICS,
    "test": METRICS,
    "trained_on": [Anything],
    "reason": Text,
    "seconds": Number,
    "seed": Whole,
    "division": Whole,
    "epochs": Whole,
    "folds": {"scores": list, "validation": [[list]]},
}
INFO: Shape = {
    "format": Text,
    "source": (Text, None),
    "score": Text,
    "seed": Whole,
    "default": [Anything],
    "budget": {"epochs": Whole, "patience": (Whole, None), "batch_size": Whole, "split_seed": Whole},
    "tasks": [{"kind": Text, "metric": Text}],
    "fingerprint": {"tasks": [Anything], "data": [Anything], "space": [[Anything]]},
}
VERDICT: Shape = {"kind": Text, "sentence": Text, "weights": [Number], "lines": list, "seeds": Whole, "level": Number}
CONCLUSION: Shape = {
    "of": Whole,
    "weights": Text,
    "kept": Whole,
    "configs": list,
    "seeds": list,
    "searched": Whole,
    "test_scorings": Whole,
    "verdict": VERDICT,
    "divisions": (list, None),  # of new divisions of the data; earlier versions knew none
    "alone": ([Text], None),  # of conclusions from before tasks had searches of their own, None
}
ESTIMATE: Shape = {"mean": (Number, None), "low": (Number, None), "high": (Number, None)}
SEARCHES: Shape = {"format": Text, "trials": Whole, "gain": ESTIMATE, "found": list, "lines": list}
SEARCHED: Shape = {"study": Text, "seed": Whole, "trials": Whole, "trial": Whole, "weights": [Number], "gain": ESTIMATE}
COMPARISON: Shape = {"format": Text, "trials": Whole, "seeds": list, "methods": list, "lines": list}
METHOD: Shape = {
    "method": Text,
    "trial": Whole,
    "tasks": [ESTIMATE],
    "score": ESTIMATE,
    "trial_epochs": Whole,
    "seconds": Number,
}
GROUPING: Shape = {
    "format": Text,
    "tasks": list,
    "affinities": list,
    "groupings": list,
    "recommended": list,
    "seeds": {"groupings": list},
    "unit": {"scale": Number, "word": Text},
    "lines": list,
}
GROUPED: Shape = {"groups": list, "left_out": list, "score": ESTIMATE, "parameters": Whole, "seconds": Number}
AFFINITY: Shape = {"task": Text, "with": Text, "metric": Text, "gain": ESTIMATE}


def fault(value: Any, shape: Shape, place: str) -> str | None:
    """The fault of a value that should have `shape`, with its place; None where nothing is."""
    if isinstance(shape, tuple):
        return None if value is None else fault(value, shape[0], place)
    if isinstance(shape, dict | list):
        if not isinstance(value, Mapping):
            return f"{place} is {_shown(value)}, not an object"
        parts = dict.fromkeys(value, shape[0]) if isinstance(shape, list) else shape
        missing = next((key for key in parts if key not in value), None)
        if missing is not None:
            return f"{place} has no {missing!r}"
        found = (fault(value[key], part, f"{place}.{key}") for key, part in parts.items())
        return next((each for each in found if each is not None), None)
    if shape is list:
        return None if isinstance(value, list) else f"{place} is {_shown(value)}, not a list"
    return None if _fits(value, shape) else f"{place} is {_shown(value)}, not {shape}"


def fault_of_conclusion(conclusion: Any) -> str | None:
    """The fault of a stored conclusion of a confirmation; None where nothing is."""
    return fault(
        {"alone": None, "divisions": None, **conclusion} if isinstance(conclusion, Mapping) else conclusion,
        CONCLUSION,
        "it",
    )


def fault_of_comparison(comparison: Any) -> str | None:
    """The fault of a stored comparison; None where nothing is."""
    return _fault_of_list(comparison, COMPARISON, "methods", METHOD)


def fault_of_searches(evidence: Any) -> str | None:
    """The fault of the stored evidence over searches; None where nothing is."""
    return _fault_of_list(evidence, SEARCHES, "found", SEARCHED)


def fault_of_grouping(grouping: Any) -> str | None:
    """The fault of a stored grouping; None where nothing is."""
    found = _fault_of_list(grouping, GROUPING, "groupings", GROUPED)
    return _fault_of_list(grouping, GROUPING, "affinities", AFFINITY) if found is None else found


def _fault_of_list(value: Any, shape: Shape, part: str, each: Shape) -> str | None:
    found = fault(value, shape, "it")
    if found is not None:
        return found
    found_in = (fault(one, each, f"number {n} of its {part}") for n, one in enumerate(value[part]))
    wrong = next((each for each in found_in if each is not None), None)
    texts = all(isinstance(line, str) for line in value["lines"])
    return wrong if wrong is not None or texts else "its lines are no texts"


def _fits(value: Any, shape: str) -> bool:
    if shape == Text:
        return isinstance(value, str)
    if shape == Whole:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if shape == Number:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return True


def _shown(value: Any) -> str:
    return message_line(repr(value), 60)


def fault_of(trial: FrozenTrial, tasks: Collection[str]) -> str | None:
    """The fault of a trial of a study that weighs `tasks`; None where nothing is."""
    attrs = trial.user_attrs
    shape = {name: part for name, part in OPTIONAL.items() if name in attrs}
    if trial.state is TrialState.COMPLETE:
        several = len(trial.values or ()) > 1
        if not trial.values or not all(_fits(value, Number) for value in trial.values):
            return f"its score is {_shown(trial.values)}"
        if several and not _fits(attrs.get("score"), Number):
            return f"its mean score is {_shown(attrs.get('score'))}"
        shape |= COMPLETE
    found = fault(attrs, shape, "its attributes")
    if found is None and "task_weights" in shape and not _are_of(attrs["task_weights"], tasks, attrs.get("task")):
        found = f"its task weights are of {_shown(list(attrs['task_weights']))}"
    if found is None and not all(
        _fits(step, Whole) and isinstance(score, int | float) for step, score in trial.intermediate_values.items()
    ):
        found = "a score of an epoch is no number"
    return found


def _are_of(weights: Mapping[str, float], tasks: Collection[str], alone: Any) -> bool:
    """Whether task weights are those of `tasks`, or of the one task that a training takes `alone`."""
    return set(weights) == set(tasks) or (list(weights) == [alone] and alone in tasks)


def as_failed(trial: FrozenTrial, reason: str) -> FrozenTrial:
    """The trial as a failed one, without the values that cannot be used."""
    failed = copy.copy(trial)
    failed.state, failed.values, failed.intermediate_values = TrialState.FAIL, None, {}
    failed.user_attrs = {"reason": damage(reason)}
    return failed


def is_damaged(trial: FrozenTrial) -> bool:
    """Whether a failed trial is one whose stored values cannot be used."""
    return str(trial.user_attrs.get("reason", "")).startswith(damage(""))


def damage(reason: str) -> str:
    """The reason of a trial whose stored values cannot be used."""
    return message_line(f"it is damaged in the store: {reason}", 300)


def check_info(name: str, info: Any) -> None:
    """Raise StoreError unless the definition of study `name`, as it is stored, can be read."""
    found = fault(info, INFO, "its definition")
    if found is None and set(info["fingerprint"]["tasks"]) != set(info["tasks"]):
        found = "its tasks are not those of its fingerprint"
    if found is not None:
        raise StoreError(f"study {name!r} is damaged in the store ({found}): restore a copy of the store")
