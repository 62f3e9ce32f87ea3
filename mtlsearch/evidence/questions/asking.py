"""A question to a search, and the trial that answers it, from what its complete trials reached on validation.

Each answer is one seed's. It says so, names the trials that are as good within the margin, and where no trial meets
the requirements, which of them nobody met and who came nearest. Nothing here needs torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import StoreError, StudyError, UsageError
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.store.record import Record, exported
from mtlsearch.store.trials import best_of
from mtlsearch.study.front import knee, nearest, ranks
from mtlsearch.study.score import parsed_score, recorded_score
from mtlsearch.wording import few, listed, measured

MOST_NAMED = 4  # trials that are as good


@dataclass(frozen=True)
class Question:
    """What is asked of a trial: metrics that it must reach, by task, and one way to choose among those that do.

    `maximize` is a task, `prefer` weights by task, `knee` the knee of the front, `trial` a number. Without any of them
    the best score is meant.
    """

    at_least: Mapping[str, float] = field(default_factory=dict)
    maximize: str | None = None
    prefer: Mapping[str, float] = field(default_factory=dict)
    knee: bool = False
    trial: int | None = None


@dataclass(frozen=True)
class Answer:
    """The trial that answers a question, and the sentences that say why."""

    trial: FrozenTrial
    lines: Sequence[str]


def question(
    tasks: Sequence[str],
    *,
    at_least: Mapping[str, object] | None = None,
    maximize: str | None = None,
    prefer: str | Mapping[str, float] | None = None,
    knee: bool = False,
    trial: int | None = None,
) -> Question | None:
    """The question that these options ask of a study with `tasks`; None where they ask nothing. Raises UsageError."""
    ways = {
        "--maximize": maximize is not None,
        "--prefer": prefer is not None,
        "--knee": knee,
        "--trial": trial is not None,
    }
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"a question has one of {', '.join(ways)}, but got {listed(given)}")
    if trial is not None and at_least:
        raise UsageError("--trial names the trial itself: leave --at-least out")
    if not given and not at_least:
        return None
    if maximize is not None:
        check_task("--maximize", maximize, tasks)
    weights = {} if prefer is None else _weights(prefer, tasks)
    return Question(required("--at-least", at_least or {}, tasks), maximize, weights, knee, trial)


def required(flag: str, given: Mapping[str, object], tasks: Sequence[str]) -> dict[str, float]:
    """The metrics by task that an option TASK=VALUE names. Raises UsageError."""
    found = {}
    for task, value in given.items():
        check_task(f"{flag} {task}={value}:", task, tasks)
        try:
            found[task] = float(str(value))
        except ValueError:
            raise UsageError(f"{flag} {task}={value}: it must be a number") from None
        if not math.isfinite(found[task]):
            raise UsageError(f"{flag} {task}={value}: it must be finite")
    return found


def check_task(what: str, task: str, tasks: Sequence[str]) -> None:
    """Raise UsageError where `task` is none of `tasks`; `what` is what names it."""
    if task not in tasks:
        raise UsageError(f"{what} the study has no task {task!r}; it has {', '.join(tasks)}")


def _weights(given: str | Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    rule = "--prefer must be TASK=WEIGHT,TASK=WEIGHT"
    if isinstance(given, str) and "=" not in given:
        raise UsageError(f"{rule}, but got {given!r}")
    try:
        score = parsed_score(given, tasks) if isinstance(given, str) else parsed_score(_text(given), tasks)
    except StudyError as error:
        raise UsageError(f"--prefer {given}: {error}") from None
    found = score.weights(tasks)
    if len(found) < 2:
        raise UsageError(f"{rule}, for two tasks or more; --maximize {next(iter(found))} asks for the best in one")
    return found


def _text(weights: Mapping[str, float]) -> str:
    return ",".join(f"{task}={weight}" for task, weight in weights.items())


def answer(record: Record, asked: Question) -> Answer:
    """The trial of a search that answers the question. Raises StoreError where none does."""
    trials, metrics = record.trials(TrialState.COMPLETE), metrics_of(record.info)
    if asked.trial is not None:
        return Answer(numbered(record, asked.trial), ())
    if not trials:
        record.best()  # raises: no trial is complete
    meeting = [trial for trial in trials if not _short(trial, asked.at_least, metrics)]
    if not meeting:
        raise StoreError(_nobody(record.name, trials, asked.at_least, metrics))
    among = f"of {len(trials)} complete trials"
    if asked.at_least:
        what = listed([_requirement(task, value, metrics[task]) for task, value in asked.at_least.items()])
        among = f"of the {len(meeting)} among {len(trials)} complete trials that reach {what}"
    found, tasks, sentence = _chosen(record, asked, meeting, metrics, among)
    lines = [sentence, *_as_good(found, meeting, tasks, metrics)]
    lines.append(
        f"one training with one seed, on validation: `mtlsearch confirm {named(record)} --trial {found.number}` trains"
        " it again with fresh seeds"
    )
    return Answer(found, lines)


def asked_answer(record: Record, asked: Question) -> tuple[dict[str, Any], Record, FrozenTrial]:
    """The config of the trial that answers a question, and the record and trial that hold its parameters."""
    found = answer(record, asked)
    config = exported(record, found.trial)
    return {**config, "question": {"lines": list(found.lines)}}, record, found.trial


def named(record: Record) -> str:
    """The study as `confirm` takes it: a user's is named by its file, whose code runs."""
    source = str(record.info["source"] or "")
    if not source.endswith(".py"):
        return record.name
    return source if Path(source).stem == record.name else f"{source} --name {record.name}"


def numbered(record: Record, number: int) -> FrozenTrial:
    """The complete trial of that number. Raises StoreError where there is none."""
    for trial in record.trials():
        if trial.number == number:
            if trial.state is TrialState.COMPLETE:
                return trial
            ended = trial.user_attrs.get("reason") or trial.state.name.lower()
            raise StoreError(
                f"trial {number} of study {record.name!r} is not complete ({ended}): `mtlsearch trials` shows all"
            )
    raise StoreError(f"study {record.name!r} has no trial {number}: `mtlsearch trials` shows all")


def metrics_of(info: Mapping[str, Any]) -> dict[str, TaskMetric]:
    """The metric of each task that can be scored."""
    left_out = info.get("left_out", {})
    tasks: Mapping[str, Any] = info["tasks"]
    return {t: TaskMetric(a["metric"], a["higher_is_better"]) for t, a in tasks.items() if t not in left_out}


def scored_tasks(info: Mapping[str, Any]) -> list[str]:
    """The tasks that count in the score; of a study with one main task and others, all."""
    found = list(metrics_of(info))
    scored = list(recorded_score(info).weights(found))
    return scored if len(scored) > 1 else found


def value_of(trial: FrozenTrial, task: str, metric: TaskMetric) -> float:
    """A task's metric on validation, NaN where there is none."""
    value = trial.user_attrs.get("validation", {}).get(task, {}).get(metric.name)
    return math.nan if value is None else float(value)


def oriented(
    trials: Iterable[FrozenTrial], tasks: Iterable[str], metrics: Mapping[str, TaskMetric]
) -> NDArray[np.float64]:
    """The metrics on validation [trials, tasks], oriented so that higher is better."""
    tasks = list(tasks)
    rows = [[metrics[task].sign * value_of(trial, task, metrics[task]) for task in tasks] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(-1, len(tasks))


def front_of(
    trials: Sequence[FrozenTrial], tasks: Iterable[str], metrics: Mapping[str, TaskMetric]
) -> list[FrozenTrial]:
    """The trials that no other beats on every task, in their order."""
    values = oriented(trials, tasks, metrics)
    if not len(values):
        return []
    return [trial for trial, rank in zip(trials, ranks(values), strict=True) if rank == 0]


def _chosen(
    record: Record,
    asked: Question,
    meeting: Sequence[FrozenTrial],
    metrics: Mapping[str, TaskMetric],
    among: str,
) -> tuple[FrozenTrial, list[str], str]:
    """The trial among those that meet the requirements, the tasks that it is chosen by, and why, in a sentence."""
    tasks = scored_tasks(record.info)
    if asked.maximize is not None:
        task, metric = asked.maximize, metrics[asked.maximize]
        found = meeting[int(np.nanargmax(_all_finite(oriented(meeting, [task], metrics)[:, 0])))]
        told = f"trial {found.number} has the best {task} {metric.name}, {measured(value_of(found, task, metric))},"
        return found, [task], f"{told} {among}"
    if asked.prefer:
        tasks = list(asked.prefer)
        found = meeting[nearest(oriented(meeting, tasks, metrics), list(asked.prefer.values()))]
        least = min(asked.prefer.values())
        ratio = " : ".join(f"{weight / least:.3g}" for weight in asked.prefer.values())
        told = f"trial {found.number} is nearest to the best of {listed(tasks)}, weighed {ratio}, {among}"
        return found, tasks, told
    if asked.knee:
        if len(tasks) < 2:
            raise UsageError("--knee needs two tasks or more: the study has one")
        place = knee(oriented(meeting, tasks, metrics))
        found, count = meeting[place.row], len(front_of(meeting, tasks, metrics))
        front = "1 trial" if count == 1 else f"{count} trials"
        if place.clear:
            return found, tasks, f"trial {found.number} is the knee of the front of {front}, {among}"
        told = f"undetermined: the front of {front} has no clear knee; trial {found.number} is the most even, {among}"
        return found, tasks, told
    best = best_of(meeting)
    assert best is not None
    return best, tasks, f"trial {best.number} has the best score {among}"


def _all_finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, -np.inf)


def _as_good(
    found: FrozenTrial, meeting: Sequence[FrozenTrial], tasks: Sequence[str], metrics: Mapping[str, TaskMetric]
) -> list[str]:
    """A line on the other trials that differ from the answer by no more than the margins."""

    def close(other: FrozenTrial) -> bool:
        pairs = ((value_of(found, t, metrics[t]), value_of(other, t, metrics[t]), metrics[t]) for t in tasks)
        return all(abs(a - b) <= metric.margin([a]) for a, b, metric in pairs)

    same = [str(other.number) for other in meeting if other.number != found.number and close(other)]
    if not same:
        return []
    trials = f"trial {same[0]} is" if len(same) == 1 else f"trials {few(same, MOST_NAMED)} are"
    return [f"undetermined within the margin: {trials} as good in {listed(tasks)}"]


def _requirement(task: str, value: float, metric: TaskMetric) -> str:
    return f"{task} {metric.name} {'≥' if metric.higher_is_better else '≤'} {value:g}"


def _short(trial: FrozenTrial, due: Mapping[str, float], metrics: Mapping[str, TaskMetric]) -> dict[str, float]:
    """By task how far a trial is from what it must reach, without the tasks in which it reaches it."""
    by = {task: metrics[task].sign * (least - value_of(trial, task, metrics[task])) for task, least in due.items()}
    return {task: math.inf if math.isnan(short) else short for task, short in by.items() if not short <= 0}


def _nobody(
    name: str, trials: Sequence[FrozenTrial], due: Mapping[str, float], metrics: Mapping[str, TaskMetric]
) -> str:
    """Which requirement no trial meets, and the trial that comes nearest to all of them."""
    parts = []
    for task, value in due.items():
        if all(_short(trial, {task: value}, metrics) for trial in trials):
            best = trials[int(np.argmax(_all_finite(oriented(trials, [task], metrics)[:, 0])))]
            reached = measured(value_of(best, task, metrics[task]))
            parts.append(
                f"nobody reaches {_requirement(task, value, metrics[task])} (best: {reached}, trial {best.number})"
            )
    if not parts:
        what = listed([_requirement(task, value, metrics[task]) for task, value in due.items()])
        parts.append(f"each is met by some trial, but {what} by none together")

    # Shortfalls of unlike metrics are compared by how far the trials spread in each.
    spread = {task: float(np.ptp(oriented(trials, [task], metrics))) or 1.0 for task in due}

    def far(trial: FrozenTrial) -> float:
        return sum(short / spread[task] for task, short in _short(trial, due, metrics).items())

    near = min(trials, key=lambda trial: (far(trial), trial.number))
    by = listed([f"{task} by {measured(short)}" for task, short in _short(near, due, metrics).items()])
    return (
        f"no trial of {len(trials)} meets the requirements: {'; '.join(parts)}. Trial {near.number} comes nearest, it"
        f" misses {by}: `mtlsearch best {name} --trial {near.number}` shows it"
    )
