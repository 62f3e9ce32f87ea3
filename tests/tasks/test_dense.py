"""Dense tasks: losses and metrics held to plain references, trunks, rendered scenes, NYUv2's files, bad labels."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import re
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
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from mtlsearch import Data, DenseTrunk, Depth, Normals, NYUv2, RenderedScenes, Segmentation, Study, load_study
from mtlsearch.data.scenes import FIELD
from mtlsearch.errors import DataError, ModelError, MtlsearchError, StudyError
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.tasks.dense import DenseTask
from mtlsearch.tasks.metrics import CountedMetric
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

N, C, H, W = 6, 4, 5, 7
TINY = RenderedScenes(side=8, train=32, validation=8, test=8)


def unused(directory: object) -> Data:
    raise AssertionError("a task does not load data by itself")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def data(labels: Any, **options: Any) -> Data:
    pair = (torch.zeros(len(labels), 3, H, W), labels)
    return Data(pair, pair, **options)


def gone(*shape: int) -> Tensor:
    """Where labels are missing: 3 in 10."""
    return numbers(*shape, seed=9) < -0.5


CLASSES = torch.where(gone(N, H, W), -1, numbers(N, H, W, seed=1).mul(1.5).long().clamp(0, C - 2).abs())
DEPTHS = torch.where(gone(N, H, W), torch.nan, numbers(N, H, W, seed=2).abs() + 0.5)
VECTORS = torch.where(gone(N, 1, H, W), torch.nan, numbers(N, 3, H, W, seed=3) * 4)
NAMES = {"classes": ("w", "x", "y", "z")}
CASES: dict[str, tuple[DenseTask, Tensor, Tensor, dict[str, Any]]] = {
    "segmentation": (Segmentation("t", unused), CLASSES, numbers(N, C, H, W), NAMES),
    "depth": (Depth("t", unused), DEPTHS, numbers(N, 1, H, W), {}),
    "relative": (Depth("t", unused, metric_name="rel_err"), DEPTHS, numbers(N, 1, H, W), {}),
    "normals": (Normals("t", unused), VECTORS, numbers(N, 3, H, W), {}),
}


def prepared(name: str) -> tuple[DenseTask, Tensor, Tensor, CountedMetric]:
    """A task, its labels as the loss takes them, outputs, and its metric."""
    task, labels, outputs, options = CASES[name]
    target = task.target(data(labels, **options))
    metric = task.metric(target)
    assert isinstance(metric, CountedMetric)
    return task, task.prepare(labels, target), outputs, metric


def plain_loss(name: str, outputs: Tensor) -> Tensor:
    """torch's own, over the labelled pixels."""
    labels = CASES[name][1]
    if name == "segmentation":
        return F.cross_entropy(outputs, labels, ignore_index=-1)
    if name == "normals":
        known = ~labels.isnan().any(1)
        return (1 - F.cosine_similarity(outputs, labels.nan_to_num(), dim=1))[known].mean()
    known = ~labels.isnan()
    return F.l1_loss(outputs[:, 0][known], labels[known])


def plain_metric(name: str, outputs: Tensor) -> float:
    """scikit-learn's or NumPy's, over the labelled pixels."""
    labels = CASES[name][1]
    if name == "segmentation":
        known = labels >= 0
        truth, guess = labels[known], outputs.argmax(1)[known]
        return float(jaccard_score(truth, guess, average="macro", labels=truth.unique()))
    known = ~labels.isnan().any(1) if name == "normals" else ~labels.isnan()
    if name == "normals":
        cosines = F.cosine_similarity(outputs, labels.nan_to_num(), dim=1)[known].numpy()
        return float(np.degrees(np.arccos(cosines)).mean())
    errors = (outputs[:, 0] - labels)[known].abs()
    return float((errors / labels[known] if name == "relative" else errors).mean())


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_torchs_over_the_labelled_pixels(name: str) -> None:
    task, labels, outputs, _ = prepared(name)
    ours, plain = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    loss, reference = task.loss(ours, labels), plain_loss(name, plain)
    loss.backward()
    reference.backward()
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-6)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-5, atol=1e-8)
    missing = gone(N, H, W) if name != "normals" else gone(N, 1, H, W)[:, 0]
    assert (ours.grad.transpose(0, 1)[:, missing] == 0).all()


@pytest.mark.parametrize("name", CASES)
def test_metric_is_the_plain_one_and_counts_of_chunks_add_up(name: str) -> None:
    _, labels, outputs, metric = prepared(name)
    whole = float(metric.finish(metric.count(outputs, labels)))
    assert whole == pytest.approx(plain_metric(name, outputs), rel=1e-6)
    chunks = torch.stack([metric.count(outputs[rows], labels[rows]) for rows in (slice(0, 4), slice(4, 6))])
    assert float(metric.finish(chunks.sum(0))) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_members_are_counted_side_by_side(name: str) -> None:
    _, labels, outputs, metric = prepared(name)
    members = torch.stack([outputs, -outputs, outputs.flip(2)])
    together = metric.finish(torch.func.vmap(metric.count, in_dims=(0, None))(members, labels))
    alone = [float(metric.finish(metric.count(member, labels))) for member in members]
    assert together.tolist() == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_without_labels_has_the_loss_and_the_gradient_zero(name: str) -> None:
    task, labels, outputs, _ = prepared(name)
    labels = torch.full_like(labels, torch.nan if labels.is_floating_point() else -1)
    ours = outputs.clone().requires_grad_()
    loss = task.loss(ours, labels)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (ours.grad == 0).all()


def test_outputs_that_point_nowhere_have_a_finite_gradient() -> None:
    task, labels, outputs, metric = prepared("normals")
    zero = torch.zeros_like(outputs).requires_grad_()
    task.loss(zero, labels).backward()
    assert zero.grad.isfinite().all()
    assert float(metric.finish(metric.count(zero.detach(), labels))) == pytest.approx(90)


def test_a_class_that_is_nowhere_does_not_count_in_miou() -> None:
    _, _, _, metric = prepared("segmentation")
    labels = torch.tensor([[[0, 1, 1, 0]]])
    outputs = F.one_hot(torch.tensor([[[0, 1, 3, 0]]]), C).permute(0, 3, 1, 2).double()
    assert float(metric.finish(metric.count(outputs, labels))) == pytest.approx((1 + 0.5) / 2)


def test_only_miou_is_better_higher() -> None:
    metrics = [prepared(name)[3] for name in CASES]
    assert [(metric.name, metric.higher_is_better) for metric in metrics] == [
        ("miou", True), ("abs_err", False), ("rel_err", False), ("mean_angle", False),
    ]  # fmt: skip


def test_zero_depth_is_missing_where_it_is_said_to_be() -> None:
    labels = torch.where(gone(N, H, W), 0, DEPTHS.nan_to_num())
    task = Depth("t", unused, zero_is_missing=True)
    ours = task.prepare(labels, task.target(data(labels)))
    torch.testing.assert_close(ours, DEPTHS.float(), equal_nan=True)


def test_normals_become_unit_vectors_and_those_of_no_length_are_missing() -> None:
    labels = torch.where(gone(N, 1, H, W), 0, VECTORS.nan_to_num())
    task = Normals("t", unused)
    ours = task.prepare(labels, task.target(data(labels)))
    assert torch.equal(ours.isnan(), VECTORS.isnan())
    assert torch.allclose(ours.square().sum(1).sqrt()[~gone(N, 1, H, W)[:, 0]], torch.tensor(1.0))


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (Segmentation, CLASSES.unsqueeze(1), "labels must have the shape [N, H, W], but got (6, 1, 5, 7)"),
        (Segmentation, CLASSES + 0.5, "class labels must be whole numbers (or NaN where missing), but got 0.5"),
        (Segmentation, CLASSES * 0, "the training data must hold two classes or more, but hold 1"),
        (Segmentation, CLASSES * 0 - 1, "the training data must hold two classes or more, but hold 0"),
        (Segmentation, CLASSES - 1, "labels must lie in 0 … 1 (or be −1 where missing), but got -2"),
        (Depth, DEPTHS[0], "labels must have the shape [N, H, W], but got (5, 7)"),
        (Depth, -DEPTHS, "depths must be finite and not negative, or NaN where missing"),
        (Depth, DEPTHS / 0, "depths must be finite and not negative, or NaN where missing"),
        (Normals, VECTORS[:, :2], "labels must have the shape [N, 3, H, W], but got (6, 2, 5, 7)"),
        (Normals, VECTORS / 0, "normals must be finite, or NaN where missing, but got infinity"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(task: Any, labels: Tensor, message: str) -> None:
    made = task("t", unused)
    with pytest.raises(DataError) as error:
        made.prepare(labels, made.target(data(labels)))
    assert str(error.value).removeprefix("task 't'").removeprefix(":").strip() == message


def test_relative_error_of_a_depth_of_zero_is_refused_with_what_to_do() -> None:
    task = Depth("t", unused, metric_name="rel_err")
    with pytest.raises(DataError, match=r"a depth of 0 has no relative error: set zero_is_missing=True"):
        task.prepare(DEPTHS.nan_to_num(), task.target(data(DEPTHS)))


def test_parts_of_other_sizes_are_refused() -> None:
    task = Depth("t", unused)
    with pytest.raises(DataError, match=r"all parts must have labels of \(5, 7\) pixels, but got \(5, 6\)$"):
        task.prepare(DEPTHS[..., :6], task.target(data(DEPTHS)))


def scene_study(model: Callable[..., nn.Module] | None = None, **options: Any) -> Study:
    def build(config: Any) -> nn.Module:
        heads = {"segmentation": 4, "depth": 1, "normals": 3}
        names = ("sharing", "norm", "dropout")
        return DenseTrunk(heads, channels=2, depth=2, **{name: config[name] for name in names})

    return Study(
        tasks=[Segmentation("segmentation", TINY), Depth("depth", TINY), Normals("normals", TINY)],
        model=model or build,
        space={},
        default={"sharing": "shared", "norm": "batch", "dropout": 0.0},
        epochs=3,
        batch_size=8,
    )


@pytest.mark.parametrize("sharing", ["shared", "encoder", "separate"])
def test_dense_trunks_equal_solo(sharing: str) -> None:
    study = scene_study()
    members = [
        config(study, [0.2, 0.5, 0.3], sharing=sharing, dropout=0.3),
        config(study, sharing=sharing, optimizer="sgd"),
    ]
    assert_population_equals_solo(study, members)


@pytest.mark.parametrize("sharing", ["shared", "encoder", "separate"])
def test_dense_trunks_share_what_sharing_names(sharing: str) -> None:
    heads = {"a": 2, "b": 1}
    model = DenseTrunk(heads, in_channels=1, channels=2, sharing=sharing)
    x, other = torch.rand(3, 9, 6), torch.rand(2, 9, 6)
    joint, apart = model({"a": x, "b": x}), model({"a": x, "b": other})
    assert {task: tuple(y.shape) for task, y in apart.items()} == {"a": (3, 2, 9, 6), "b": (2, 1, 9, 6)}
    torch.testing.assert_close(joint["a"], apart["a"])
    torch.testing.assert_close(model({"b": other})["b"], apart["b"])
    joint["a"].sum().backward()
    moved = {".".join(name.split(".")[:2]) for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {
        "encoders.a" if sharing == "separate" else "encoders.shared",
        "decoders.shared" if sharing == "shared" else "decoders.a",
        "heads.a",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharing": 1}, r"^sharing must be one of shared, encoder, separate here, but got 1$"),
        ({"depth": 0}, r"^channels and depth must be 1 or more, but got 16 and 0$"),
        ({"norm": "layer"}, r"^norm must be none or batch here, but got 'layer'$"),
        ({"channels": 2**16}, r"^the channels of the deepest layer must be 131072 or less, but got 262144$"),
        ({"depth": 10**6}, r"^depth must be 1000 or less, but got 1000000$"),
        ({"in_channels": 10**9}, r"^in_channels must be 131072 or less, but got 1000000000$"),
    ],
)
def test_dense_trunks_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        DenseTrunk({"a": 1}, **options)


class Outputs(nn.Module):
    """Gives outputs of these shapes, whatever the pictures."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = shapes

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = len(next(iter(inputs.values())))
        return {task: torch.zeros(rows, *shape) for task, shape in self.shapes.items()}


RIGHT = {"segmentation": (4, 8, 8), "depth": (1, 8, 8), "normals": (3, 8, 8)}


@pytest.mark.parametrize("shape", [(8, 8), (1, 4, 4), (1,), (3, 8, 8)])
def test_a_dense_output_that_does_not_fit_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    study = scene_study(lambda config: Outputs({**RIGHT, "depth": shape}))
    with pytest.raises(ModelError) as error:
        load_data(study, Path())
    assert str(error.value) == (
        f"the model's output for task 'depth' must have the shape (2, 1, 8, 8), but got {(2, *shape)}"
    )


def test_a_model_that_forgets_a_dense_task_is_refused() -> None:
    forgets = {task: shape for task, shape in RIGHT.items() if task != "normals"}
    study = scene_study(lambda config: Outputs(forgets))
    with pytest.raises(ModelError, match=r"must give an output for task 'normals', but gave: segmentation, depth$"):
        load_data(study, Path())


def test_a_dense_study_is_described_and_its_fingerprint_tells_metrics_apart() -> None:
    study = scene_study()
    about = describe(load_data(study, Path()))
    assert {task: told["output_shape"] for task, told in about["tasks"].items()} == {
        "segmentation": [4, 8, 8], "depth": [1, 8, 8], "normals": [3, 8, 8],
    }  # fmt: skip
    assert about["tasks"]["segmentation"]["classes"] == ["wall", "floor", "ball", "box"]
    relative = replace(study, tasks=[study.tasks[0], Depth("depth", TINY, metric_name="rel_err"), study.tasks[2]])
    assert describe(load_data(relative, Path()))["fingerprint"] != about["fingerprint"]


def test_scenes_are_a_function_of_their_seed() -> None:
    again, other = (replace(TINY, seed=seed)(Path()).train for seed in (0, 1))
    first = TINY(Path()).train
    assert torch.equal(first.inputs, again.inputs)
    assert all(torch.equal(first.labels[name], again.labels[name]) for name in first.labels)
    assert not torch.equal(first.inputs, other.inputs)


def test_scenes_hold_what_a_camera_sees() -> None:
    """Every normal has length 1 and faces the camera; walls and floors are planes; balls are round."""
    part = RenderedScenes(side=24, train=20, validation=2, test=2)(Path()).train
    kinds, depth, normals = (part.labels[name] for name in ("segmentation", "depth", "normals"))
    across = torch.linspace(-FIELD, FIELD, 24)
    rays = torch.stack([across.expand(24, 24), across.view(-1, 1).expand(24, 24), torch.ones(24, 24)])
    assert torch.allclose(normals.square().sum(1), torch.tensor(1.0), atol=1e-5)
    assert ((normals * rays).sum(1) < 1e-6).all()
    points = depth.unsqueeze(1) * rays
    for k in range(20):
        assert float(points[k, 2][kinds[k] == 0].std()) < 1e-5
        assert float(points[k, 1][kinds[k] == 1].std()) < 1e-5
    # Beside one another on a surface, points differ at a right angle to the normal; at its edges they need not.
    step = points[..., 1:] - points[..., :-1]
    middle = (normals[..., 1:] + normals[..., :-1]) / 2
    slant = ((step * middle).sum(1).abs() / step.square().sum(1).sqrt())[kinds[..., 1:] == kinds[..., :-1]]
    assert float((slant < 0.05).float().mean()) > 0.95


def test_the_default_of_scenes_soon_sees_more_than_the_blind() -> None:
    study = load_study("scenes")
    trainer = SoloTrainer(Training(load_data(study, Path())))
    trainer.add(0, study.default_config())
    results = [trainer.advance()[0] for _ in range(3)]
    assert max(result.score for result in results) > 0.05


def test_the_shipped_scenes_run_and_predict_says_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTLSEARCH_STORAGE", f"sqlite:///{tmp_path}/s.db")
    done("run", "scenes", "--trials", 2, "--epochs", 1, *SOLO, "--quiet")
    best = done("best", "scenes", "--json").json
    assert {task: list(values) for task, values in best["validation"].items()} == {
        "segmentation": ["miou"], "depth": ["abs_err"], "normals": ["mean_angle"],
    }  # fmt: skip
    done("export", "scenes", "-o", "best.json", "--checkpoint", "best.safetensors")
    np.save("picture.npy", np.zeros((3, 32, 32), dtype=np.uint8))
    line = refused("predict", "best.safetensors", "picture.npy")
    assert line.startswith("a segmentation task answers with a picture (4, 32, 32), which predict does not write")


PICTURES = {"train": 4, "val": 2}


def write_nyuv2(folder: Path, height: int = 6, width: int = 8) -> None:
    """A set in MTAN's form, of random numbers; some labels are missing."""
    random = np.random.default_rng(0)
    for part, count in PICTURES.items():
        for what in ("image", "label", "depth", "normal"):
            (folder / part / what).mkdir(parents=True)
        for i in range(count):
            arrays = {
                "image": random.random((height, width, 3)),
                "label": random.integers(-1, 13, (height, width)).astype(np.float32),
                "depth": random.random((height, width, 1)) * (random.random((height, width, 1)) > 0.2),
                "normal": random.normal(size=(height, width, 3)),
            }
            for what, array in arrays.items():
                np.save(folder / part / what / f"{i}.npy", array)


@pytest.fixture
def nyuv2(tmp_path: Path) -> Path:
    write_nyuv2(tmp_path / "nyuv2")
    return tmp_path


def nyuv2_study() -> Study:
    source = NYUv2(validation=0.25)
    return Study(
        tasks=[
            Segmentation("segmentation", source),
            Depth("depth", source, zero_is_missing=True),
            Normals("normals", source),
        ],
        model=lambda config: DenseTrunk({"segmentation": 13, "depth": 1, "normals": 3}, channels=2),
        space={},
        default={"learning_rate": 1e-2},
        epochs=1,
        batch_size=2,
    )


def test_nyuv2_is_read_as_it_lies(nyuv2: Path) -> None:
    loaded = NYUv2()(nyuv2)
    assert loaded.train.inputs.shape == (4, 3, 6, 8)
    assert loaded.train.inputs.dtype == torch.uint8
    assert len(loaded.test) == 2
    stored = {
        what: np.load(nyuv2 / "nyuv2" / "train" / what / "3.npy") for what in ("image", "label", "depth", "normal")
    }
    labels = {name: y[3] for name, y in loaded.train.labels.items()}
    assert np.abs(loaded.train.inputs[3].permute(1, 2, 0).numpy() / 255 - stored["image"]).max() <= 0.5 / 255 + 1e-9
    assert (labels["segmentation"].numpy() == stored["label"]).all()
    assert np.allclose(labels["depth"].numpy(), stored["depth"][..., 0])
    assert np.allclose(labels["normals"].permute(1, 2, 0).numpy(), stored["normal"])


def test_nyuv2_trains(nyuv2: Path) -> None:
    study = nyuv2_study()
    trainer = SoloTrainer(Training(load_data(study, nyuv2)))
    trainer.add(0, study.default_config())
    (result,) = trainer.advance()
    assert result.reason is None
    assert np.isfinite(result.score)


def test_nyuv2_takes_its_files_in_the_order_of_their_numbers(nyuv2: Path) -> None:
    folder = nyuv2 / "nyuv2" / "train"
    for what in ("image", "label", "depth", "normal"):
        (folder / what / "1.npy").rename(folder / what / "10.npy")
    last = NYUv2()(nyuv2).train.labels["depth"][-1]
    assert np.allclose(last.numpy(), np.load(folder / "depth" / "10.npy")[..., 0])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("val/depth/1.npy", Path.unlink, "is missing: each picture of NYUv2 needs a file of its name in every folder"),
        ("train/normal/0.npy", cut, "is no whole .npy array of numbers"),
        ("train/label/2.npy", lambda p: np.save(p, np.zeros((6, 8, 2))), "must have the shape (6, 8), but got (6, 8, 2)"),
        ("train/image/0.npy", lambda p: np.save(p, np.zeros((6, 8))), "must have the shape (height, width, 3), but got (6, 8)"),
        ("train/image/3.npy", lambda p: np.save(p, np.zeros((6, 9, 3))), "must have the shape (6, 8, 3), but got (6, 9, 3)"),
        ("train/depth/0.npy", lambda p: np.save(p, np.array(["a"])), "must hold numbers, but holds <U1"),
        ("val/label/0.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "is no whole .npy array of numbers"),
    ],
)  # fmt: skip
def test_a_broken_file_of_nyuv2_is_named(nyuv2: Path, file: str, harm: Callable[[Path], Any], message: str) -> None:
    path = nyuv2 / "nyuv2" / file
    harm(path)
    with pytest.raises(DataError) as error:
        NYUv2()(nyuv2)
    # NumPy's own reason follows in parentheses.
    assert re.sub(r"(array of numbers) \(.+\)$", r"\1", str(error.value)) == f"{path} {message}"


def test_labels_of_another_size_than_the_pictures_are_refused(nyuv2: Path) -> None:
    for file in (nyuv2 / "nyuv2" / "train" / "label").iterdir():
        np.save(file, np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"label must have the pictures' size \(6, 8\), but has \(3, 4\)$"):
        NYUv2()(nyuv2)


def test_a_missing_folder_is_named_with_what_is_due(tmp_path: Path) -> None:
    with pytest.raises(MtlsearchError) as error:
        load_data(nyuv2_study(), tmp_path)
    assert str(error.value).startswith(f"no folder {tmp_path}/nyuv2/train/image: NYUv2 is read from train and val")
    (tmp_path / "nyuv2" / "train" / "image").mkdir(parents=True)
    with pytest.raises(DataError, match=r"image must hold \.npy files, but has none$"):
        NYUv2()(tmp_path)


def test_output_shapes_are_those_of_the_pixels() -> None:
    target = Segmentation("t", unused).target(data(CLASSES, **NAMES))
    assert target.output_shape == (4, 5, 7)
