"""Names of tasks: any printable text, from the model to every command's output."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SOLO, command, done
from torch import nn

from mtlsearch import (
    Classification,
    ConvTrunk,
    Data,
    DenseTrunk,
    SeparateTrunks,
    SharedTrunk,
    Study,
    TaskModules,
    TextTrunk,
    load_model,
    load_study,
)
from mtlsearch.errors import ModelError, StudyError
from mtlsearch.nn.task_modules import module_name
from mtlsearch.report.terminal_table import verdict_lines
from mtlsearch.study.loaded import load_data
from mtlsearch.study.score import parsed_score
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

NOWHERE = Path("nowhere")
NAMES = ["log P (octanol/water)", "a.b", "[red]", "ä=1", "keys", "<b>", "x, y"]
STUDY_FILE = f"""
import numpy as np
from mtlsearch import Classification, Data, SharedTrunk, Study, real

NAMES = {NAMES!r}


def source(directory):
    x = np.random.default_rng(0).normal(size=(120, 7)).astype(np.float32)
    labels = {{name: (x[:, i] > 0).astype(np.int64) for i, name in enumerate(NAMES)}}
    return Data((x, labels), (x, labels), validation=40)


study = Study(
    tasks=[Classification(name, source) for name in NAMES],
    model=lambda config: SharedTrunk(7, dict.fromkeys(NAMES, 2), hidden=8),
    space={{"learning_rate": real(1e-3, 1e-1, log=True)}},
    default={{"learning_rate": 1e-2}},
    epochs=1,
    batch_size=64,
)
"""


def study_of(names: list[str], heads: list[str] | None = None) -> Study:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    labels = {name: (x[:, 0] > 0).astype(np.int64) for name in names}
    return Study(
        tasks=[Classification(name, lambda directory: Data((x, labels), (x, labels))) for name in names],
        model=lambda config: SharedTrunk(3, dict.fromkeys(names if heads is None else heads, 2), hidden=4),
        space={},
        default={"learning_rate": 1e-2},
        epochs=1,
    )


# The model.


def test_modules_by_task_take_any_name_and_keep_those_that_were_valid() -> None:
    valid = ["price", "sale-price_2", "0"]
    modules = TaskModules({name: nn.Linear(1, 1) for name in [*valid, *NAMES]})
    assert list(modules) == list(modules.keys()) == [*valid, *NAMES]
    assert [name.removesuffix(".bias") for name in modules.state_dict() if name.endswith("bias")][:3] == valid
    assert len({module_name(name) for name in [*NAMES, "%2E", "a%2Eb", "%6Beys"]}) == len(NAMES) + 3
    modules["a.b"] = replaced = nn.Linear(2, 2)
    assert modules["a.b"] is dict(modules.items())["a.b"] is replaced
    del modules["keys"]
    assert list(modules) == [name for name in [*valid, *NAMES] if name != "keys"]
    modules.clear()
    assert list(modules) == []


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda heads: SharedTrunk(4, heads, depth=2, sharing=1), torch.ones(2, 4)),
        (lambda heads: SeparateTrunks(4, heads), torch.ones(2, 4)),
        (lambda heads: ConvTrunk(heads, sharing="separate"), torch.ones(2, 4, 4)),
        (lambda heads: DenseTrunk(heads, in_channels=1, sharing="separate"), torch.ones(2, 4, 4)),
        (lambda heads: TextTrunk(5, heads), torch.ones(2, 3, 1, dtype=torch.long)),
    ],
)
def test_every_trunk_takes_any_name_of_a_task(make: Any, x: torch.Tensor) -> None:
    model = make(dict.fromkeys(NAMES, 2))
    assert list(model(dict.fromkeys(NAMES, x))) == NAMES
    if hasattr(model, "widened"):
        assert list(model.widened(256)(dict.fromkeys(NAMES, x))) == NAMES


# The study.


@pytest.mark.parametrize("name", ["", " ", "a ", "a\nb", "a\x1b[31m", "a\u202eb", "\ud800", "x" * 201, 3])
def test_a_name_that_cannot_be_read_is_refused(name: Any) -> None:
    with pytest.raises(StudyError) as error:
        study_of([name])
    rule = "a task's name is a printable text of 1 to 200 letters without a space at its ends, but got "
    assert str(error.value).startswith(rule)
    assert len(str(error.value).splitlines()) == 1


def test_a_head_that_no_task_uses_is_refused_unless_it_is_named() -> None:
    study = study_of(["a", "b"], ["a", "b", "size"])
    with pytest.raises(ModelError) as error:
        load_data(study, NOWHERE)
    assert str(error.value) == (
        "every head of the model must be a task's, but its heads have 'size' beside a, b: take it out, add its task,"
        " or keep it by Study(..., spare_heads=['size'])"
    )
    assert load_data(replace(study, spare_heads=["size"]), NOWHERE).study.task_names == ["a", "b"]
    assert load_data(study_of(["a", "b"]).only("a"), NOWHERE).study.task_names == ["a"]


def test_heads_that_tasks_share_are_no_tasks_heads() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleDict({"yes or no": nn.Linear(3, 2)})

        def forward(self, inputs: Any) -> Any:
            return {task: self.heads["yes or no"](x) for task, x in inputs.items()}

    loaded = load_data(replace(study_of(["a", "b"]), model=lambda config: Shared()), NOWHERE)
    assert loaded.study.task_names == ["a", "b"]


@pytest.mark.parametrize("name", ["a.b", "keys"])
def test_a_plain_module_dict_that_refuses_a_name_is_told_of_task_modules(name: str) -> None:
    study = replace(study_of([name]), model=lambda config: nn.ModuleDict({name: nn.Linear(3, 2)}))
    with pytest.raises(ModelError, match=r" \(mtlsearch\.TaskModules takes any name\)$"):
        load_data(study, NOWHERE)


def test_a_population_takes_any_names() -> None:
    training = Training(load_data(study_of(NAMES), NOWHERE))
    scores = []
    for trainer in (PopulationTrainer(training, 2, Eager(), pytest.fail), SoloTrainer(training)):
        trainer.add(0, training.loaded.study.default_config())
        scores += [result.score for result in trainer.advance()]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


# The command line.


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("x, y", {"x, y": 1}),
        ("x, y=2,keys=1", {"x, y": 2, "keys": 1}),
        ("keys,x, y", {"keys": 1, "x, y": 1}),
        ("ä=1=2,a.b=3", {"ä=1": 2, "a.b": 3}),
        ("ä=1,[red]", {"ä=1": 1, "[red]": 1}),
        ("log P (octanol/water)=2, <b>=1", {"log P (octanol/water)": 2, "<b>": 1}),
    ],
)
def test_a_score_names_tasks_with_commas_and_equals_signs(text: str, weights: dict[str, float]) -> None:
    total = sum(weights.values())
    assert parsed_score(text, NAMES).weights(NAMES) == pytest.approx({t: w / total for t, w in weights.items()})


def test_the_longest_task_with_a_comma_is_meant() -> None:
    assert parsed_score("a,b", ["a", "b", "a,b"]).weights(["a", "b", "a,b"]) == {"a,b": 1}
    assert parsed_score("a,b=2,a", ["a", "b", "a,b"]).weights(["a", "b", "a,b"]) == pytest.approx(
        {"a": 1 / 3, "a,b": 2 / 3}
    )
    assert set(parsed_score("b,a", ["a", "b", "a,b"]).weights(["a", "b", "a,b"])) == {"a", "b"}


def test_a_dimension_is_fixed_by_the_longest_name_that_fits() -> None:
    study = study_of(["a", "ä=1", "x:y"])
    assert (
        study.fixed("weight:ä=1", "0.25").fixed_weights
        == study.fixed("weight:ä", "1=0.25").fixed_weights
        == {"ä=1": 0.25}
    )
    assert study.fixed("weight:x:y", "0.5").fixed_weights == {"x:y": 0.5}


def test_a_line_of_a_verdict_belongs_to_its_task() -> None:
    names = ["weights", *(f"t{i}" for i in range(14)), "t1: t2"]
    weights = dict.fromkeys(names, 1 / 16)
    verdict = {
        "weights": weights,
        "metrics": dict.fromkeys(names),
        "lines": ["keep", "weights: " + ", ".join(names), *(f"{name}: own {i}" for i, name in enumerate(names)), "end"],
    }
    shown = verdict_lines(verdict)
    assert shown[2:4] == ["weights: own 0", "t0: own 1"]
    assert shown[-2:] == ["t1: t2: own 15", "end"]


# From a run to an answer.


def test_a_study_of_any_names_goes_through_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.py").write_text(STUDY_FILE, encoding="utf-8")
    options = (
        "--set",
        "weight:ä=1=0.2",
        "--at-least",
        "ä=1=0.1",
        "--score",
        "x, y=2,keys,a.b,ä=1,<b>,[red]=1,log P (octanol/water)",
    )
    done("run", "odd.py", "--trials", "2", *options, *SOLO)
    assert "2 trials" in command("run", "odd.py", "--trials", "2", *options, *SOLO).err

    done("confirm", "odd.py", "--seeds", "2", "--top", "1", "--single", "--threads", "1")
    told = done("best", "odd.py").out
    for name in NAMES:
        assert f"\n{name} " in told, name
        assert f"\n{name}: accuracy" in told, name

    header, *rows = csv.reader(io.StringIO(done("trials", "odd.py", "--format", "csv").out))
    assert len(rows) == 2
    for name in NAMES:
        assert {f"task_weight.{name}", f"validation.{name}.accuracy"} <= {*header}
    assert "w a.b" in done("trials", "odd.py").out

    done("export", "odd.py", "--search", "-o", "best.json", "--checkpoint", "best.safetensors")
    exported = json.loads(Path("best.json").read_text(encoding="utf-8"))
    assert list(exported["task_weights"]) == NAMES
    assert exported["task_weights"]["ä=1"] == 0.2
    assert "agrees" in done("verify", "best.json", "--study", "odd.py", "--threads", "1").out

    model = load_model("best.safetensors", study=load_study("odd.py"))
    x = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)
    outputs = model(dict.fromkeys(NAMES, torch.from_numpy(x)))
    assert list(outputs) == NAMES
    np.save("x.npy", x)
    predicted = done("predict", "best.safetensors", "x.npy", "--study", "odd.py", "--format", "csv").out
    (first, *_) = csv.DictReader(io.StringIO(predicted))
    for name in NAMES:
        assert first[f"{name}.prediction"] == str(int(outputs[name][0].argmax()))
    assert "[red]" in done("predict", "best.safetensors", "x.npy", "--study", "odd.py").out

    done("report", "odd.py", "-o", "report.html")
    page = Path("report.html").read_text(encoding="utf-8")
    assert '<th scope="row">&lt;b&gt;</th>' in page
    assert '<th scope="row">[red]</th>' in page
