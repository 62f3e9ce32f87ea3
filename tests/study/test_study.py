"""Studies: definitions that are refused, files that fail, models that do not fit, and descriptions."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import (
    CLASSES,
    DEFAULT,
    NOWHERE,
    closeness,
    disjoint,
    joint,
    loaded,
    picture_source,
    squared,
    trunk,
)
from torch import Tensor, nn

from mtlsearch import Classification, Config, CustomTask, Study, choice, integer, load_study, real
from mtlsearch.errors import ModelError, StudyError
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.shipped import shipped_studies, study_name

SHIPPED = "boxes, chest, digits, klein-gordon, mnist-fashion, mnist-fashion-separate, poisson, scenes, tweets"


def task(name: str) -> Classification:
    return Classification(name, picture_source())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, "a study needs one task or more, but tasks is empty"),
        ({"tasks": [task("a"), task("b"), task("a")]}, "each task needs a name of its own, but 'a' is there twice"),
        ({"tasks": [task("")]}, "a task's name is a printable text of 1 to 200 letters without a space at its ends, but got ''"),
        ({"default": {}}, "default needs a value for each dimension of the space, but 'hidden' has none"),
        ({"default": {**DEFAULT, "hidden": 17}}, "default hidden=17 lies outside its distribution IntDistribution(high=16, log=True, low=4, step=1)"),
        ({"default": {**DEFAULT, "hidden": "wide"}}, "default hidden='wide' lies outside its distribution IntDistribution(high=16, log=True, low=4, step=1)"),
        ({"default": {**DEFAULT, "norm": "group"}}, "default norm='group' lies outside its distribution CategoricalDistribution(choices=('none', 'batch', 'layer'))"),
        ({"space": {"hidden": 8}}, "space must hold integer(…), real(…) or choice(…) by name, but 'hidden' is 8"),
        ({"epochs": 0}, "epochs must be a whole number of 1 or more, but got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number of 1 or more, but got 1.5"),
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more, but got 0"),
        ({"patience": 0}, "patience must be a whole number of 1 or more, but got 0"),
        ({"score": "median"}, "score must name mean, min, log_error, pareto or tasks (a, b), but got 'median'"),
    ],
)  # fmt: skip
def test_definitions_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as error:
        disjoint(**changes)
    assert str(error.value) == message


def test_the_default_config_has_equal_weights() -> None:
    config = joint().default_config()
    assert dict(config) == DEFAULT
    assert config.task_weights == pytest.approx(dict.fromkeys(["kind", "tags", "amount", "own"], 0.25))


def test_fixed_dimensions_are_the_default_and_the_space_of_the_study() -> None:
    study = disjoint().fixed("hidden", "4").fixed("weight:a", "0.9")
    config = study.default_config()
    assert config["hidden"] == 4
    assert config.task_weights == pytest.approx({"a": 0.9, "b": 0.1})
    assert study.search_space.distributions["hidden"].single()
    assert disjoint().default_config()["hidden"] == 8


@pytest.mark.parametrize("name", ["nosuch", "mnist"])
def test_a_study_that_does_not_exist_names_the_shipped_ones(name: str) -> None:
    with pytest.raises(StudyError) as error:
        load_study(name)
    assert str(error.value) == f"no study '{name}': the shipped ones are {SHIPPED}, or name a file"


@pytest.mark.parametrize("name", ["nosuch.py", "no/such"])
def test_a_study_file_that_does_not_exist_names_the_shipped_studies(name: str) -> None:
    with pytest.raises(StudyError) as error:
        load_study(name)
    assert str(error.value) == f"no study file {name}: name an existing one, or a shipped study ({SHIPPED})"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "fails to import: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("study = Study(", "fails to import: SyntaxError: "),
        ("raise SystemExit(0)", "fails to import: SystemExit: 0"),
        ("raise SystemExit", "fails to import: SystemExit: no message"),
        ("raise ValueError('first\\nsecond')", "fails to import: ValueError: first"),
        ("\x00", "fails to import: "),
        ("studie = 1", "must define `study = Study(...)`, but got nothing of that name"),
        ("study = None", "must define `study = Study(...)`, but got nothing of that name"),
        ("study = {'tasks': []}", "must define `study = Study(...)`, but got a dict"),
        ("from mtlsearch import Study\nstudy = Study", "must define `study = Study(...)`, but got a type"),
    ],
)  # fmt: skip
def test_a_study_file_that_fails_says_so_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(StudyError) as error:
        load_study(str(path))
    assert str(error.value).startswith(f"study file {path} {message}")
    assert "\n" not in str(error.value)


def test_a_definition_that_is_refused_in_a_file_keeps_its_message(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("from mtlsearch import Study\nstudy = Study(tasks=[], model=None, space={}, default={})")
    with pytest.raises(StudyError, match=r"^a study needs one task or more, but tasks is empty$"):
        load_study(str(path))


def test_an_interrupt_while_a_file_is_read_is_not_swallowed(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_study(str(path))


def test_a_users_study_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "own_study.py"
    path.write_text(shipped_studies()["digits"].read_text())
    study = load_study(str(path))
    assert study.source == str(path)
    assert study_name(study.source) == "own_study"
    assert load_data(study, NOWHERE).fingerprint() == load_data(load_study("digits"), NOWHERE).fingerprint()


@pytest.mark.parametrize("name", SHIPPED.split(", "))
def test_shipped_studies_load_and_describe_themselves(name: str) -> None:
    study = load_study(name)
    assert study.source == name
    assert study_name(name) == name
    assert study.description
    assert study.needs
    assert study.default_config().hyperparameters


def test_shipped_studies_use_public_names_alone() -> None:
    for path in shipped_studies().values():
        imports = re.findall(r"^\s*(?:from|import) (mtlsearch\S*)", path.read_text(), re.MULTILINE)
        assert set(imports) == {"mtlsearch"}


def test_digits_come_from_disjoint_images() -> None:
    study = load_study("digits")
    (splits,) = load_data(study, NOWHERE).splits
    assert splits.tasks == ("left", "right")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4000, 1000, 1000]
    assert splits.train.inputs.shape == (4000, 12, 12)
    assert splits.train.inputs.dtype == torch.uint8
    # The first four columns show the left digit alone; disjoint images give other ones, blank strips aside.
    strips = [{tuple(x) for x in part.inputs[:, :8, :4].flatten(1).tolist()} for part in (splits.train, splits.test)]
    assert len(strips[0] & strips[1]) < 0.05 * len(strips[1])


def model_of(outputs: Callable[[Mapping[str, Tensor]], Any]) -> Callable[[Config], nn.Module]:
    class Model(nn.Module):
        def forward(self, given: Mapping[str, Tensor]) -> Any:
            return outputs(given)

    return lambda config: Model()


def zeros(size: int, rows: int | None = None) -> Callable[[Mapping[str, Tensor]], Any]:
    return lambda given: {name: torch.zeros(rows or len(x), size) for name, x in given.items()}


def fails(given: Mapping[str, Tensor]) -> Any:
    raise ValueError("first\nsecond")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(lambda given: {"a": torch.zeros(2, CLASSES)}), "the model must give an output for task 'b', but gave: a"),
        (model_of(lambda given: {}), "the model must give an output for task 'a', but gave: none"),
        (model_of(lambda given: torch.zeros(2, 3)), "the model must give a dict of outputs by task, but got a Tensor: return {task: self.heads[task](features) for task in inputs}"),
        (model_of(zeros(5)), "the model's output for task 'a' must have a column for each of its 3 classes (0, 1, 2), but has 5: give its head 3 outputs, or mend the labels where that is not the number of classes"),
        (model_of(zeros(CLASSES, 7)), "the model's output for task 'a' must have the shape (2, 3), but got (7, 3)"),
        (model_of(dict.fromkeys), "the model's output for task 'a' must be a tensor, but got a NoneType"),
        (model_of(lambda given: dict.fromkeys(given, torch.tensor(1.0))), "the model's output for task 'a' must have the shape (2, 3), but got ()"),
        (model_of(fails), "the model fails on inputs a (2, 6): ValueError: first"),
        (trunk({"a": CLASSES}), "the model must have a head for each task, but has none for 'b' (it has a): name its heads by task"),
        (lambda config: nn.Linear(config["width"], 1), "the model cannot be built from {'hidden': 8, 'dropout': 0.1, 'optimizer': 'adam', 'learning_rate': 0.01, 'norm': 'none'}: KeyError: 'width'"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused_before_training(model: Any, message: str) -> None:
    with pytest.raises(ModelError) as error:
        loaded(disjoint(model=model))
    assert str(error.value) == message


def test_a_model_must_be_a_module() -> None:
    with pytest.raises(StudyError, match=r"^model must give an nn\.Module, but got function$"):
        loaded(disjoint(model=lambda config: zeros(3)))


def test_the_order_of_a_models_outputs_does_not_matter() -> None:
    study = disjoint(model=model_of(lambda given: dict(reversed(zeros(CLASSES)(given).items()))))
    assert loaded(study).study is study


def test_a_loaded_study_knows_its_parts_and_metrics() -> None:
    kept = loaded(joint())
    (splits,) = kept.splits
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [144, 48, 96]
    assert [metric.name for metric in kept.metrics.values()] == ["macro_f1", "macro_auroc", "r2", "metric"]
    assert list(kept.sha256) == kept.study.task_names
    assert str(kept.device) == "cpu"


def test_the_score_orients_every_metric_so_that_higher_is_better() -> None:
    error = CustomTask("own", joint().tasks[3].data, 1, squared, closeness, metric_name="mae", higher_is_better=False)
    study = joint(tasks=[joint().tasks[0], error], model=trunk({"kind": CLASSES, "own": 1}))
    values = {"kind": {"macro_f1": 0.5}, "own": {"mae": 0.2}}
    assert loaded(study).score(values) == pytest.approx(0.15)
    assert loaded(replace(study, score="min")).score(values) == -0.2
    assert loaded(replace(study, score=lambda scores: 10 * scores["kind"])).score(values) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 4},
        {"patience": 2},
        {"batch_size": 8},
        {"score": "min"},
        {"split_seed": 1},
        {"space": {"hidden": integer(4, 17, log=True)}},
        {"default": {**DEFAULT, "hidden": 9}},
        {"tasks": [task("a"), Classification("b", picture_source(64, seed=8))]},
        {"tasks": [task("a"), Classification("b", picture_source(64, seed=7), metric_name="macro_f1")]},
        {"tasks": [task("a"), Classification("b", picture_source(64, seed=7), label_smoothing=0.1)]},
    ],
)
def test_another_definition_has_another_fingerprint(changes: dict[str, Any]) -> None:
    assert loaded(disjoint(**changes)).fingerprint() != loaded(disjoint()).fingerprint()


def test_the_same_definition_has_the_same_fingerprint_and_describes_its_tasks() -> None:
    assert loaded(disjoint()).fingerprint() == loaded(disjoint()).fingerprint()
    described = describe(loaded(disjoint()))
    assert described["tasks"]["a"] == {
        "kind": "classification",
        "metric": "accuracy",
        "higher_is_better": True,
        "classes": ["0", "1", "2"],
        "mean": [0.0],
        "std": [1.0],
        "input_shape": [6],
        "input_dtype": "uint8",
        "input_kind": "pictures",
        "output_shape": [3],
    }


def test_a_study_of_one_task_has_no_weight_to_search() -> None:
    study = Study(
        tasks=[task("a")],
        model=trunk({"a": CLASSES}),
        space={"rate": real(0.1, 1.0), "norm": choice("none")},
        default={"rate": 0.5, "norm": "none"},
    )
    assert list(study.search_space.distributions) == ["rate", "norm"]
    assert study.default_config().task_weights == {"a": 1.0}


def test_a_task_by_itself_is_a_study_of_its_own() -> None:
    alone = loaded(joint()).only("amount")
    assert alone.study.task_names == ["amount"]
    assert alone.score({"amount": {"r2": 0.25}}) == 0.25
    assert [list(splits.train.labels) for splits in alone.splits] == [["amount"]]


def test_study_file_imports_the_modules_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    source = (Path(shipped_studies()["digits"])).read_text()
    (tmp_path / "their_digits.py").write_text(source)
    (tmp_path / "mine.py").write_text("from their_digits import study\n")
    assert load_study(str(tmp_path / "mine.py")).task_names == load_study("digits").task_names
