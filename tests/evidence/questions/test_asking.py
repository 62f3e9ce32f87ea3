"""Questions to a store whose trials are known: each form has one right answer."""

from pathlib import Path

import pytest
from known_trials import known_store

from mtlsearch.errors import StoreError, UsageError
from mtlsearch.evidence.questions.asking import Question, answer, question

TASKS = ["mnist", "fashion"]
REACHED = [
    [0.950, 0.950],  # 0: beaten by 2
    [0.990, 0.800],  # 1: the best of mnist
    [0.980, 0.960],  # 2: the knee
    [0.900, 0.980],  # 3: the best of fashion
    [0.985, 0.850],  # 4
    [0.930, 0.970],  # 5
]


def asked(folder: Path, question: Question, reached: list[list[float]] = REACHED) -> tuple[int, str]:
    with known_store(folder, reached) as record:
        found = answer(record, question)
    return found.trial.number, "\n".join(found.lines)


def test_maximize_gives_the_best_of_a_task(tmp_path: Path) -> None:
    number, told = asked(tmp_path, Question(maximize="fashion"))
    assert number == 3
    assert told.startswith("trial 3 has the best fashion accuracy, 0.9800, of 6 complete trials")
    assert "mtlsearch confirm known --trial 3" in told


def test_requirements_narrow_the_choice(tmp_path: Path) -> None:
    number, told = asked(tmp_path, Question(at_least={"mnist": 0.985}, maximize="fashion"))
    assert number == 4
    assert "of the 2 among 6 complete trials that reach mnist accuracy ≥ 0.985" in told


def test_requirements_alone_give_the_best_score(tmp_path: Path) -> None:
    assert asked(tmp_path, Question(at_least={"fashion": 0.965}))[0] == 5


@pytest.mark.parametrize(("mnist", "fashion", "number"), [(1, 30, 3), (1, 9, 5), (1, 1, 2), (30, 1, 1)])
def test_preferences_move_along_the_front(tmp_path: Path, mnist: float, fashion: float, number: int) -> None:
    found, told = asked(tmp_path, Question(prefer={"mnist": mnist, "fashion": fashion}))
    assert found == number
    assert f"is nearest to the best of mnist and fashion, weighed {mnist} : {fashion}, of 6" in told


def test_knee_is_the_trial_that_stands_out(tmp_path: Path) -> None:
    number, told = asked(tmp_path, Question(knee=True))
    assert number == 2
    assert told.startswith("trial 2 is the knee of the front of 5 trials")


def test_front_without_a_knee_is_undetermined(tmp_path: Path) -> None:
    straight = [[0.90 + i / 100, 0.98 - i / 100] for i in range(5)]
    number, told = asked(tmp_path, Question(knee=True), straight)
    assert number == 2
    assert told.startswith("undetermined: the front of 5 trials has no clear knee; trial 2 is the most even")


def test_trials_within_the_margin_are_named(tmp_path: Path) -> None:
    _, told = asked(tmp_path, Question(maximize="fashion"), [*REACHED, [0.5, 0.979]])
    assert "undetermined within the margin: trial 6 is as good in fashion" in told


def test_a_metric_where_lower_is_better_is_asked_for_at_most(tmp_path: Path) -> None:
    with known_store(tmp_path, [[0.9, 5.0], [0.8, 3.0], [0.7, 2.0]], {"a": "accuracy", "b": "mae"}) as record:
        assert answer(record, Question(at_least={"b": 4.0}, maximize="a")).trial.number == 1
        assert answer(record, Question(maximize="b")).trial.number == 2


def test_a_requirement_that_nobody_meets_is_named_with_who_came_nearest(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        asked(tmp_path, Question(at_least={"mnist": 0.98, "fashion": 0.99}))
    told = str(refused.value)
    assert "nobody reaches fashion accuracy ≥ 0.99 (best: 0.9800, trial 3)" in told
    assert "mnist accuracy" not in told
    assert "Trial 2 comes nearest, it misses fashion by 0.03000" in told
    assert "`mtlsearch best known --trial 2`" in told


def test_requirements_that_are_met_one_by_one_only_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        asked(tmp_path, Question(at_least={"mnist": 0.985, "fashion": 0.97}))
    assert "each is met by some trial, but mnist accuracy ≥ 0.985 and fashion accuracy ≥ 0.97 by none" in str(
        refused.value
    )


def test_a_trial_is_asked_for_by_its_number(tmp_path: Path) -> None:
    with known_store(tmp_path, REACHED) as record:
        found = answer(record, Question(trial=4))
        assert (found.trial.number, found.lines) == (4, ())
        with pytest.raises(StoreError, match="has no trial 9"):
            answer(record, Question(trial=9))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"maximize": "digits"}, "the study has no task 'digits'; it has mnist, fashion"),
        ({"at_least": {"digits": 1}}, "the study has no task 'digits'"),
        ({"at_least": {"mnist": "much"}}, "--at-least mnist=much: it must be a number"),
        ({"prefer": "mnist"}, "--prefer must be TASK=WEIGHT"),
        ({"prefer": "mnist=2"}, "--maximize mnist asks for the best in one"),
        ({"prefer": "mnist=2,digits=1"}, "digits"),
        ({"maximize": "mnist", "knee": True}, "a question has one of"),
        ({"trial": 3, "at_least": {"mnist": 0.5}}, "leave --at-least out"),
    ],
)
def test_a_question_that_cannot_be_is_refused_in_one_line(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        question(TASKS, **options)  # type: ignore[arg-type]
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_options_that_ask_nothing_are_no_question() -> None:
    assert question(TASKS) is None
