"""`train` and `verify`: one config trained again, and its result held against what was recorded."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SOLO, STUDY_FILE, command, done
from optuna.trial import TrialState
from problems import NOWHERE, joint, joint_source, squared, trunk

from mtlsearch import CustomTask, load_model
from mtlsearch.errors import StudyError
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.record import exported as exported_config
from mtlsearch.study.loaded import load_data
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.retrain import tolerance, train_config


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exported(*arguments: str) -> dict[str, object]:
    """Search `digits` shortly and export the best config to best.json."""
    done("run", "digits", "--trials", "3", "--epochs", "2", *SOLO, "--quiet", *arguments)
    done("export", "digits", "--search", "-o", "best.json")
    return dict(json.loads(Path("best.json").read_text()))


def test_train_of_a_study_uses_its_default_config_with_equal_weights(here: Path) -> None:
    outcome = done("train", "digits", "--epochs", "2", "--threads", "1", "--json", "-o", "m.safetensors")
    result = outcome.json
    assert result["hyperparameters"]["hidden"] == 64
    assert result["task_weights"] == {"left": 0.5, "right": 0.5}
    assert set(result["test"]) == set(result["validation"]) == {"left", "right"}
    assert result["test_scorings"] == 1
    assert [line.split(":")[1].strip() for line in outcome.err.splitlines()] == ["epoch 1", "epoch 2"]
    model = load_model("m.safetensors")
    assert set(model({"left": torch.zeros(1, 12, 12), "right": torch.zeros(1, 12, 12)})) == {"left", "right"}


def test_train_of_an_exported_config_gives_its_recorded_validation(here: Path) -> None:
    config = exported()
    result = done("train", "best.json", "--threads", "1", "--json", "--quiet")
    assert result.err == ""
    assert result.json["validation"] == config["validation"]
    assert result.json["task_weights"] == config["task_weights"]


def test_result_of_train_can_be_verified(here: Path) -> None:
    Path("m.json").write_text(done("train", "digits", "--epochs", "1", "--threads", "1", "--json").out)
    assert done("verify", "m.json", "--threads", "1", "--json").json["rule"] == "bitwise"


def test_verify_of_the_searchs_best_agrees_bit_for_bit(here: Path) -> None:
    exported()
    result = done("verify", "best.json", "--json").json
    assert result["agrees"]
    assert result["rule"] == "bitwise"
    assert all(row["recorded"] == row["now"] for row in result["metrics"])
    assert "agrees (rule: bitwise)" in done("verify", "best.json").out


def test_verify_of_a_trial_of_a_population_agrees(here: Path) -> None:
    exported("--population", "2")
    result = done("verify", "best.json", "--json").json
    assert result["agrees"]
    assert all(row["recorded"] == pytest.approx(row["now"], abs=0.01) for row in result["metrics"])


def test_a_random_trial_of_a_population_run_replayed_by_verify_has_the_same_metrics(here: Path) -> None:
    done(
        "run",
        "digits",
        "--trials",
        "9",
        "--epochs",
        "3",
        "--population",
        "4",
        "--threads",
        "1",
        "--no-confirm",
    )
    with open_storage("sqlite:///mtlsearch.db", create=False) as storage:
        record = find_record(storage, "digits", here)
        complete = [t for t in record.trials(TrialState.COMPLETE) if t.user_attrs["entry_epoch"] > 0]
        trial = random.Random(5).choice(complete)
        config = exported_config(record, trial)
    assert config["training"]["trainer"] == "population"
    Path("any.json").write_text(json.dumps(config))
    result = done("verify", "any.json", "--json").json
    assert result["agrees"]
    if config["training"]["lane_slots"] is not None:
        assert result["rule"] == "bitwise"


def test_verify_of_a_doctored_metric_fails_and_names_it(here: Path) -> None:
    config = exported()
    config["validation"]["left"]["accuracy"] += 0.1  # type: ignore[index]
    Path("best.json").write_text(json.dumps(config))
    outcome = command("verify", "best.json", "--json")
    assert outcome.status == 1
    assert {row["task"]: row["agrees"] for row in outcome.json["metrics"]} == {"left": False, "right": True}
    shown = command("verify", "best.json")
    assert shown.status == 1
    assert "DIFFERS" in shown.out


def test_verify_under_other_conditions_allows_a_tolerance_and_says_so(here: Path) -> None:
    config = exported()
    config["training"]["device"] = "cuda:0"  # type: ignore[index]
    Path("best.json").write_text(json.dumps(config))
    result = done("verify", "best.json", "--json").json
    assert result["rule"] == "tolerance"
    assert all(row["allowed"] >= 0.002 for row in result["metrics"])


def test_tolerance_is_three_standard_errors_but_at_least_a_fifth_of_a_point() -> None:
    assert tolerance(0.5, 100) == pytest.approx(0.15)
    assert tolerance(1.0, 100) == 0.002
    assert tolerance(0.9, 10_000_000) == 0.002


def test_verify_of_other_data_says_whose(here: Path) -> None:
    config = exported()
    config["provenance"]["data_sha256"]["right"] = "0" * 64  # type: ignore[index]
    Path("best.json").write_text(json.dumps(config))
    outcome = command("verify", "best.json")
    assert outcome.status == 1
    assert "the data of right are not those of the config" in outcome.err


def test_users_study_is_trained_and_verified_where_its_file_is_named(here: Path) -> None:
    Path("mine.py").write_text(STUDY_FILE)
    done("run", "mine.py", "--trials", "3", *SOLO, "--quiet")
    done("export", "mine", "--search", "-o", "best.json")
    assert done("verify", "best.json", "--study", "mine.py", "--json").json["agrees"]
    assert done("train", "mine.py", "--json", "--quiet").json["study"]["name"] == "mine"
    assert done("train", "best.json", "--study", "mine.py", "--json").json["study"]["name"] == "mine"


def test_training_that_gives_nan_is_told_in_one_line(here: Path) -> None:
    Path("mine.py").write_text(STUDY_FILE.replace('"kind": "fine"', '"kind": "broken"'))
    outcome = command("train", "mine.py", "--threads", "1", "-o", "m.safetensors")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("mtlsearch: training failed: the loss of a, b was not finite in epoch 0")
    assert not Path("m.safetensors").exists()


@pytest.mark.parametrize(("what", "advised"), [("metric", False), ("loss", True)])
def test_only_a_loss_that_is_not_finite_is_advised_a_lower_learning_rate(what: str, advised: bool) -> None:
    source = joint_source()
    nan: dict[str, Any] = {
        "loss_fn": lambda outputs, labels: squared(outputs, labels) * (torch.nan if what == "loss" else 1),
        "metric_fn": lambda outputs, labels: torch.nan if what == "metric" else 1.0,
    }
    study = joint(tasks=[CustomTask("own", source, size=1, unit=1.0, **nan)], model=trunk({"own": 1}), epochs=1)
    with pytest.raises(StudyError, match=f"training failed: the {what} of own was not finite") as error:
        train_config(Training(load_data(study, NOWHERE)), study.default_config())
    assert ("try a lower learning_rate" in str(error.value)) == advised
