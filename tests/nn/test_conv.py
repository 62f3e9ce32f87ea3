"""Convolutional trunks, backbones, a user's own CNN: their shapes, their sharing, and that they equal solo."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from population_asserts import (
    EPOCHS,
    assert_as_alone,
    assert_population_equals_solo,
    config,
    disjoint_study,
    double,
)
from torch import Tensor, nn

from mtlsearch import (
    Backbone,
    Classification,
    ConvTrunk,
    Data,
    SeparateTrunks,
    SharedTrunk,
    Study,
    load_study,
)
from mtlsearch.download import DownloadError
from mtlsearch.errors import ModelError, StudyError
from mtlsearch.nn.widening import pad
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.layout import counted_flop
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager, Fused
from mtlsearch.training.trainer import Training

HEADS = {"a": 3, "b": 2}
OWN_CNN = """
import numpy as np
from torch import nn
from mtlsearch import Classification, Data, Study, real


def stripes(directory):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (272, 6, 6), dtype=np.uint8)
    labels = {"rows": pictures.mean(2).argmax(1) // 2, "columns": pictures.mean(1).argmax(1) // 3}
    return Data((pictures, labels), (pictures, labels), validation=72)


class OwnCNN(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 2), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout),
        )
        self.heads = nn.ModuleDict({"rows": nn.Linear(24, 3), "columns": nn.Linear(24, 2)})

    def forward(self, inputs):
        return {task: self.heads[task](self.body(x.unsqueeze(1))) for task, x in inputs.items()}


study = Study(
    tasks=[Classification("rows", stripes), Classification("columns", stripes)],
    model=lambda config: OwnCNN(config["dropout"]),
    space={"dropout": real(0, 0.9), "learning_rate": real(1e-4, 1e-1, log=True)},
    default={"dropout": 0.2, "learning_rate": 1e-2},
    epochs=2,
    batch_size=8,
)
"""


def bright(seed: int, side: int = 7, colours: tuple[int, ...] = (), rows: int = 64):
    """A source of pictures whose brighter half is the class of two tasks."""

    def source(directory):
        pictures = torch.randint(
            0,
            256,
            (rows, *colours, side, side),
            generator=torch.Generator().manual_seed(seed),
            dtype=torch.uint8,
        )
        flat = pictures.float().flatten(1)
        half = flat.shape[1] // 2
        labels = (flat[:, :half].mean(1) > flat[:, half:].mean(1)).long()
        return Data((pictures, {"a": labels, "b": labels}), (pictures, {"a": labels, "b": labels}), validation=16)

    return source


def picture_study(model, joint: bool = True, **changes) -> Study:
    source = bright(0, **changes)
    return Study(
        tasks=[Classification("a", source), Classification("b", source if joint else bright(1, **changes))],
        model=model,
        space={},
        default={"channels": 3, "depth": 2, "norm": "batch", "sharing": "shared", "dropout": 0.0},
        epochs=EPOCHS,
        batch_size=8,
    )


def conv(config) -> ConvTrunk:
    names = ("channels", "depth", "norm", "sharing", "dropout")
    return ConvTrunk({"a": 2, "b": 2}, **{name: config[name] for name in names})


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def touched(model: nn.Module, outputs: Tensor) -> set[str]:
    """The parts of the model, two names deep, whose parameters a loss on `outputs` moves."""
    model.zero_grad()
    outputs.sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    return {".".join(name.split(".")[:2]) for name in moved}


def test_a_users_own_cnn_of_under_40_lines_runs_in_the_population_and_equals_solo(tmp_path: Path) -> None:
    assert len(OWN_CNN.strip().splitlines()) < 40
    file = tmp_path / "own.py"
    file.write_text(OWN_CNN)
    study = load_study(str(file))  # 25 steps an epoch: 50 in all
    assert_population_equals_solo(
        study,
        [
            config(study, [0.2, 0.8], dropout=0.0),
            config(study, [0.7, 0.3], dropout=0.6, optimizer="sgd"),
            config(study, dropout=0.3, optimizer="rmsprop"),
        ],
    )


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("sharing", ["shared", "separate", 1])
def test_conv_trunks_equal_solo(sharing, norm: str, joint: bool) -> None:
    study = picture_study(conv, joint)
    members = [
        config(study, [0.2, 0.8], sharing=sharing, norm=norm, dropout=0.4),
        config(study, sharing=sharing, norm=norm, optimizer="sgd"),
    ]
    assert_population_equals_solo(study, members, steps=Fused() if joint else Eager())
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    for number, member in enumerate(members):
        trainer.add(number, member)
    assert len(list(trainer.lanes)) == 1


def test_conv_trunks_of_other_shapes_are_each_trained_in_a_lane_of_their_own() -> None:
    study = picture_study(conv)
    assert_population_equals_solo(study, [config(study, channels=2), config(study, depth=1), config(study, sharing=1)])


def test_conv_trunks_train_in_bf16_in_a_population() -> None:
    study = picture_study(conv)
    training = Training(load_data(study, Path()), seed=3, precision="bf16")
    trainer = PopulationTrainer(training, 2, Eager(), pytest.fail)
    for number, rate in enumerate((0.0, 0.3)):
        trainer.add(number, config(study, dropout=rate, learning_rate=1e-2))
    results = [trainer.advance() for _ in range(EPOCHS)]
    assert all(result.reason is None and result.score == result.score for epoch in results for result in epoch)


@pytest.mark.parametrize(
    ("kind", "options", "data"),
    [
        (SharedTrunk, {"in_features": 49, "hidden": 4, "depth": 3}, pictures(5, 7, 7)),
        (ConvTrunk, {"channels": 2, "depth": 3}, pictures(5, 7, 7)),
    ],
)
def test_sharing_says_which_layers_a_task_has_to_itself(kind, options, data: Tensor) -> None:
    def parts(sharing) -> set[str]:
        model = kind(heads=HEADS, sharing=sharing, **options)
        return touched(model, model({"a": data, "b": data})["a"])

    blocks = {f"trunk.{k}" for k in range(3)}
    shared = parts("shared")
    assert shared == parts(3) == parts(7)
    assert shared >= blocks | {"heads.a"}
    assert parts(1) == {"trunk.0", "branches.a", "heads.a"}
    assert parts(2) == {"trunk.0", "trunk.1", "branches.a", "heads.a"}
    assert parts("separate") == parts(0) == {"branches.a", "heads.a"}


def test_a_trunk_that_shares_nothing_is_separate_trunks() -> None:
    ours = SharedTrunk(6, HEADS, hidden=5, depth=2, norm="layer", sharing="separate")
    plain = SeparateTrunks(6, HEADS, hidden=5, depth=2, norm="layer")
    state = {}
    for name, tensor in ours.state_dict().items():
        kind, task, rest = name.split(".", 2)
        state[f"networks.{task}.{'trunk' if kind == 'branches' else f'heads.{task}'}.{rest}"] = tensor
    plain.load_state_dict(state)
    given = {"a": pictures(4, 6), "b": pictures(3, 6)}
    for task, output in plain(given).items():
        assert torch.equal(ours(given)[task], output)


@pytest.mark.parametrize("sharing", ["separate", 1])
def test_partly_shared_trunks_of_mixed_widths_and_norms_share_a_lane_and_equal_solo(sharing) -> None:
    def build(config):
        return SharedTrunk(
            12, {"a": 3, "b": 3}, hidden=config["hidden"], depth=2, norm=config["norm"],
            dropout=config["dropout"], sharing=sharing,
        )  # fmt: skip

    study = replace(disjoint_study(), model=build)
    assert_population_equals_solo(
        study,
        [
            config(study, hidden=6, norm="layer", dropout=0.3),
            config(study, hidden=13, norm="batch"),
            config(study, hidden=20, norm="none"),
        ],
    )


@pytest.mark.parametrize("sharing", ["separate", 1])
def test_padding_a_partly_shared_trunk_changes_nothing(sharing) -> None:
    small = SharedTrunk(6, HEADS, hidden=5, depth=2, norm="layer", sharing=sharing)
    given = {"a": pictures(4, 6), "b": pictures(3, 6)}
    for task, output in pad(small, 9)(given).items():
        torch.testing.assert_close(output, small(given)[task])


@pytest.mark.parametrize("sharing", ["alone", -1, True, 0.5])
def test_an_unknown_sharing_is_refused(sharing) -> None:
    with pytest.raises(StudyError, match=r"^sharing must be shared, separate or a number of layers, but got"):
        ConvTrunk(HEADS, sharing=sharing)


def test_conv_trunks_take_grey_pictures_with_and_without_a_channel_and_colour() -> None:
    grey, colour = ConvTrunk(HEADS), ConvTrunk(HEADS, in_channels=3)
    x = pictures(4, 9, 5)
    assert torch.equal(grey({"a": x})["a"], grey({"a": x.unsqueeze(1)})["a"])
    assert {task: tuple(y.shape) for task, y in colour(dict.fromkeys(HEADS, pictures(4, 3, 8, 8))).items()} == {
        "a": (4, 3), "b": (4, 2),
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (1, 8, 8), (5,)])
def test_pictures_of_other_channels_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(StudyError) as error:
        ConvTrunk(HEADS, in_channels=3)({"a": torch.zeros(2, *shape)})
    assert str(error.value) == (f"the model takes pictures of 3 channels, (3, height, width), but got {tuple(shape)}")


def test_a_picture_does_not_vanish_in_a_deep_trunk() -> None:
    assert ConvTrunk(HEADS, depth=6, channels=1)({"a": pictures(2, 5, 3)})["a"].isfinite().all()


def test_joint_tasks_pass_the_shared_blocks_once() -> None:
    model, seen = ConvTrunk(HEADS), []
    model.trunk.register_forward_hook(lambda module, given, output: seen.append(len(given[0])))
    x = pictures(5, 8, 8)
    model({"a": x, "b": x})
    model({"a": x, "b": pictures(4, 8, 8)})
    assert seen == [5, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, r"^channels and depth must be 1 or more, but got 0 and 2$"),
        ({"depth": 0}, r"^channels and depth must be 1 or more, but got 16 and 0$"),
        ({"norm": "layer"}, r"^norm must be none or batch here, but got 'layer'$"),
        ({"channels": 2**17}, r"^the channels of the last block must be 131072 or less, but got 262144$"),
        ({"depth": 1001}, r"^depth must be 1000 or less, but got 1001$"),
        ({"depth": 40}, r"^the channels of the last block must be 131072 or less, but got 8796093022208$"),
        ({"in_channels": 10**9}, r"^in_channels must be 131072 or less, but got 1000000000$"),
    ],
)
def test_conv_trunks_that_cannot_be_are_refused(options, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        ConvTrunk(HEADS, **options)


def backbone_study(name: str, side: int = 8) -> Study:
    study = picture_study(lambda config: Backbone(name, {"a": 2, "b": 2}, in_channels=1), side=side, rows=32)
    return Study(
        tasks=study.tasks, model=study.model, space={}, default={"learning_rate": 1e-3}, epochs=1, batch_size=16
    )


def test_resnet18_equals_solo_with_its_batch_norm_buffers() -> None:
    study = backbone_study("resnet18")
    training = double(study)
    trainer = PopulationTrainer(training, 2, Eager(), pytest.fail)
    members = [config(study, [0.3, 0.7]), config(study, optimizer="sgd", learning_rate=1e-2)]
    for number, member in enumerate(members):
        trainer.add(number, member)
    results = trainer.advance()
    for number, member in enumerate(members):
        assert_as_alone(trainer, number, member, results)
    counted = trainer.state(0)["trunk.bn1.num_batches_tracked"]
    assert counted.dtype == torch.int64
    assert int(counted) == 1


def test_a_backbone_that_cannot_be_vmapped_is_trained_solo_and_the_notice_says_why() -> None:
    notices: list[str] = []
    study = backbone_study("efficientnet_b0")
    trainer = PopulationTrainer(Training(load_data(study, Path())), 1, Eager(), notices.append)
    trainer.add(0, study.default_config())
    assert len(notices) == 1
    assert notices[0].startswith("Backbone is trained one at a time: ")
    assert "(StochasticDepth) draws noise that is no function of seed and step" in notices[0]
    assert len(trainer.solo) == 1


def test_batch_norm_without_a_momentum_is_trained_solo_and_the_notice_says_why() -> None:
    class Cumulative(ConvTrunk):
        def __init__(self) -> None:
            super().__init__({"a": 2, "b": 2}, norm="batch", channels=2)
            for layer in self.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = None

    notices: list[str] = []
    study = picture_study(lambda config: Cumulative())
    trainer = PopulationTrainer(Training(load_data(study, Path())), 1, Eager(), notices.append)
    trainer.add(0, study.default_config())
    assert [notice.split(":")[0] for notice in notices] == ["Cumulative is trained one at a time"]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vgg11", "squeezenet1_1", "vit_b_16"])
def test_backbones_end_before_their_last_linear_layer(name: str) -> None:
    if name == "squeezenet1_1":
        with pytest.raises(StudyError, match=r"^a backbone must end in a linear layer, but squeezenet1_1 has none$"):
            Backbone(name, HEADS)
        return
    with torch.device("meta"):
        model = Backbone(name, HEADS).eval()
        features = model.trunk(torch.zeros(2, 3, 224, 224))
    assert features.shape == (2, model.heads["a"].in_features)


def test_grey_pictures_become_colour_for_a_backbone() -> None:
    grey = Backbone("resnet18", HEADS, in_channels=1).eval()
    colour = Backbone("resnet18", HEADS).eval()
    colour.load_state_dict(grey.state_dict())
    x = pictures(2, 32, 32)
    assert torch.equal(grey({"a": x})["a"], colour({"a": x.unsqueeze(1).expand(-1, 3, -1, -1)})["a"])


@pytest.mark.parametrize("name", ["resnet19", "googlenet", "raft_large"])
def test_networks_that_are_no_backbone_are_refused(name: str) -> None:
    with pytest.raises(StudyError, match=rf"^torchvision has no classifier '{name}' with one output, as resnet18"):
        Backbone(name, HEADS)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port) -> Path:
    """torch's folder of downloaded parameters, empty, on a machine without network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_given_weights_are_taken_with_their_own_normalisation(checkpoints: Path) -> None:
    from torchvision.models import get_model, get_weight

    trained = get_model("resnet18", weights=None)
    torch.save(trained.state_dict(), checkpoints / Path(get_weight("ResNet18_Weights.DEFAULT").url).name)
    model = Backbone("resnet18", HEADS, weights="DEFAULT")
    assert torch.equal(model.trunk.conv1.weight, trained.conv1.weight)
    assert [round(float(m), 3) for m in model.mean.flatten()] == [0.485, 0.456, 0.406]
    assert model.trunk.fc(torch.ones(2)).tolist() == [1, 1]


def test_weights_that_are_not_there_nor_downloadable_are_told_in_one_line(checkpoints: Path) -> None:
    with pytest.raises(DownloadError) as error:
        Backbone("resnet18", HEADS, weights="IMAGENET1K_V1")
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"the weights IMAGENET1K_V1 of resnet18 are not in {checkpoints} and cannot be downloaded")


def test_a_broken_file_of_weights_is_named(checkpoints: Path) -> None:
    from torchvision.models import get_weight

    file = checkpoints / Path(get_weight("ResNet18_Weights.DEFAULT").url).name
    file.write_bytes(b"no parameters")
    with pytest.raises(ModelError) as error:
        Backbone("resnet18", HEADS, weights="DEFAULT")
    assert str(error.value).startswith(f"{file} holds no parameters of resnet18")
    assert "\n" not in str(error.value)


def test_unknown_weights_are_refused_with_the_known() -> None:
    with pytest.raises(StudyError, match=r"^resnet18 has the weights DEFAULT, IMAGENET1K_V1, but got 'best'$"):
        Backbone("resnet18", HEADS, weights="best")


def test_operations_of_a_convolution_count_at_every_place_and_of_a_linear_layer_once(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN_CNN)
    loaded = load_data(load_study(str(file)), tmp_path)
    study = loaded.study
    places = 36 * 9 * 4 + 4 * 4 * 4 * 6  # of outputs, times what each multiplies
    heads = 24 * (3 + 2)
    expected = 6 * study.batch_size * (2 * places + heads)  # the body is run for each task
    model = study.build(study.default_config(), seed=0)
    assert counted_flop(loaded, model) == expected
    assert model.training
    dense = load_data(disjoint_study(), tmp_path)
    linear = dense.study.build(dense.study.default_config(), seed=0)
    weights = {name: p.numel() for name, p in linear.named_parameters() if p.ndim == 2}
    trunk, own = (sum(n for name, n in weights.items() if name.startswith(part)) for part in ("trunk", "heads"))
    assert counted_flop(dense, linear) == 6 * dense.study.batch_size * (2 * trunk + own)
