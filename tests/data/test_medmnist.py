"""MedMNIST's files as joint tasks, one a diagnosis or a group; balanced losses; the area under the ROC curve."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import SOLO, done, refused
from population_asserts import assert_population_equals_solo, config
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc
from xrays import SIZES, chest_arrays, write

from mtlsearch import Classification, ConvTrunk, Data, MedMNIST, MultiLabel, Study
from mtlsearch.data.medmnist import CHEST
from mtlsearch.download import DownloadError
from mtlsearch.errors import DataError, StudyError
from mtlsearch.study.loaded import load_data
from mtlsearch.tasks.metrics import aurocs, multilabel_macro_auroc


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """A data directory that holds a small ChestMNIST."""
    write(tmp_path / "chestmnist.npz")
    return tmp_path


def test_each_diagnosis_is_a_column_and_the_files_validation_part_is_kept(chest: Path) -> None:
    arrays, data = chest_arrays(), MedMNIST("chestmnist")(chest)
    assert isinstance(data.validation, type(data.train))
    assert [len(part) for part in (data.train, data.validation, data.test)] == list(SIZES.values())
    assert tuple(data.train.labels) == CHEST
    assert (data.train.labels["hernia"].numpy() == arrays["train_labels"][:, [13]]).all()
    assert (data.validation.inputs.numpy() == arrays["val_images"]).all()
    assert data.train.inputs.dtype == torch.uint8
    assert data.class_names("mass") == ("mass",)


def test_diagnoses_are_grouped_where_groups_are_named(chest: Path) -> None:
    source = MedMNIST("chestmnist", groups={"lumps": ["nodule", "mass"]})
    data = source(chest)
    assert data.class_names("lumps") == ("nodule", "mass")
    assert torch.equal(data.test.labels["lumps"], torch.cat([data.test.labels["nodule"], data.test.labels["mass"]], 1))
    study = Study(
        tasks=[MultiLabel("lumps", source, pos_weight="balanced"), MultiLabel("hernia", source)],
        model=lambda config: ConvTrunk({"lumps": 2, "hernia": 1}, channels=2),
        space={}, default={}, epochs=1,
    )  # fmt: skip
    assert len(load_data(study, chest).splits) == 1


@pytest.mark.parametrize(("group", "got"), [(["mass", "flu"], "mass, flu"), ([], "none")])
def test_a_group_of_unknown_columns_is_refused_with_the_known(chest: Path, group: list[str], got: str) -> None:
    with pytest.raises(DataError) as error:
        MedMNIST("chestmnist", groups={"g": group})(chest)
    assert str(error.value) == (f"group 'g' must name columns of chestmnist ({', '.join(CHEST)}), but got {got}")


@pytest.mark.parametrize("missing", [np.float32(np.nan), np.float32(-1)])
def test_labels_below_zero_or_nan_are_missing(tmp_path: Path, missing: np.float32) -> None:
    labels = chest_arrays()["train_labels"].astype(np.float32)
    labels[3, 5] = missing
    write(tmp_path / "chestmnist.npz", {"train_labels": labels})
    column = MedMNIST("chestmnist")(tmp_path).train.labels[CHEST[5]]
    assert column.isnan().sum() == 1
    assert bool(column[3].isnan())


def test_a_set_of_classes_is_one_column_and_its_colour_pictures_have_channels_first(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    changes: dict[str, Any] = {}
    for part, count in SIZES.items():
        changes[f"{part}_images"] = random.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
        changes[f"{part}_labels"] = random.integers(0, 4, (count, 1), dtype=np.uint8)
    write(tmp_path / "bloodmnist_64.npz", changes)
    source = MedMNIST("bloodmnist", size=64)
    data = source(tmp_path)
    assert data.train.inputs.shape == (192, 3, 6, 5)
    assert (data.train.inputs[7].permute(1, 2, 0).numpy() == changes["train_images"][7]).all()
    task = Classification("blood", source)
    assert task.target(data).size == 4


def test_a_file_of_ones_own_needs_its_columns_named(tmp_path: Path) -> None:
    write(tmp_path / "mine.npz", labels=3)
    data = MedMNIST("mine", columns=("a", "b", "c"))(tmp_path)
    assert tuple(data.train.labels) == ("a", "b", "c")
    with pytest.raises(
        DataError, match=r"mine\.npz has 3 labels a picture: name each in MedMNIST\(columns=…\), which has 0$"
    ):
        MedMNIST("mine")(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def harm_pixels(path: Path) -> None:
    """Change bytes within an array, which its checksum tells."""
    content = bytearray(path.read_bytes())
    content[4000:4100] = bytes(100)
    path.write_bytes(bytes(content))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: write(p, without="val_labels"), "must hold the array 'val_labels', as MedMNIST's files do, but holds train_images, train_labels, val_images, test_images, test_labels"),
        (cut, "is no whole .npz file of arrays"),
        (harm_pixels, "is no whole .npz file of arrays"),
        (one_array, "is no whole .npz file of arrays (it is no archive): delete it and run again"),
        (lambda p: p.write_bytes(b""), "is no whole .npz file of arrays"),
        (lambda p: p.write_text("<html>not found</html>"), "is no whole .npz file of arrays"),
        (lambda p: write(p, {"test_labels": np.array([{}] * 64)}), "is no whole .npz file of arrays (Object arrays cannot be loaded"),
        (lambda p: write(p, {"val_images": np.zeros((64, 12, 12), np.float32)}), "val_images must be uint8 [N, H, W] or [N, H, W, C], but is float32 (64, 12, 12)"),
        (lambda p: write(p, {"val_images": np.zeros((64, 144), np.uint8)}), "val_images must be uint8 [N, H, W] or [N, H, W, C], but is uint8 (64, 144)"),
        (lambda p: write(p, {"train_labels": np.zeros((10, 14), np.uint8)}), "train_labels must be numbers [N, L] of 192 pictures, but is uint8 (10, 14)"),
        (lambda p: write(p, {"train_labels": np.full((192, 14), "a")}), "train_labels must be numbers [N, L] of 192 pictures, but is <U1 (192, 14)"),
        (lambda p: write(p, labels=13), "has 13 labels a picture: name each in MedMNIST(columns=…), which has 14"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_what_it_lacks(chest: Path, harm: Callable[[Path], Any], message: str) -> None:
    path = chest / "chestmnist.npz"
    harm(path)
    with pytest.raises(DataError) as error:
        MedMNIST("chestmnist")(chest)
    line = str(error.value)
    assert line.startswith(str(path))
    assert message in line
    assert "\n" not in line


def test_the_error_for_a_missing_file_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    """Whether the package that downloads is installed or not; no host is reached."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DownloadError) as error:
        MedMNIST("chestmnist")(tmp_path)
    line = str(error.value)
    assert line.startswith(f"chestmnist.npz is not in the data directory {tmp_path}")
    assert "put it there" in line
    assert "\n" not in line


def test_the_shipped_study_runs_on_a_small_file(chest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chest)
    monkeypatch.setenv("MTLSEARCH_STORAGE", f"sqlite:///{chest}/s.db")
    done("run", "chest", "--trials", 3, "--epochs", 1, *SOLO, "--data", chest, "--quiet")
    best = done("best", "chest", "--json").json
    assert tuple(best["validation"]) == CHEST
    assert {metric for values in best["validation"].values() for metric in values} == {"macro_auroc"}
    assert sum(best["task_weights"].values()) == pytest.approx(1)
    done("export", "chest", "-o", "best.json", "--checkpoint", "best.safetensors")
    np.save("picture.npy", chest_arrays()["test_images"][0])
    told = done("predict", "best.safetensors", "picture.npy", "--json").out
    assert "hernia" in told


def test_a_missing_key_is_one_line_on_the_command_line(chest: Path) -> None:
    write(chest / "chestmnist.npz", without="train_images")
    line = refused("train", "chest", "--data", chest, "--threads", 1)
    assert line.startswith(f"{chest / 'chestmnist.npz'} must hold the array 'train_images'")


def small_study(pos_weight: Any = "balanced") -> Study:
    source = MedMNIST("chestmnist", groups={"first": CHEST[:3], "second": CHEST[3:7]})
    return Study(
        tasks=[MultiLabel(name, source, pos_weight=pos_weight) for name in ("first", "second")],
        model=lambda config: ConvTrunk({"first": 3, "second": 4}, channels=3, norm="batch"),
        space={},
        default={"learning_rate": 1e-2},
        epochs=3,
        batch_size=32,
    )


def test_balanced_tasks_equal_solo(chest: Path) -> None:
    study = small_study()
    data = study.tasks[0].data(chest)
    study = replace(study, epochs=2, tasks=[replace(task, data=lambda directory: data) for task in study.tasks])
    assert_population_equals_solo(study, [config(study, [0.2, 0.8]), config(study, optimizer="sgd")])


def test_balanced_is_the_training_parts_number_of_noes_to_a_yes(chest: Path) -> None:
    labels = torch.from_numpy(chest_arrays()["train_labels"][:, :3]).double()
    weight = (labels == 0).sum(0) / (labels == 1).sum(0)
    loaded = load_data(small_study(), chest)
    (task, _), (splits,) = loaded.study.tasks, loaded.splits
    outputs = torch.randn(192, 3, generator=torch.Generator().manual_seed(0)).double()
    ours = float(task.loss(outputs, splits.train.labels["first"]))
    assert ours == pytest.approx(
        float(F.binary_cross_entropy_with_logits(outputs, labels, pos_weight=weight)), rel=1e-6
    )
    held_out = splits.validation.labels["first"]
    assert {round(v, 4) for v in held_out[held_out > 0].unique().tolist()} == {round(v, 4) for v in weight.tolist()}


def test_balanced_leaves_missing_labels_out_and_a_column_of_one_outcome_alone() -> None:
    labels = torch.tensor([[1, 1, torch.nan], [0, 1, 0], [0, torch.nan, 0], [0, 1, torch.nan]])
    task = MultiLabel("a", lambda directory: None, pos_weight="balanced")
    pair = (torch.zeros(4, 2), labels)
    target = task.target(Data(pair, pair))
    assert target.pos_weight.tolist() == [3, 1, 1]
    ours = task.prepare(labels, target)
    assert torch.equal(ours.isnan(), labels.isnan())
    outputs = torch.ones(4, 3, requires_grad=True)
    task.loss(outputs, ours).backward()
    assert (outputs.grad[labels.isnan()] == 0).all()


def test_balancing_leaves_the_metric_alone(chest: Path) -> None:
    outputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    values = []
    for pos_weight in (None, "balanced"):
        loaded = load_data(small_study(pos_weight), chest)
        metric = loaded.metrics["first"]
        values.append(float(metric.compute(outputs, loaded.splits[0].validation.labels["first"])))
    assert values[0] == values[1]


def test_an_unknown_pos_weight_is_refused(chest: Path) -> None:
    with pytest.raises(
        StudyError, match=r"^task 'first': pos_weight must be balanced or a tuple of numbers, but got 'auto'$"
    ):
        load_data(small_study("auto"), chest)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_auroc_is_scikit_learns_and_torchmetrics(ties: bool, missing: float) -> None:
    random = torch.Generator().manual_seed(2)
    outputs = torch.randn(500, 5, generator=random)
    outputs = (outputs * 2).round() / 2 if ties else outputs
    labels = (torch.rand(500, 5, generator=random) < 0.1).float()
    labels[torch.rand(500, 5, generator=random) < missing] = torch.nan
    for output, label, ours in zip(outputs.T, labels.T, aurocs(outputs, labels), strict=True):
        known = ~label.isnan()
        assert float(ours) == pytest.approx(roc_auc_score(label[known], output[known]), abs=1e-12)
        theirs = binary_auroc(output[known].sigmoid(), label[known].long())
        assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


def test_auroc_of_members_side_by_side_is_that_of_each_alone() -> None:
    members = torch.randn(3, 60, 4, generator=torch.Generator().manual_seed(3))
    labels = (members[0] > 0.5).float()
    compute = multilabel_macro_auroc().compute
    together = torch.func.vmap(compute, in_dims=(0, None))(members, labels)
    assert together.tolist() == [float(compute(member, labels)) for member in members]


def test_outputs_of_nan_have_no_auroc() -> None:
    outputs, labels = torch.randn(6, 1), torch.tensor([[0.0], [1], [0], [1], [0], [1]])
    outputs[2] = torch.nan
    value: Tensor = torch.as_tensor(multilabel_macro_auroc().compute(outputs, labels))
    assert bool(value.isnan())
