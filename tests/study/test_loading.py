"""Data of several tasks: parts with every task's share of labels, and tasks that a part cannot score."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SOLO, command, done, refused, stored
from optuna.trial import TrialState
from torch import nn

from mtlsearch import Classification, Data, MultiLabel, Regression, SharedTrunk, Study, load_study, search
from mtlsearch.errors import DataError, ModelError, StudyError
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.tuning.studies import as_recorded

NOWHERE = Path("nowhere")
ROWS = 200


def study_of(labels: dict[str, Any], tasks: list[Any], split: Any = None, **options: Any) -> Study:
    """A study of these labels, whose tasks are made by kind and options."""
    x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)

    def source(directory: Path) -> Data:
        if split is not None:
            return Data((x, labels), split=split)
        return Data((x, labels), (x, labels))

    made = [kind(name, source, **given) for name, kind, given in tasks]
    heads = {task.name: 1 if isinstance(task, Regression) else 2 for task in made}
    return Study(
        tasks=made,
        model=lambda config: SharedTrunk(3, heads, hidden=4),
        space={},
        default={"learning_rate": 1e-2},
        **options,
    )


def binary(yes: int, seed: int = 0) -> Any:
    """Class labels [ROWS] of which so many are 1."""
    return np.random.default_rng(seed).permutation(np.arange(ROWS) < yes).astype(np.int64)


def yes_in_validation(loaded: LoadedStudy, task: str) -> int:
    (splits,) = loaded.splits
    return int((splits.validation.labels[task] > 0).sum())


# Division.


def test_every_task_keeps_its_share_of_rare_labels() -> None:
    labels = {"a": binary(100, 1), "b": binary(5, 2), "c": np.stack([binary(10, 3), binary(5, 4)], 1)}
    tasks = [("a", Classification, {}), ("b", Classification, {}), ("c", MultiLabel, {})]
    loaded = load_data(study_of(labels, tasks), NOWHERE)
    (splits,) = loaded.splits
    assert [yes_in_validation(loaded, task) for task in "ab"] == [20, 1]
    assert splits.validation.labels["c"].sum(0).tolist() == [2, 1]
    assert loaded.fingerprint()["split"] == {"split_seed": 0, "sizes": [[160, 40, 200]], "way": "iterative"}


def test_one_classification_and_regressions_are_divided_as_before() -> None:
    labels = {"a": binary(5), "b": np.random.default_rng(0).normal(size=ROWS)}
    study = study_of(labels, [("b", Regression, {}), ("a", Classification, {})])
    new, old = load_data(study, NOWHERE), load_data(replace(study, division="first"), NOWHERE)
    assert "way" not in new.fingerprint()["split"]
    assert new.fingerprint() == old.fingerprint()
    assert new.splits[0].validation.labels["a"].tolist() == old.splits[0].validation.labels["a"].tolist()


def test_a_study_begun_by_an_earlier_version_goes_on_with_its_division(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = {"a": binary(100, 1), "b": binary(20, 2)}
    new = study_of(labels, [("a", Classification, {}), ("b", Classification, {})], epochs=1)
    old = replace(new, division="first")
    options: dict[str, Any] = {"name": "s", "quiet": True, "confirm": False, "threads": 1, "population": 1}
    search(old, trials=1, **options)
    search(new, trials=2, **options)
    first, second = stored(tmp_path / "mtlsearch.db", "s")
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.COMPLETE)
    loaded = load_data(old, NOWHERE)
    assert loaded.fingerprint() != load_data(new, NOWHERE).fingerprint()
    info = describe(loaded)
    assert as_recorded(new, info).division == "first"
    del info["budget"]["division"]  # as earlier versions wrote it
    assert as_recorded(new, info).division == "first"
    assert as_recorded(new, describe(load_data(new, NOWHERE))).division == "iterative"


# Parts that cannot score a task.

PARTS = np.repeat(["train", "validation", "test"], [100, 50, 50])
ONLY_TRAIN = np.where(PARTS == "train", binary(60, 5), 0)
ONE_IN_TEST, AP = np.where(PARTS == "test", 1, binary(99)), "average_precision"
ONE = "needs two classes, but all 50 labels are"
NEITHER = "validation data: no label has both outcomes, with 0 yes and 100 no in all"
SAME = "validation data: r2 needs two different values of each target, but one has 50 labels of one value"


@pytest.mark.parametrize(
    ("name", "kind", "options", "labels", "why"),
    [
        ("a", Classification, {"metric_name": "auroc"}, ONLY_TRAIN, f"validation data: auroc {ONE} '0'"),
        ("a", Classification, {"metric_name": AP}, ONLY_TRAIN, f"validation data: {AP} {ONE} '0'"),
        ("a", Classification, {"metric_name": "auroc"}, ONE_IN_TEST, f"test data: auroc {ONE} '1'"),
        ("a", MultiLabel, {}, np.stack([ONLY_TRAIN, ONLY_TRAIN], 1), NEITHER),
        ("a", Regression, {}, np.where(PARTS == "validation", 3.0, np.arange(ROWS)), SAME),
    ],
)  # fmt: skip
def test_a_part_that_cannot_score_a_task_is_refused_with_counts(
    name: str, kind: Any, options: dict[str, Any], labels: Any, why: str
) -> None:
    with pytest.raises(DataError) as error:
        load_data(study_of({name: labels}, [(name, kind, options)], PARTS), NOWHERE)
    assert str(error.value).startswith(f"task 'a' cannot be scored on its {why}. Hold out more of the data")
    assert 'Study(..., unscorable="skip")' in str(error.value)


def test_metrics_that_one_class_does_not_break_are_scored() -> None:
    labels = {"a": ONLY_TRAIN, "b": np.stack([ONLY_TRAIN] * 2, 1), "c": np.where(PARTS == "test", 1.0, np.arange(ROWS))}
    tasks = [
        ("a", Classification, {}),
        ("b", MultiLabel, {"metric_name": "macro_f1"}),
        ("c", Regression, {"metric_name": "mae"}),
    ]
    assert load_data(study_of(labels, tasks, PARTS), NOWHERE).left_out == {}


def test_a_study_whose_every_task_is_unscorable_has_no_score() -> None:
    study = study_of({"a": ONLY_TRAIN}, [("a", Classification, {"metric_name": "auroc"})], PARTS, unscorable="skip")
    with pytest.raises(DataError, match="no task can be scored, such as 'a' on its validation data: auroc needs"):
        load_data(study, NOWHERE)


@pytest.mark.parametrize("option", ["unscorable", "division"])
def test_unknown_ways_are_refused_with_the_known_ones(option: str) -> None:
    with pytest.raises(StudyError, match=rf"^{option} must be \w+ or \w+, but got 'maybe'$"):
        study_of({"a": binary(50)}, [("a", Classification, {})], **{option: "maybe"})


STUDY = """
import numpy as np
from mtlsearch import Classification, Data, MultiLabel, Regression, SharedTrunk, Study, real


def source(directory):
    x = np.random.default_rng(0).normal(size=(240, 4)).astype(np.float32)
    rare = np.where(np.arange(240) < 80, np.arange(240) % 2, np.nan)
    labels = {"kind": (x[:, 0] > 0).astype(int), "rare": rare[:, None], "price": x[:, 1] * 3}
    return Data((x, labels), split=np.repeat(["train", "validation", "test"], 80))


study = Study(
    tasks=[Classification("kind", source), MultiLabel("rare", source), Regression("price", source)],
    model=lambda config: SharedTrunk(4, {"kind": 2, "rare": 1, "price": 1}, hidden=8),
    space={"learning_rate": real(1e-3, 1e-1, log=True)},
    default={"learning_rate": 1e-2},
    epochs=2,
    unscorable="skip",
)
"""


@pytest.fixture(scope="module")
def skipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a searched and confirmed study, of which one task has labels in training alone."""
    folder = tmp_path_factory.mktemp("skipped")
    (folder / "skip.py").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MTLSEARCH_STORAGE", raising=False)
        options = ("--trials", "2", "--seeds", "2", "--top", "1", "--threads", "1", "--population", "1")
        outcome = done("run", "skip.py", *options, "--json")
        (folder / "best.json").write_text(outcome.out)
        (folder / "told.txt").write_text(outcome.err)
    return folder


def test_a_task_that_is_left_out_is_told_and_trained_and_counts_in_no_score(skipped: Path) -> None:
    told = (skipped / "told.txt").read_text()
    assert (
        "task 'rare' is trained and left out of the score, as it cannot be scored on its validation data: all" in told
    )
    assert "equal weights and kind and price alone after a search of its own" in told
    loaded = load_data(load_study(str(skipped / "skip.py")), NOWHERE)
    assert loaded.scored == ["kind", "price"]
    for trial in stored(skipped / "mtlsearch.db", "skip"):
        found = trial.user_attrs["validation"]
        assert found["rare"] == {}
        assert trial.value == pytest.approx((found["kind"]["accuracy"] + found["price"]["r2"]) / 2)
        assert trial.user_attrs["task_weights"]["rare"] > 0


def test_a_task_that_is_left_out_is_in_no_verdict_and_every_command_takes_the_study(
    skipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(skipped)
    assert "NaN" not in (skipped / "best.json").read_text()
    said = done("best").out
    assert "failed" not in said
    assert "rare:" not in said
    done("export", "-o", "e.json", "--checkpoint", "e.safetensors")
    assert done("verify", "e.json", "--study", "skip.py", "--threads", "1", "--json").json["agrees"]
    assert load_data(load_study("skip.py"), NOWHERE).fingerprint()["left out of the score"] == ["rare"]
    compared = ("--methods", "tuned", "--trials", "1", "--seeds", "2", "--threads", "1", "--population", "1")
    assert "rare" not in done("compare", "skip.py", *compared).out
    done("report", "-o", "report.html")
    result = search("skip.py", trials=2, quiet=True, confirm=False, threads=1)
    assert len(result.front) >= 1
    refusing = STUDY.replace('unscorable="skip"', 'unscorable="refuse"')
    Path("refuse.py").write_text(refusing)
    assert "task 'rare' needs labels in its validation data" in refused("run", "refuse.py", *SOLO)
    assert command("train", "skip.py", "--threads", "1", "--quiet").status == 0


# Models that do not fit.


class Bare(nn.Module):
    """A network as people write it for one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(x.flatten(1))
        return found


class OneOutput(Bare):
    def forward(self, inputs: Any) -> torch.Tensor:
        return super().forward(inputs["a"])


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (Bare, "the model must take a dict of inputs by task and give one of outputs, but its forward takes a tensor"),
        (OneOutput, "the model must give a dict of outputs by task, but got a Tensor: return {task: self.heads"),
        (lambda: SharedTrunk(3, {"b": 2}), "must have a head for each task, but has none for 'a' (it has b): name"),
        (lambda: SharedTrunk(3, {"a": 1}), "must have a column for each of its 2 classes (0, 1), but has 1: give its"),
        (lambda: SharedTrunk(4, {"a": 2}), "the model takes inputs of 4 numbers, but got (3,), 3 numbers"),
    ],
)
def test_a_model_that_does_not_fit_is_told_by_the_rule(model: Any, rule: str) -> None:
    study = replace(study_of({"a": binary(50)}, [("a", Classification, {})]), model=lambda config: model())
    with pytest.raises(ModelError) as error:
        load_data(study, NOWHERE)
    assert rule in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_beyond_those_of_training_blames_the_labels() -> None:
    labels = np.where(PARTS == "test", 2, binary(90))
    with pytest.raises(DataError, match=r"task 'a': labels must lie in 0 … 1 \(or be −1 where missing\), but got 2"):
        load_data(study_of({"a": labels}, [("a", Classification, {})], PARTS), NOWHERE)


def test_texts_as_labels_are_told_with_what_to_write() -> None:
    with pytest.raises(DataError, match=r"got texts such as 'no': number the classes, .*pandas.factorize"):
        load_data(study_of({"a": np.where(binary(50) == 1, "yes", "no")}, [("a", Classification, {})]), NOWHERE)
