"""Weights that tasks share: groups, and the number of labels to a power; what a study takes by itself, and refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import STUDY_FILE, command, done
from problems import NOWHERE, config, joint, joint_source, trunk

from mtlsearch import Regression, Study, real
from mtlsearch.errors import MtlsearchError, StudyError
from mtlsearch.study.describe import weights_lines
from mtlsearch.study.loaded import load_data
from mtlsearch.study.weights.shared_weights import MANY, MOST_EACH, GroupWeights, PowerOfLabels, by_labels
from mtlsearch.study.weights.task_weights import GROUP_PREFIX, LABEL_POWER, LogRatios
from mtlsearch.wording import EACH

TASKS = ["a", "b", "c", "d", "e"]
LABELS = {"a": 10, "b": 1000, "c": 100, "d": 10, "e": 0}
GROUPS = {"first": ["a", "d"], "second": ["b"], "third": ["c", "e"]}


@pytest.mark.parametrize("power", [-1.0, -0.3, 0.0, 0.5, 1.0])
def test_weights_follow_the_number_of_labels_to_the_power(power: float) -> None:
    space = PowerOfLabels(TASKS, LABELS)
    weights = space.weights({LABEL_POWER: power})
    assert math.fsum(weights.values()) == pytest.approx(1)
    assert weights["b"] / weights["a"] == pytest.approx(100**power)
    assert weights["a"] == weights["d"]
    assert weights["e"] / weights["a"] == pytest.approx(0.1**power)  # without labels as with one
    assert space.params(weights)[LABEL_POWER] == pytest.approx(power)


def test_groups_share_a_weight_and_begin_equal() -> None:
    space = GroupWeights(TASKS, GROUPS, range=100)
    assert list(space.distributions) == [f"{GROUP_PREFIX}first", f"{GROUP_PREFIX}second"]
    assert space.weights(dict.fromkeys(space.distributions, 0.0)) == pytest.approx(space.default())
    params = {f"{GROUP_PREFIX}first": 1.2, f"{GROUP_PREFIX}second": -0.4}
    weights = space.weights(params)
    assert math.fsum(weights.values()) == pytest.approx(1)
    assert list(weights) == TASKS
    assert weights["a"] == weights["d"] != weights["b"]
    assert weights["c"] == weights["e"]
    assert space.params(weights) == pytest.approx(params)


def test_two_groups_reach_as_far_as_two_tasks_do() -> None:
    groups = GroupWeights(TASKS, {"one": ["a", "b", "c"], "other": ["d", "e"]}, range=50)
    (name, distribution), *rest = groups.distributions.items()
    assert not rest
    weights = groups.weights({name: distribution.high})
    assert weights["a"] / weights["d"] == pytest.approx(50)


def test_quarters_by_labels_hold_each_task_once() -> None:
    found = by_labels(TASKS, LABELS)
    assert [len(tasks) for tasks in found.values()] == [1, 1, 2, 1]
    assert [*found["labels 1"], *found["labels 2"], *found["labels 3"], *found["labels 4"]] == ["e", "a", "d", "c", "b"]
    assert by_labels(["x", "y"], {}) == {"labels 1": ["x"], "labels 2": ["y"]}


def many(count: int, **changes) -> Study:
    names = [f"v{i}" for i in range(count)]
    source = joint_source()

    def columns(directory):
        data = source(directory)
        for part in data.parts:
            part.labels.update({name: part.labels["amount"].clone() for name in names})
            part.labels["v0"][::2] = torch.nan
        return data

    study = Study(
        [Regression(name, columns) for name in names],
        model=trunk(dict.fromkeys(names, 1)),
        space={"learning_rate": real(1e-4, 1e-1, log=True)},
        default={"learning_rate": 1e-3},
    )
    return replace(study, **changes)


def test_a_weight_of_each_is_searched_until_tasks_are_many() -> None:
    few, more = many(MOST_EACH), many(MOST_EACH + 1)
    assert few.weights_choice == EACH
    assert isinstance(few.weight_space, LogRatios)
    assert "weights" not in load_data(few, NOWHERE).fingerprint()
    assert more.weights_choice == MANY
    assert load_data(more, NOWHERE).fingerprint()["weights"] == MANY
    assert isinstance(many(MOST_EACH + 1, weights="each").weight_space, LogRatios)


def test_a_weight_of_each_is_searched_where_there_is_nothing_else_to_search() -> None:
    assert many(MOST_EACH + 1, space={}, default={}).weights_choice == EACH


def test_tasks_of_as_many_labels_have_equal_weights() -> None:
    space = PowerOfLabels(TASKS, dict.fromkeys(TASKS, 7.0))
    assert space.distributions == space.params(space.default()) == {}
    assert space.weights({}) == pytest.approx(space.default())


def test_the_run_says_how_it_sets_the_weights_of_many_tasks() -> None:
    (line,) = weights_lines(many(MOST_EACH + 1))
    assert line.startswith(f"{MOST_EACH + 1} tasks: their weights are equal, since ")
    assert weights_lines(many(MOST_EACH)) == weights_lines(many(MOST_EACH + 1, weights="groups")) == []


def test_counts_of_labels_come_from_the_training_data() -> None:
    study = load_data(many(3, weights="labels"), NOWHERE).study
    counts = study.label_counts
    assert counts["v1"] == counts["v2"]
    assert counts["v0"] == pytest.approx(counts["v1"] / 2, abs=12)
    weights = study.weight_space.weights({LABEL_POWER: 1.0})
    assert weights["v0"] / weights["v1"] == pytest.approx(counts["v0"] / counts["v1"])


def test_equal_weights_are_not_searched() -> None:
    study = joint(weights="equal")
    assert study.search_space.distributions == study.space
    assert study.default_config().task_weights == pytest.approx(dict.fromkeys(study.task_names, 0.25))


def test_a_study_of_one_of_its_tasks_keeps_its_groups() -> None:
    study = joint(weights={"texts": ["kind", "tags"], "numbers": ["amount", "own"]})
    assert study.only("kind").weights == {"texts": ["kind"]}
    assert config(study.only("kind")).task_weights == {"kind": 1.0}


@pytest.mark.parametrize(
    ("weights", "rule"),
    [
        ("best", "weights must be auto, each, equal, labels, groups or groups of tasks by name, but got 'best'"),
        (0.5, "weights must be a word or groups, {name: [task, …]}, but got 0.5"),
        ({"all": "kind"}, "weights must be a word or groups"),
        ({"x": ["kind", "tags", "amount"]}, "weights must have each task in one group, but has 'own' in none"),
        (
            {"x": ["kind", "tags", "amount", "own"], "y": ["tags"]},
            "weights must have each task in one group, but has 'tags' in two",
        ),
        ({"x": ["kind", "other"]}, "weights names 'other', which is no task or term of the study"),
    ],
)
def test_wrong_weights_are_refused_with_the_rule(weights, rule: str) -> None:
    with pytest.raises(StudyError) as raised:
        joint(weights=weights)
    assert rule in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_search_keeps_its_choice_and_its_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(STUDY_FILE)
    solo = ("--threads", "1", "--population", "1", "--no-confirm", "--quiet")
    done("run", "own.py", "--trials", "3", "--weights", "labels", *solo)
    done("run", "own.py", "--trials", "4", *solo)  # as it was begun
    refused = command("run", "own.py", "--trials", "5", "--weights", "each", *solo)
    assert refused.status != 0
    assert len(refused.err.splitlines()) == 1
    done("export", "own", "-o", "best.json", "--search")
    found = json.loads(Path("best.json").read_text())
    assert math.fsum(found["task_weights"].values()) == pytest.approx(1)
    assert done("verify", "best.json", "--study", "own.py", "--threads", "1", "--json").json["rule"] == "bitwise"
    wrong = command("run", "own.py", "--weights", "best")
    assert wrong.status == 2
    assert "each" in wrong.err


def test_a_fixed_weight_needs_a_weight_of_each() -> None:
    with pytest.raises(MtlsearchError, match="the space has no 'weight:kind'"):
        joint(weights="labels").fixed("weight:kind", "0.5")
