"""A kind of task that only a study file defines is trained, exported, predicted and explained as the others are."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import SOLO, done

from mtlsearch import load_study
from mtlsearch.study.loaded import load_data
from mtlsearch.tasks.kinds import kind_named

STUDY = """
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from mtlsearch import Classification, Data, SharedTrunk, Study
from mtlsearch.tasks.metrics import WholeMetric
from mtlsearch.tasks.task import Question, Target, Task, masked_mean


@dataclass(frozen=True)
class Count(Task):
    '''A number of events; outputs are the logarithm of its expectation; labels below 0 are missing.'''

    def target(self, data):
        return Target(1)

    def strata(self, data):
        return (data.column(data.train, self.name) > 0).long()

    def prepare(self, labels, target):
        return labels.long()

    def loss(self, outputs, labels):
        losses = F.poisson_nll_loss(outputs[:, 0], labels.to(outputs.dtype), reduction="none")
        return masked_mean(losses, labels >= 0)

    def metric(self, target):
        def error(outputs, labels):
            return (outputs[:, 0].exp() - labels).abs().mean()

        return WholeMetric("mae", error, higher_is_better=False)

    @classmethod
    def predictions(cls, outputs, about):
        return [{"count": rate} for rate in outputs[:, 0].exp().tolist()]

    @classmethod
    def in_words(cls, prediction):
        return f"about {prediction['count']:.1f}", ""

    @classmethod
    def questions(cls, output, about, tokens):
        return [Question(f"about {float(output.exp()):.1f}", None, "rate", lambda o: o[:, 0].exp())]


def source(directory):
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32)
    labels = {"calls": random.poisson(np.exp(x[:, 0] - 1)), "sign": (x[:, 1] > 0).astype(np.int64)}
    return Data((x[:300], {k: y[:300] for k, y in labels.items()}), (x[300:], {k: y[300:] for k, y in labels.items()}))


study = Study(
    tasks=[Count("calls", source), Classification("sign", source)],
    model=lambda config: SharedTrunk(3, {"calls": 1, "sign": 2}, hidden=8),
    space={},
    default={"learning_rate": 1e-2},
    epochs=30,
    batch_size=32,
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study file and the best model of a search."""
    folder = tmp_path_factory.mktemp("count")
    (folder / "calls.py").write_text(STUDY)
    np.savetxt(folder / "x.csv", [[2.0, 1.0, 0.0], [-3.0, -1.0, 0.0]], delimiter=",")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MTLSEARCH_STORAGE", raising=False)
        done("run", "calls.py", "--trials", "2", "--quiet", *SOLO)
        done("export", "calls", "-o", "best.json", "--checkpoint", "best.safetensors")
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_a_new_kind_divides_its_data_by_its_strata(here: Path) -> None:
    (splits,) = load_data(load_study("calls.py"), here).splits
    shares = [float((part.labels["calls"] > 0).double().mean()) for part in (splits.train, splits.validation)]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


def test_a_new_kind_is_known_by_its_name_in_the_exported_config(here: Path) -> None:
    config = json.loads((here / "best.json").read_text())
    assert config["tasks"]["calls"]["kind"] == "count"
    assert list(config["validation"]["calls"]) == ["mae"]
    load_study("calls.py")
    assert kind_named("count").__name__ == "Count"


def test_a_new_kind_predicts_in_its_own_words(here: Path) -> None:
    many, few = done("predict", "best.safetensors", "x.csv", "--study", "calls.py", "--json").json["predictions"]
    assert many["tasks"]["calls"]["count"] > 1 > few["tasks"]["calls"]["count"] > 0
    lines = done("predict", "best.safetensors", "x.csv", "--study", "calls.py").out.splitlines()
    assert lines[1].split() == ["x.csv[0]", "calls", "about", f"{many['tasks']['calls']['count']:.1f}"]


def test_a_new_kind_is_explained_by_its_own_questions(here: Path) -> None:
    found = done("explain", "best.safetensors", "x.csv", "--study", "calls.py", "--json").json["inputs"][0]
    (answer,) = found["tasks"]["calls"]
    assert answer["prediction"] == f"about {answer['output']:.1f}"
    change = answer["output"] - answer["baseline_output"]
    assert sum(answer["attributions"].values()) == pytest.approx(change, rel=0.05)


def test_an_unknown_kind_answers_with_the_values_of_its_outputs() -> None:
    import torch

    kind = kind_named("nosuchkind")
    assert kind.predictions(torch.tensor([[1.5, 2.0]]), {}) == [{"values": [1.5, 2.0]}]  # type: ignore[typeddict-item]
    assert kind.in_words({"values": [1.5, 2.0]}) == ("1.5, 2", "")
