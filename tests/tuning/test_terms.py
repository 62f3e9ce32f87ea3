"""A study of terms through every command: searched, confirmed, exported, verified, trained, predicted, reported."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
from commands import done, refused

from mtlsearch import load_model
from mtlsearch.study.study_file import load_study

FOLDER = str(Path(__file__).parent.parent)
FILE = textwrap.dedent(
    f"""
    import sys
    sys.path.insert(0, {FOLDER!r})
    import waves
    from mtlsearch import Term
    study = waves.waves(terms=[Term("residual", waves.drawn, waves.residual), Term("ends", waves.ENDS, waves.ends)])
    """
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


def test_every_command_takes_a_study_of_terms(folder: Path) -> None:
    run = ("run", "mine.py", "--threads", "1", "--seeds", "2", "--top", "1")
    found = done(*run, "--trials", "3", "--json").json
    assert set(found["task_weights"]) == {"residual", "ends"}
    assert list(found["validation"]) == ["u"]
    assert set(found["raw_task_weights"]) == {"residual", "ends"}
    said = " ".join(found["verdict"]["lines"])
    assert found["verdict"]["sentence"].startswith("Train with ")
    assert "sharing" not in said
    assert "plain sum" in said
    assert done(*run, "--trials", "3").status == 0  # it is finished, and says so
    assert done("export", "mine.py", "-o", "b.json", "--checkpoint", "b.safetensors").status == 0
    verified = done("verify", "b.json", "--study", "mine.py")
    assert verified.status == 0
    assert "DIFFERS" not in verified.out
    trained = done("train", "b.json", "--study", "mine.py", "-o", "again.safetensors", "--json").json
    assert list(trained["test"]) == ["u"]
    np.save("x.npy", np.full((2, 1), 0.5, np.float32))
    answer = done("predict", "b.safetensors", "x.npy", "--study", "mine.py", "--json").json["predictions"][0]
    model = load_model("b.safetensors", study="mine.py")
    assert answer["tasks"]["u"]["values"] == pytest.approx(
        model({"u": model.model.net[0].weight.new_full((1, 1), 0.5)})["u"][0].tolist()
    )
    assert done("report", "mine.py", "-o", "report.html").status == 0
    assert "residual" in (folder / "report.html").read_text()
    assert "w residual" in done("trials", "mine.py").out
    assert done("best", "mine.py").status == 0
    assert json.loads((folder / "b.json").read_text())["units"]["residual"] > 0


def test_new_divisions_are_refused(folder: Path) -> None:
    done("run", "mine.py", "--threads", "1", "--trials", "2", "--no-confirm")
    said = refused("confirm", "mine.py", "--threads", "1", "--resplit", "2", status=2)
    assert said == "--resplit deals labelled examples anew, which points and evaluations are not: leave it out"


@pytest.mark.parametrize("name", ["poisson", "klein-gordon", "boxes"])
def test_shipped_studies_of_terms_train_and_score(name: str, folder: Path) -> None:
    said = done("run", name, "--threads", "1", "--trials", "2", "--epochs", "1", "--no-confirm", "--json")
    assert said.status == 0, said.err
    assert set(said.json["task_weights"]) == set(load_study(name).weighted)
