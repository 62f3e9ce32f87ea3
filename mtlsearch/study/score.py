"""The score: the number that a search maximises, from the tasks' metrics, oriented so that higher is better.

A task whose weight in the score is 0 is auxiliary: it is trained to help the others, and may be dropped. Nothing here
needs torch.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlsearch.errors import StudyError

Values = Mapping[str, float]  # one number of each task, oriented so that higher is better
MEAN, MIN, PARETO, LOG_ERROR = "mean", "min", "pareto", "log_error"
NAMED = (MEAN, MIN, LOG_ERROR, PARETO)
CALLABLE = "callable"
TINY = 1e-300  # an error of 0 counts as this


@dataclass(frozen=True)
class Score:
    """The score of a study: `of` is `mean` or `min` over the tasks, a task, weights by task, or a callable.

    `log_error` is the mean of −log₁₀ of the tasks' errors: one more is a tenth of the error.
    With `pareto` each task's metric is a value of its own, and the best trials are the front. Where one number is
    needed, as to compare the epochs of a trial, it is the mean.
    Weights are 0 or more; only their ratios matter. A callable takes {task: metric} with every metric oriented so that
    higher is better. `name` is what it is called, by default its own name. `margin` is the difference in score that
    does not matter, by default what the margins of the tasks' metrics come to. Raises StudyError.
    """

    of: str | Mapping[str, float] | Callable[[Values], float] = MEAN
    name: str = ""
    margin: float | None = None

    def __post_init__(self) -> None:
        if not (callable(self.of) or isinstance(self.of, str | Mapping)):
            raise StudyError(
                f"score must be {', '.join(NAMED)}, a task, weights by task, or a callable, but got {self.of!r}"
            )
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise StudyError(f"the margin of a score must be 0 or more, but got {self.margin}")
        if isinstance(self.of, Mapping):
            _check_weights(self.of)
        if not self.name:
            object.__setattr__(self, "name", _name(self.of))

    @property
    def kind(self) -> str:
        """`mean`, `min`, `log_error`, `pareto`, `weighted` or `callable`."""
        if isinstance(self.of, str):
            return self.of if self.of in NAMED else "weighted"
        return "weighted" if isinstance(self.of, Mapping) else CALLABLE

    def check(self, tasks: Sequence[str]) -> None:
        """Raise StudyError where the score names a task that is not one of `tasks`, or has too few of them."""
        if self.kind == PARETO and len(tasks) < 2:
            raise StudyError(f"score {PARETO} trades tasks off against each other, but the study has one: use {MEAN}")
        for task in self._weights:
            if task not in tasks:
                named = f"{', '.join(NAMED)} or tasks" if isinstance(self.of, str) else "tasks"
                raise StudyError(f"score must name {named} ({', '.join(tasks)}), but got {task!r}")

    def check_metrics(self, higher_is_better: Mapping[str, bool]) -> None:
        """Raise StudyError where the score takes errors, and a scored task's metric is none."""
        for task in self.weights(list(higher_is_better)):
            if self.kind == LOG_ERROR and higher_is_better[task]:
                raise StudyError(
                    f"score {LOG_ERROR} needs metrics that are errors, but higher is better in that of {task!r}:"
                    f" use {MEAN}, or score other tasks"
                )

    def weights(self, tasks: Sequence[str]) -> dict[str, float]:
        """The weight of each scored task, Σ = 1; the others are auxiliary. A callable's and `min`'s are equal."""
        given = self._weights or dict.fromkeys(tasks, 1.0)
        total = math.fsum(given.values())
        return {task: given[task] / total for task in tasks if given.get(task, 0) > 0}

    def of_tasks(self, tasks: Sequence[str]) -> "Score":
        """The score of some of the tasks: a callable, or weights of other tasks alone, become the mean."""
        kept = {task: weight for task, weight in self._weights.items() if task in tasks and weight > 0}
        if self.kind == "weighted" and kept:
            return Score(kept)
        return Score(self.kind if self.kind in (MIN, LOG_ERROR) else MEAN)

    def value(self, values: Values) -> float:
        """The score of oriented metrics; those of auxiliary tasks do not count."""
        if callable(self.of):
            return float(self.of(values))
        if self.kind == MIN:
            return min(values.values())
        if self.kind == LOG_ERROR:
            return math.fsum(_log_error(value) for value in values.values()) / len(values)
        if self.kind in (MEAN, PARETO):
            return sum(values.values()) / len(values)
        return math.fsum(weight * values[task] for task, weight in self.weights(list(values)).items())

    def margin_at(self, values: Values, margins: Values) -> float:
        """The difference in score that does not matter: that of every metric changing by its margin, at `values`."""
        if self.margin is not None:
            return self.margin
        if self.kind not in (CALLABLE, LOG_ERROR):
            return self.value(margins)
        moved = self.value({task: value + margins[task] for task, value in values.items()})
        change = abs(moved - self.value(values))
        return change if math.isfinite(change) else 0.0

    def describe(self) -> dict[str, Any]:
        """The score as the store keeps it; a callable is known by its name, and its code by the fingerprint."""
        return {"kind": self.kind, "weights": dict(self._weights), "margin": self.margin}

    @property
    def _weights(self) -> Mapping[str, float]:
        """The weights as they were given, empty where the score names no task."""
        if isinstance(self.of, str):
            return {} if self.of in NAMED else {self.of: 1.0}
        return self.of if isinstance(self.of, Mapping) else {}


def parsed_score(text: str, tasks: Sequence[str]) -> Score:
    """The score that a text names: `mean`, `min`, `pareto`, `TASK`, or `TASK=WEIGHT,TASK=WEIGHT`. Raises StudyError."""
    if text in (*NAMED, *tasks):
        return Score(text)
    weights = {}
    for part in _parts(text, tasks):
        task, equals, number = ("", "", part) if part in tasks else part.rpartition("=")
        try:
            weights[task if equals else number] = float(number) if equals else 1.0
        except ValueError:
            raise StudyError(f"score must be TASK=WEIGHT with a number, but got {part.strip()!r}") from None
    score = Score(weights if "=" in text or "," in text else text)
    score.check(tasks)
    return score


def _parts(text: str, tasks: Sequence[str]) -> Iterator[str]:
    """The parts between the commas of `text`; where a task's name has commas, the longest name that fits is taken."""
    left, most = text.split(","), 1 + max((task.count(",") for task in tasks), default=0)
    while left:
        starts = {n: ",".join(left[:n]).strip() for n in range(min(most, len(left)), 0, -1)}
        size = next((n for n, part in starts.items() if _names(part, tasks)), 1)
        yield starts[size]
        left = left[size:]


def _names(part: str, tasks: Sequence[str]) -> bool:
    """Whether a part is TASK or TASK=WEIGHT."""
    task, _, number = part.rpartition("=")
    return part in tasks or (task in tasks and "," not in number)


def recorded_score(info: Mapping[str, Any]) -> Score:
    """The score that a store describes. A callable's value is not known without its study: it gives NaN."""
    name, about = info["score"], info.get("scoring")
    if about is None:  # written before scores had weights
        return Score(name) if name in NAMED else Score(_unknown, name)
    if about["kind"] == CALLABLE:
        return Score(_unknown, name, about["margin"])
    return Score(about["weights"] or about["kind"], name, about["margin"])


def _log_error(oriented: float) -> float:
    """−log₁₀ of an error that was oriented so that higher is better; NaN for what is no error."""
    return math.nan if not oriented <= 0 else -math.log10(max(-oriented, TINY))


def _unknown(values: Values) -> float:
    return math.nan


def _check_weights(weights: Mapping[str, float]) -> None:
    for task, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise StudyError(f"the weight of a task in the score must be 0 or more, but {task!r} has {weight!r}")
    if not any(weights.values()):
        raise StudyError("the score must give a task a weight above 0, but all of them are 0")


def _name(of: str | Mapping[str, float] | Callable[[Values], float]) -> str:
    if isinstance(of, str):
        return of
    if not isinstance(of, Mapping):
        name = str(getattr(of, "__name__", type(of).__name__))
        return "score" if name == "<lambda>" else name
    counted = {task: weight for task, weight in of.items() if weight}
    (first, *others) = counted
    alone = not others and first not in NAMED
    return first if alone else ",".join(f"{task}={weight:g}" for task, weight in counted.items())
