"""What is told to MLflow and TensorBoard, read back by their own readers."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from commands import STUDY_FILE, done, refused, stored

FEW = ("--trials", 4, "--epochs", 2, "--threads", 1, "--population", 1, "--top", 1, "--seeds", 2, "--no-single")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and of TensorBoard's protocols


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, whose search was told to both while it ran."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "tiny.py").write_text(STUDY_FILE)
    store = ("--storage", f"sqlite:///{folder / 'store.db'}")
    to = ("--mlflow", f"sqlite:///{folder / 'live.db'}", "--tensorboard", folder / "live")
    done("run", folder / "tiny.py", *FEW, *store, *to)
    later = ("--mlflow", f"sqlite:///{folder / 'later.db'}", "--tensorboard", folder / "later")
    assert "told 4 trials" in done("trials", "tiny", *store, *later).err
    return folder


@pytest.mark.parametrize("when", ["live", "later"])
def test_mlflow_has_a_run_for_each_trial_nested_under_the_study(searched: Path, when: str) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{searched / when}.db")
    experiment = client.get_experiment_by_name("mtlsearch")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert (parent.data.tags["mtlsearch.study"], parent.info.status) == ("tiny", "FINISHED")
    trials = stored(searched / "store.db", "tiny")
    children = {int(run.data.tags["mtlsearch.trial"]): run for run in runs if run is not parent}
    assert sorted(children) == [trial.number for trial in trials] == [0, 1, 2, 3]
    for trial in trials:
        run = children[trial.number]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params == {name: str(value) for name, value in _plain(trial.params).items()}
        assert run.data.tags["mtlsearch.state"] == trial.state.name.lower()
        curve = {at.step: at.value for at in client.get_metric_history(run.info.run_id, "score")}
        assert curve == {step: value for step, value in trial.intermediate_values.items() if math.isfinite(value)}
        for task, weight in trial.user_attrs["task_weights"].items():
            assert run.data.metrics[f"weight/{task}"] == weight
        if trial.value is not None:
            assert run.data.metrics["best/score"] == trial.value
            assert run.data.metrics["best/a/accuracy"] == trial.user_attrs["validation"]["a"]["accuracy"]
        if when == "live" and trial.intermediate_values:
            assert len(client.get_metric_history(run.info.run_id, "a/accuracy")) == len(curve)
    assert parent.data.tags["mtlsearch.verdict"] in ("tuned", "equal", "undecided", "unconfirmed")
    assert parent.data.tags["mlflow.note.content"]


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Params by the names that MLflow takes."""
    return {name.replace(":", "_"): value for name, value in params.items()}


@pytest.mark.parametrize("when", ["live", "later"])
def test_tensorboard_has_curves_hyperparameters_and_the_verdict(searched: Path, when: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for trial in stored(searched / "store.db", "tiny"):
        events = EventAccumulator(str(searched / when / "tiny" / f"trial-{trial.number:04d}")).Reload()
        tags = events.Tags()["scalars"]
        assert "weight/a" in tags
        if trial.intermediate_values:
            curve = {at.step: at.value for at in events.Scalars("score")}
            assert curve == pytest.approx(trial.intermediate_values)
        if trial.value is not None:
            assert events.Scalars("best/score")[0].value == pytest.approx(trial.value)
        if when == "live" and trial.value is not None:
            assert [at.step for at in events.Scalars("b/accuracy")] == sorted(trial.intermediate_values)
        assert "_hparams_/session_start_info" in events.summary_metadata
        (state,) = events.Tensors("state")
        assert state.tensor_proto.string_val[0].decode().startswith(trial.state.name.lower())
    study = EventAccumulator(str(searched / when / "tiny")).Reload()
    assert study.Tensors("verdict")[0].tensor_proto.string_val[0]


def test_telling_again_makes_no_second_run(searched: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{searched / 'later.db'}"
    done("trials", "tiny", "--storage", f"sqlite:///{searched / 'store.db'}", "--to", "mlflow", "--mlflow", uri)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mtlsearch")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 5


def test_a_tracker_that_cannot_be_reached_is_wrong_usage_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(STUDY_FILE)
    (tmp_path / "file").write_text("")
    run = ("run", tmp_path / "tiny.py", *FEW, "--storage", f"sqlite:///{tmp_path / 'store.db'}")
    assert "MLflow at nothing://x" in refused(*run, "--mlflow", "nothing://x", status=2)
    assert "cannot be written" in refused(*run, "--tensorboard", tmp_path / "file" / "x", status=2)
    assert not (tmp_path / "store.db").exists()


def test_a_tracker_that_fails_does_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtlsearch.report.tracking.to_tensorboard import TensorboardTracker

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorboardTracker, "epoch", fail)
    (tmp_path / "tiny.py").write_text(STUDY_FILE)
    run = ("run", tmp_path / "tiny.py", *FEW, "--no-confirm", "--storage", f"sqlite:///{tmp_path / 'store.db'}")
    told = done(*run, "--tensorboard", tmp_path / "events").err
    assert told.count("is told nothing more") == 1
    assert len(stored(tmp_path / "store.db", "tiny")) == 4
