"""Answers of tasks of one's own with names and probabilities, and of labels that lie in several columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from commands import SOLO, done
from torch import Tensor

from mtlsearch import CustomTask, Data, MultiLabel, Table
from mtlsearch.errors import DataError, StudyError

STUDY = """
from pathlib import Path

import torch
import torch.nn.functional as F
from mtlsearch import CustomTask, MultiLabel, SharedTrunk, Study, Table

table = Table(
    Path(__file__).resolve().parent / "cells.csv",
    numbers=["x", "z"],
    targets={"NR": "category", "SR": "number", "kind": "number"},
)


def focal(outputs, labels):
    return -(1 - outputs.softmax(1)).square().mul(outputs.log_softmax(1)).gather(1, labels.long()[:, None])[:, 0]


def right(outputs, labels):
    return (outputs.argmax(1) == labels).float().mean()


study = Study(
    tasks=[
        MultiLabel("toxic", table, columns=["NR", "SR"]),
        CustomTask(
            "kind", table, 2, loss_fn=focal, metric_fn=right, classes=["flat", "steep"], probabilities="softmax"
        ),
    ],
    model=lambda config: SharedTrunk(table.features, {"toxic": 2, "kind": 2}, hidden=8),
    space={},
    default={"learning_rate": 0.05},
    epochs=30,
)
"""


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="none")


def unused(directory: Path) -> Data:
    raise AssertionError("no task loads data here")


def custom(**options: Any) -> CustomTask:
    return CustomTask("own", unused, size=3, loss_fn=loss, metric_fn=lambda o, y: 0.0, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of two assays and a class, and a trained model of them."""
    folder, random = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    x = random.normal(size=(200, 2))
    frame = pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "NR": np.where(x[:, 0] > 0, "yes", "no"), "SR": x[:, 1] > 0})
    frame["SR"] = frame["SR"].astype(float).where(random.random(200) > 0.3)
    frame["NR"] = frame["NR"].where(random.random(200) > 0.3)
    frame.assign(kind=(x.sum(1) > 0).astype(int)).to_csv(folder / "cells.csv", index=False)
    (folder / "cells.py").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MTLSEARCH_STORAGE", raising=False)
        done("run", "cells.py", "--trials", "1", "--quiet", *SOLO)
        done("export", "cells.py", "-o", "best.json", "--checkpoint", "m.safetensors")
    return folder


def test_columns_of_a_table_are_the_labels_of_one_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done("predict", "m.safetensors", "cells.csv", "--study", "cells.py", "--format", "csv", "-o", "out.csv")
    out = pd.read_csv("out.csv")
    for column, truth in (("NR", out["NR"] == "yes"), ("SR", out["SR"] == 1)):
        known = out[column].notna()
        right = ((out[f"toxic.prediction.{column}"] == "yes") == truth)[known]
        assert right.mean() > 0.8
        assert ((out[f"toxic.probability.{column}"] >= 0.5) == (out[f"toxic.prediction.{column}"] == "yes")).all()


def test_a_task_of_ones_own_answers_with_its_class_names_and_probabilities(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    out, options = pd.read_csv("cells.csv"), ("--study", "cells.py")
    found = done("predict", "m.safetensors", "cells.csv", *options, "--json").json["predictions"]
    labels = [row["tasks"]["kind"]["label"] for row in found]
    assert np.mean([label == ["flat", "steep"][kind] for label, kind in zip(labels, out["kind"], strict=True)]) > 0.8
    assert set(found[0]["tasks"]["kind"]["probabilities"]) == {"flat", "steep"}
    rows = done("predict", "m.safetensors", "cells.csv", *options, "--format", "json").json
    assert [row["kind.prediction"] for row in rows] == labels
    assert "kind.probability.steep" in rows[0]
    lines = done("predict", "m.safetensors", "cells.csv", *options).out.splitlines()
    assert lines[1].split()[3] in ("toxic", "NR:")
    assert len(lines) == 1 + 3 * len(out)


def test_labels_of_columns_are_missing_where_a_class_is() -> None:
    x, labels = np.zeros((4, 1)), {"a": np.array([0, 1, -1, 1]), "b": np.array([np.nan, 0.0, 1.0, 1.0])}
    data = Data((x, labels), (x, labels))
    task = MultiLabel("t", unused, columns=("a", "b"))
    target = task.target(data)
    assert target.classes == ("a", "b")
    found = task.prepare(task.labels(data, data.train), target)
    assert torch.equal(torch.nan_to_num(found, nan=-1), torch.tensor([[0.0, -1], [1, 0], [-1, 1], [1, 1]]))
    assert data.sha256("a", "b") != data.sha256("a")
    assert MultiLabel("t", unused).options == {"metric_name": "macro_auroc", "pos_weight": None}
    with pytest.raises(DataError, match="task 'c' needs a label column of its name, but got a, b"):
        MultiLabel("t", unused, columns=["a", "c"]).target(data)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="each column is named once, but 'a' is there twice"):
        MultiLabel("t", unused, columns=("a", "a"))


def test_probabilities_of_a_task_of_ones_own_may_be_of_each_label() -> None:
    about: Any = {"classes": ["x", "y", "z"], "probabilities": "sigmoid"}
    outputs = torch.tensor([[3.0, -3.0, 0.5]])
    (found,) = CustomTask.predictions(outputs, about)
    assert found["labels"] == ["x", "z"]
    assert [line[0] for line in CustomTask.in_lines(found)] == ["x: yes", "y: no", "z: yes"]
    assert CustomTask.in_words(found)[0] == "x: yes, y: no, z: yes"
    assert len(CustomTask.questions(outputs, about, ())) == 2
    plain: Any = {"classes": []}
    assert CustomTask.predictions(outputs, plain) == [{"values": [3.0, -3.0, 0.5]}]
    assert CustomTask.in_lines({"values": [1.5]}) == [("1.5", "")]
    assert set(CustomTask.answer_columns(outputs, plain, None)) == {"prediction.1", "prediction.2", "prediction.3"}


def test_names_and_probabilities_of_a_task_of_ones_own_are_checked() -> None:
    with pytest.raises(StudyError, match="task 'own': probabilities must be softmax or sigmoid, but got 'exp'"):
        custom(probabilities="exp")
    with pytest.raises(DataError, match="task 'own': 3 outputs need as many class names, but got 2"):
        custom(classes=["a", "b"]).target(Data((np.zeros((2, 1)), np.zeros(2)), (np.zeros((2, 1)), np.zeros(2))))
    assert "classes" not in custom().options
    assert custom(classes=["a", "b", "c"]).options["classes"] == ["a", "b", "c"]


def test_a_table_of_several_answers_is_a_source_for_both_kinds(folder: Path) -> None:
    table = Table("cells.csv", numbers=["x"], targets={"NR": "category", "SR": "number"})
    task = MultiLabel("toxic", table, columns=("NR", "SR"))
    data = table(folder)
    assert task.target(data).size == 2
