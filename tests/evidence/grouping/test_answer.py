"""The rule that recommends a grouping: the simplest, unless another one is shown to be better."""

import numpy as np
import pytest

from mtlsearch.errors import StudyError
from mtlsearch.evidence.grouping.affinity import Affinities, Grouping, candidates, in_words
from mtlsearch.evidence.grouping.answer import Answer, Tried
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.study.score import Score, Values

METRICS = {"a": TaskMetric(), "b": TaskMetric(), "c": TaskMetric()}
TOGETHER: Grouping = (("a", "b", "c"),)
TWO: Grouping = (("a", "b"), ("c",))
ALONE: Grouping = (("a",), ("b",), ("c",))
NOISE = np.array([0.001, -0.002, 0.0015, -0.0005, 0.0])


def tried(grouping: Grouping, gain: float, shift: int = 1) -> Tried:
    """A grouping whose accuracy is 0.8 and the gain, with noise of its own."""
    values = list(0.8 + gain + np.roll(NOISE, shift))
    return Tried(grouping, (), dict.fromkeys(METRICS, values), 0.8 + gain, 100 * len(grouping), float(len(grouping)))


def answer(two: float, alone: float) -> Answer:
    found = [tried(TOGETHER, 0.0, 0), tried(TWO, two, 1), tried(ALONE, alone, 2)]
    return Answer.of(found, METRICS, Score("mean"), seeds=5)


@pytest.mark.parametrize(
    ("two", "alone", "kept", "first"),
    [
        (0.0, 0.0, 0, "train all tasks together, the simplest: nothing shows that another grouping is better"),
        (-0.02, -0.03, 0, "train all tasks together: no other grouping is better"),
        (0.05, 0.0, 1, "train a with b; c alone: it beats one trunk of all tasks by 4.7 to 5.3 points"),
        (0.05, 0.051, 1, "train a with b; c alone: it beats"),  # alone is not shown to be better than two trunks
        (0.02, 0.05, 2, "train a alone; b alone; c alone: it beats"),
        (0.0, 0.05, 2, "train a alone; b alone; c alone: it beats"),
    ],
)
def test_recommended_is_the_simplest_that_nothing_is_shown_to_beat(
    two: float, alone: float, kept: int, first: str
) -> None:
    found = answer(two, alone)
    assert found.recommended == kept
    assert found.lines()[0].startswith(first[: len("train a with b; c alone: it beats")])


def test_one_seed_shows_nothing() -> None:
    values = [tried(TOGETHER, 0.0), tried(ALONE, 0.1)]
    one = [Tried(t.grouping, (), {k: v[:1] for k, v in t.test.items()}, 0, 1, 1) for t in values]
    found = Answer.of(one, METRICS, Score("mean"), seeds=1)
    assert found.recommended == 0
    assert found.lines()[1].startswith("undecided whether a alone; b alone; c alone beats all together: one seed")


def test_no_win_is_announced_where_groupings_differ_by_noise_alone() -> None:
    random, wins, repeats = np.random.default_rng(0), 0, 400
    for _ in range(repeats):
        found = [
            Tried(g, (), {t: list(0.8 + 0.01 * random.normal(size=5)) for t in METRICS}, random.normal(), 1, 1)
            for g in (TOGETHER, TWO, ALONE)
        ]
        wins += Answer.of(found, METRICS, Score("mean"), seeds=5).recommended != 0
    assert wins / repeats <= 0.05


def affinities(**beside: dict[str, float]) -> Affinities:
    alone = {task: [0.7, 0.7] for task in METRICS}
    pairs = {task: {other: [0.7 + by] * 2 for other, by in beside[task].items()} for task in METRICS}
    return Affinities(list(METRICS), METRICS, alone, pairs)


def test_groupings_follow_from_the_gains_of_pairs() -> None:
    measured = affinities(a={"b": 0.1, "c": -0.2}, b={"a": 0.1, "c": -0.2}, c={"a": -0.1, "b": -0.1})
    found = measured.best(Score("mean"))
    assert [grouping for grouping, _ in found] == [TOGETHER, TWO, ALONE]
    assert found[1][1] == pytest.approx((0.8 + 0.8 + 0.7) / 3)
    assert candidates(measured, Score("mean"), found, 2) == [TOGETHER, TWO, ALONE]
    assert candidates(measured, Score("mean"), found, 0) == [TOGETHER, ALONE]


def test_of_groupings_that_validation_cannot_tell_apart_the_simplest_is_confirmed() -> None:
    metrics = {task: TaskMetric() for task in "abcd"}
    alone = {task: [0.70, 0.71, 0.72] for task in "abcd"}
    near, far = [0.69, 0.71, 0.715], [0.5, 0.51, 0.52]
    friends = {"a": "b", "b": "a", "c": "d", "d": "c"}
    beside = {t: {o: near if friends[t] == o else far for o in "abcd" if o != t} for t in "abcd"}
    found = Affinities("abcd", metrics, alone, beside)
    best = found.best(Score("mean"))
    assert best[2][1] > best[1][1]
    assert candidates(found, Score("mean"), best, 1)[1] == (("a", "b"), ("c", "d"))


def test_an_error_is_better_when_it_is_lower() -> None:
    metrics = {task: TaskMetric("mae", higher_is_better=False) for task in "ab"}
    found = Affinities("ab", metrics, {"a": [2.0], "b": [2.0]}, {"a": {"b": [1.0]}, "b": {"a": [1.5]}})
    assert found.gain("a", "b").mean == 1.0
    best = found.best(Score("mean"))
    assert best[0][1] > best[1][1]


def lowest_of(values: Values) -> float:
    return min(values.values())


def test_a_score_that_is_a_function_ranks_by_margins() -> None:
    metrics = {"a": TaskMetric(), "b": TaskMetric("mae", higher_is_better=False)}
    beside = {"a": {"b": [0.75]}, "b": {"a": [1000.5]}}  # 25 margins better, and 0.05 margins worse
    best = Affinities("ab", metrics, {"a": [0.7], "b": [1000.0]}, beside).best(Score(lowest_of))
    assert best[0][1] > best[1][1]


def test_a_task_that_fails_alone_is_told() -> None:
    found = Affinities("ab", {t: TaskMetric() for t in "ab"}, {"a": [np.nan], "b": [0.5]}, {"a": {"b": [0.5]}})
    with pytest.raises(StudyError, match="task 'a' alone failed with every seed"):
        found.best(Score("mean"))


def test_words() -> None:
    assert in_words((("left", "right"), ("noise",))) == "left with right; noise alone"
    assert in_words((("left", "right"),), ("noise",)) == "left with right; without noise"
