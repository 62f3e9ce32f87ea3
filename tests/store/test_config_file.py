"""The results of a search are recovered without training: the config as JSON, the parameters, and by plain Optuna."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from commands import SHORT, done, refused, stored

from mtlsearch import limits, load_model, load_study
from mtlsearch.files import write_text
from mtlsearch.store.config_file import check_config, schema
from mtlsearch.store.model_file import read_model

# Reads a store as somebody who does not have mtlsearch.
PLAIN_OPTUNA = """
import json, sys
sys.modules["mtlsearch"] = None
import optuna
study = optuna.load_study(study_name="digits", storage="sqlite:///mtlsearch.db")
best = study.best_trial
print(json.dumps({"number": best.number, "value": best.value, "params": best.params, "attrs": best.user_attrs,
                  "direction": study.direction.name, "curve": list(best.intermediate_values.values()),
                  "metric": study.metric_names}))
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    done("run", "digits", *SHORT, "--storage", f"sqlite:///{folder}/mtlsearch.db", "--quiet")
    return folder


@pytest.fixture
def here(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_plain_optuna_reads_the_store_and_its_best_trial_is_what_export_wrote(here: Path) -> None:
    done("export", "digits", "--search", "-o", "best.json")
    config = json.loads(Path("best.json").read_text())
    ended = subprocess.run([sys.executable, "-c", PLAIN_OPTUNA], capture_output=True, text=True, check=True)
    best = json.loads(ended.stdout)
    assert (config["trial"], config["score"]["value"]) == (best["number"], best["value"])
    assert config["hyperparameters"] == {n: v for n, v in best["params"].items() if n != "log_ratio:left"}
    assert config["task_weights"] == best["attrs"]["task_weights"]
    assert config["validation"] == best["attrs"]["validation"]
    assert (best["direction"], best["metric"]) == ("MAXIMIZE", ["mean"])
    assert best["value"] == max(best["curve"])


def maxima(about: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Each maximum of a schema, by the names on the way to it; that of weights, 1, is none of our own."""
    for name, each in about.items() if isinstance(about, dict) else ():
        if name == "maximum" and each != 1:
            yield path.replace("properties.", "").rstrip("."), each
        yield from maxima(each, f"{path}{name}.")


def test_maxima_of_the_schema_are_the_bounds_of_what_users_ask_for() -> None:
    assert dict(maxima(schema())) == {
        "training.epochs": limits.MOST_EPOCHS,
        "training.batch_size": limits.MOST_BATCH,
        "training.seed": limits.LARGEST_SEED,
        "training.lane_slots": limits.MOST_MEMBERS,
        "text.rows": limits.MOST_IDS,
        "text.buckets": limits.MOST_IDS,
        "text.length": limits.MOST_TOKENS,
    }


def test_exported_config_follows_the_shipped_schema(here: Path) -> None:
    config = done("export", "digits").json
    jsonschema.Draft202012Validator.check_schema(schema())
    check_config(config, "here")
    assert config["format"] == "mtlsearch/config/1"
    assert set(config["provenance"]["data_sha256"]) == {"left", "right"}
    assert set(config["provenance"]["versions"]) == {"python", "mtlsearch", "torch", "optuna", "sqlalchemy"}


def test_checkpoint_is_recovered_without_training_and_predicts_the_recorded_accuracy(here: Path) -> None:
    done("export", "digits", "-o", "best.json", "--checkpoint", "best.safetensors")
    recorded = json.loads(Path("best.json").read_text())
    data = load_study("digits").tasks[0].data(here)
    np.save("validation.npy", data.validation.inputs.numpy())
    predictions = done("predict", "best.safetensors", "validation.npy", "--json").json["predictions"]
    for task, values in recorded["validation"].items():
        truth = data.validation.labels[task].tolist()
        labels = [int(prediction["tasks"][task]["label"]) for prediction in predictions]
        right = sum(a == b for a, b in zip(labels, truth, strict=True))
        assert right / len(truth) == pytest.approx(values["accuracy"], abs=1e-9)


def test_checkpoint_holds_the_exported_config(here: Path) -> None:
    done("export", "digits", "-o", "best.json", "--checkpoint", "best.safetensors")
    state, config = read_model(Path("best.safetensors"))
    assert config == json.loads(Path("best.json").read_text())
    model = load_model("best.safetensors")
    assert not model.training
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_absent_artifacts_are_told_with_where_to_look_and_the_config_is_exported_all_the_same(
    here: Path,
) -> None:
    Path("mtlsearch.artifacts").rename("elsewhere")
    line = refused("export", "digits", "--checkpoint", "best.safetensors")
    assert "no parameters in mtlsearch.artifacts" in line
    assert "--artifacts" in line
    assert not Path("best.safetensors").exists()
    done("export", "digits", "-o", "best.json")
    done("export", "digits", "-o", "best.json", "--checkpoint", "best.safetensors", "--artifacts", "elsewhere")
    assert load_model("best.safetensors") is not None


def kept_parameters() -> list[Path]:
    """The files of parameters; on a slow machine a folder of states in training lies beside them."""
    return [path for path in Path("mtlsearch.artifacts").iterdir() if path.is_file()]


def test_artifact_that_was_cut_short_is_told_and_nothing_is_written(here: Path) -> None:
    for path in kept_parameters():
        path.write_bytes(path.read_bytes()[:1000])
    line = refused("export", "digits", "-o", "best.json", "--checkpoint", "best.safetensors")
    assert "is not a whole safetensors file" in line
    assert not Path("best.json").exists()
    assert not Path("best.safetensors").exists()


def test_parameters_are_kept_of_each_trial_that_became_the_best_and_of_no_other(here: Path) -> None:
    best, became = -1.0, 0
    for trial in stored(here / "mtlsearch.db"):
        if trial.value is not None and trial.value > best:
            best, became = trial.value, became + 1
    assert len(kept_parameters()) == became


def test_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "before"
    write_text(path, "after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]
