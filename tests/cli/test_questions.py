"""Questions on the command line and in Python: the trial that is shown and exported, and how a refusal ends."""

import json
from pathlib import Path

import pytest
from commands import done, refused
from known_trials import known_store

from mtlsearch.api import Result
from mtlsearch.errors import StoreError
from mtlsearch.study.study_file import load_study

REACHED = [[0.95, 0.95], [0.99, 0.80], [0.98, 0.96], [0.90, 0.98]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with known_store(tmp_path, REACHED):
        return tmp_path


def test_best_shows_the_trial_that_is_asked_for_and_why() -> None:
    out = done("best", "known", "--at-least", "mnist=0.97", "--maximize", "fashion").out
    assert out.splitlines()[0].startswith("trial 2 has the best fashion accuracy, 0.9600, of the 2 among 4")
    assert "known: trial 2, mean score 0.9700" in out


def test_json_has_the_sentences_of_the_answer() -> None:
    best = done("best", "known", "--knee", "--json").json
    assert best["trial"] == 2
    assert best["question"]["lines"][0].startswith("trial 2 is the knee of the front of 3 trials")


def test_export_writes_the_trial_that_is_asked_for_and_tells_why_on_stderr(here: Path) -> None:
    outcome = done("export", "known", "--maximize", "mnist", "-o", "x.json")
    assert "trial 1 has the best mnist accuracy" in outcome.err
    config = json.loads((here / "x.json").read_text())
    assert config["trial"] == 1
    assert "question" not in config
    assert done("export", "known", "--trial", "3").json["trial"] == 3


def test_requirements_that_nobody_meets_end_with_status_1() -> None:
    line = refused("best", "known", "--at-least", "mnist=0.999")
    assert "nobody reaches mnist accuracy ≥ 0.999 (best: 0.9900, trial 1)" in line


def test_a_wrong_question_is_wrong_usage() -> None:
    assert "no task 'digits'" in refused("best", "known", "--maximize", "digits", status=2)
    assert "a question has one of" in refused("best", "known", "--maximize", "mnist", "--knee", status=2)


def test_a_result_answers_the_same_questions(here: Path) -> None:
    result = Result(load_study("digits"), f"sqlite:///{here}/mtlsearch.db", "known", here, {})
    assert result.front["number"].tolist() == [1, 2, 3]
    assert result.choose(knee=True)["trial"] == 2
    assert result.choose(prefer={"mnist": 30, "fashion": 1})["trial"] == 1
    assert result.choose(at_least={"fashion": 0.97})["trial"] == 3
    with pytest.raises(StoreError, match="nobody reaches"):
        result.choose(at_least={"fashion": 0.99})
