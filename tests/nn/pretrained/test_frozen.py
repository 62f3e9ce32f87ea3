"""Frozen modules: features once for all trials, results as those of the whole model, and one copy in a population."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from commands import SOLO, done, refused
from population_asserts import assert_as_alone
from safetensors.torch import load_file
from torch import nn

from mtlsearch import Backbone, Classification, Data, Regression, Study, frozen, load_model
from mtlsearch.data.examples import appended as appended_module
from mtlsearch.data.examples.appended import appended
from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.errors import DataError, StudyError
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

SIDE = 6
CALLS: list[int] = []  # the rows of each call of a frozen module
NOTE = CALLS.append


class Encoder(nn.Module):
    """A small network with batch normalisation and dropout, which evaluation mode alone makes a function."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(4 * (SIDE - 2) ** 2, 5)
        self.note: Any = None  # an attribute, as a global list would belong to the digest of the code

    def forward(self, x):
        if self.note is not None:
            self.note(len(x))
        return self.drop(self.out(self.layers(x)))


def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = Encoder()
        made.note = NOTE
        made.layers[1].running_mean.uniform_(-0.1, 0.1)
        return made


def pictures(seed: int, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def labels(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"bright": (x.float().mean((1, 2, 3)) > 127).long(), "ink": x.float().mean((1, 2, 3)) / 50}


def source(directory) -> Data:
    x, test = pictures(0, 120), pictures(1, 60)
    return Data((x, labels(x)), (test, labels(test)), validation=40)


def other(directory) -> Data:
    x, test = pictures(2, 60), pictures(3, 40)
    return Data((x, labels(x)["ink"]), (test, labels(test)["ink"]), validation=20)


class Net(nn.Module):
    """A frozen encoder, heads, and what comes `before` the encoder."""

    def __init__(self, trunk: nn.Module, before=lambda x: x):
        super().__init__()
        self.encoder, self.before, self.drop = trunk, before, nn.Dropout(0.2)
        self.heads = nn.ModuleDict({"bright": nn.Linear(5, 2), "ink": nn.Linear(5, 1)})

    def forward(self, inputs):
        return {task: self.heads[task](self.drop(self.encoder(self.before(x)))) for task, x in inputs.items()}


def study(model, second=source, **changes) -> Study:
    return replace(
        Study(
            tasks=[Classification("bright", source), Regression("ink", second)],
            model=model,
            space={},
            default={"learning_rate": 1e-2},
            epochs=2,
            batch_size=16,
        ),
        **changes,
    )


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    CALLS.clear()


def last(loaded, **options):
    trainer = SoloTrainer(Training(loaded, seed=3, **options))
    trainer.add(0, loaded.study.default_config())
    *_, result = [trainer.advance()[0] for _ in range(loaded.study.epochs)]
    return result, trainer.state(0)


@pytest.mark.parametrize("second", [source, other], ids=["joint", "disjoint"])
def test_a_search_never_runs_a_frozen_module_and_gives_what_the_whole_model_gives(second, monkeypatch):
    trunk = frozen(encoder())
    defined = study(lambda config: Net(trunk), second)
    loaded = load_data(defined, None)
    assert loaded.study.fed
    assert all(splits.train.inputs.shape[1:] == (5,) for splits in loaded.splits)
    CALLS.clear()
    result, state = last(loaded)
    assert not CALLS
    monkeypatch.setattr("mtlsearch.study.loaded.with_features", lambda *given: None)
    due, due_state = last(load_data(defined, None))
    assert CALLS
    assert state.keys() == due_state.keys() == {f"heads.{t}.{p}" for t in ("bright", "ink") for p in ("weight", "bias")}
    assert result.score == pytest.approx(due.score, abs=1e-4)
    for name, tensor in due_state.items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-3, atol=1e-4)


def test_features_are_computed_once_and_again_for_other_weights_or_data(tmp_path):
    trunk = frozen(encoder())
    defined = study(lambda config: Net(trunk))
    load_data(defined, None)
    assert sum(CALLS) > 180  # each part once, and the examples that are tried
    CALLS.clear()
    load_data(defined, None)
    assert sum(CALLS) < 40
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 3
    changed = encoder()
    changed.out.bias.data += 1
    load_data(study(lambda config: Net(frozen(changed))), None)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6


def test_a_module_that_takes_changed_inputs_runs_in_every_step_as_alone(capsys):
    trunk = frozen(encoder())
    defined = study(lambda config: Net(trunk, before=half))
    loaded = load_data(defined, None)
    assert not loaded.study.fed
    assert "a frozen module runs in every step" in capsys.readouterr().err
    training = Training(loaded, seed=3, dtype=torch.float64)
    trainer = PopulationTrainer(training, 2, Eager(), pytest.fail)
    configs = [replace(loaded.study.default_config(), task_weights={"bright": w, "ink": 1 - w}) for w in (0.5, 0.1)]
    for number, config in enumerate(configs):
        trainer.add(number, config)
    CALLS.clear()
    results = trainer.advance() + trainer.advance()
    assert CALLS.count(16) == 2 * 2 * 5  # two tasks, two epochs of five steps: once for both members
    (lane,) = trainer.lanes
    assert not any("encoder" in name for name in lane.state.params | lane.state.buffers)
    for number, config in enumerate(configs):
        assert_as_alone(trainer, number, config, results)


def half(x):
    return x / 2


def clamped(x):
    """Pictures as they are, but no features."""
    return x.clamp(0, 1)


@pytest.mark.parametrize("before", [half, clamped])
def test_heads_of_zeros_hide_no_change_before_a_frozen_module(before, capsys):
    trunk = frozen(encoder())

    def model(config):
        net = Net(trunk, before)
        for parameter in net.heads.parameters():
            nn.init.zeros_(parameter)
        return net

    assert not load_data(study(model), None).study.fed
    assert "a frozen module runs in every step" in capsys.readouterr().err


def brighter(x):
    return (x.float() * (0.5 + torch.rand(()))).clamp(max=255).to(torch.uint8)


def augmented_source(directory) -> Data:
    x, test = pictures(0, 120), pictures(1, 60)
    return Data((x, labels(x)), (test, labels(test)), validation=40, augment=brighter)


def test_with_augmentation_features_are_those_of_each_changed_batch(monkeypatch):
    trunk = frozen(encoder())
    tasks = [Classification("bright", augmented_source), Regression("ink", augmented_source)]
    defined = study(lambda config: Net(trunk), tasks=tasks)
    loaded = load_data(defined, None)
    CALLS.clear()
    trainer = PopulationTrainer(Training(loaded, seed=3), 4, Eager(), pytest.fail)
    for number in range(4):
        trainer.add(number, loaded.study.default_config())
    results = trainer.advance()
    assert CALLS.count(16) == 5  # once for all four members
    monkeypatch.setattr("mtlsearch.study.loaded.with_features", lambda *given: None)
    CALLS.clear()
    again = SoloTrainer(Training(loaded, seed=3))
    again.add(0, loaded.study.default_config())
    assert again.advance()[0].score == pytest.approx(results[0].score, abs=1e-6)
    assert not CALLS  # the features of that epoch are kept
    whole = SoloTrainer(Training(load_data(defined, None), seed=3))
    whole.add(0, loaded.study.default_config())
    assert results[0].score == pytest.approx(whole.advance()[0].score, abs=1e-3)
    folded = replace(loaded, study=replace(loaded.study, folds=3))
    assert [len(fold[0].validation) for fold in (each.splits for each in folded.folds)] == [40, 40, 40]
    assert all(fold.splits[0].train.raw.shape[0] == 120 for fold in folded.folds)


def stored_source(directory) -> Data:
    path = directory / "x.npy"
    if not path.exists():
        np.save(path, pictures(0, 120).numpy())
    x = np.load(path, mmap_mode="r")
    return Data((x, labels(torch.from_numpy(np.array(x)))), (x[:60], labels(pictures(0, 120)[:60])), validation=40)


def test_features_of_inputs_on_disk_stay_on_disk(tmp_path):
    trunk = frozen(encoder())
    tasks = [Classification("bright", stored_source), Regression("ink", stored_source)]
    loaded = load_data(study(lambda config: Net(trunk), tasks=tasks), tmp_path)
    (splits,) = loaded.splits
    assert isinstance(splits.train.inputs, OnDisk)
    assert splits.train.inputs.shape == (80, 5)
    result, _ = last(loaded)
    assert result.finished


def test_a_cut_file_of_features_goes_on_where_it_stopped(tmp_path):
    whole, made = np.arange(40, dtype=np.float32).reshape(10, 4), []

    def make(start, end):
        made.append((start, end))
        if start >= 6 and len(made) < 4:
            raise KeyboardInterrupt
        return whole[start:end]

    with pytest.raises(KeyboardInterrupt):
        appended(tmp_path / "f.npy", 10, 3, make, lambda rows: None)
    assert not (tmp_path / "f.npy").exists()
    with (tmp_path / "f.part").open("ab") as file:
        file.write(b"half a r")
    told = []
    found = appended(tmp_path / "f.npy", 10, 3, make, told.append)
    assert made == [(0, 3), (3, 6), (6, 9), (6, 9), (9, 10)]
    assert sum(told) == 10
    assert np.array_equal(found, whole)
    assert [path.name for path in tmp_path.iterdir() if "cache" not in path.name] == ["f.npy"]
    (tmp_path / "f.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="delete the file and run again"):
        appended(tmp_path / "f.npy", 10, 3, make, lambda rows: None)


def test_the_least_used_files_of_features_go(tmp_path, monkeypatch):
    monkeypatch.setattr(appended_module, "MOST_BYTES", 310)
    for name in "abc":
        appended(tmp_path / f"{name}.npy", 2, 2, lambda start, end: np.zeros((2, 3), np.float32), lambda rows: None)
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["b.npy", "c.npy"]


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (lambda config: Net(frozen(Encoder())), "must be the same in every trial"),
        (lambda config: Net(frozen(frozen(encoder()))), "got a frozen one"),
        (lambda config: Net(frozen("resnet18")), "got a str"),
    ],
)
def test_what_cannot_be_frozen_is_refused(model, rule):
    with pytest.raises(StudyError, match=rule):
        load_data(study(model), None)


def test_a_frozen_module_that_depends_on_the_config_is_refused_and_not_taken_for_the_default():
    one, two = frozen(encoder()), encoder()
    two.out.bias.data += 1
    other_one = frozen(two)
    defined = study(lambda config: Net(one if config["which"] == "one" else other_one), default={"which": "one"})
    loaded = load_data(defined, None)
    changed = replace(loaded.study.default_config(), hyperparameters={"which": "two"})
    with pytest.raises(StudyError, match="must be the same in every trial"):
        loaded.study.build(changed, seed=0)


def test_a_frozen_backbone_gives_what_it_gives_unfrozen():
    name, heads = "shufflenet_v2_x0_5", {"bright": 2, "ink": 1}
    loaded = load_data(study(lambda config: Backbone(name, heads, in_channels=1, frozen=True)), None)
    assert loaded.study.fed
    assert loaded.splits[0].train.inputs.shape[1:] == (1024,)
    whole = Backbone(name, heads, in_channels=1, frozen=True).eval()
    plain = Backbone(name, heads, in_channels=1).eval()
    plain.trunk.load_state_dict(whole.trunk.module.network.state_dict())
    plain.heads.load_state_dict(whole.heads.state_dict())
    x = torch.rand(3, 1, 32, 32)
    inputs = dict.fromkeys(heads, x)
    assert torch.equal(whole(inputs)["ink"], plain(inputs)["ink"])
    assert sum(p.requires_grad for p in whole.parameters()) == 4


STUDY = """
import torch
from torch import nn
from mtlsearch import Classification, Data, Regression, Study, {imports}


def source(directory):
    x = torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Data((x, {{"a": (x.mean((1, 2, 3)) > 0.5).long(), "b": 9 + x[:, 0, 0, 0]}}), (
        x[:30], {{"a": (x[:30].mean((1, 2, 3)) > 0.5).long(), "b": 9 + x[:30, 0, 0, 0]}}))


{model}
study = Study(
    tasks=[Classification("a", source), Regression("b", source)],
    model=lambda config: {call}, space={{}}, default={{"learning_rate": 1e-2}}, epochs=1,
)
"""
OWN = """
torch.manual_seed({seed})
ENCODER = {wrapped}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.a, self.b = {encoder}, nn.Linear(5, 2), nn.Linear(5, 1)

    def forward(self, inputs):
        x = self.encoder(next(iter(inputs.values())))
        return {{"a": self.a(x), "b": self.b(x)}}

"""
LAYERS = "nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))"
WAYS = {
    "frozen": ("frozen", OWN.format(seed=1, wrapped=f"frozen({LAYERS})", encoder="ENCODER"), "Net()"),
    "adapted": ("adapted", OWN.format(seed=1, wrapped=LAYERS, encoder="adapted(ENCODER, 2)"), "Net()"),
    "backbone": ("Backbone", "", 'Backbone("shufflenet_v2_x0_5", {"a": 2, "b": 1}, in_channels=1, frozen=True)'),
}


@pytest.mark.parametrize("way", WAYS)
def test_predict_and_export_put_both_together_again(way, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imports, model, call = WAYS[way]
    (tmp_path / "mine.py").write_text(STUDY.format(imports=imports, model=model, call=call))
    done("run", "mine.py", "--trials", "1", *SOLO)
    done("export", "mine.py", "--checkpoint", "mine.safetensors", "-o", "mine.json")
    assert not any(name.startswith("trunk") or "encoder.module" in name for name in load_file("mine.safetensors"))
    np.save("x.npy", np.random.default_rng(0).random((3, 1, 8, 8), np.float32))
    told = done("predict", "mine.safetensors", "x.npy", "--study", "mine.py", "--json").json["predictions"]
    model = load_model("mine.safetensors", "mine.py")
    due = model(dict.fromkeys(model.tasks, torch.from_numpy(np.load("x.npy"))))
    assert told[0]["tasks"]["b"]["values"] == pytest.approx(due["b"][0].tolist(), abs=1e-5)
    assert done("verify", "mine.json", "--study", "mine.py", "--json").json["agrees"]

    done("export", "mine.py", "--model", "out")
    state = load_file("out/model.safetensors")
    if way == "backbone":
        plain = Backbone("shufflenet_v2_x0_5", {"a": 2, "b": 1}, in_channels=1)
        assert "class Backbone(nn.Module)" in (tmp_path / "out" / "model.py").read_text()
    else:
        layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5))
        plain = nn.ModuleDict({"encoder": layers, "a": nn.Linear(5, 2), "b": nn.Linear(5, 1)})
    plain.load_state_dict(state)  # by the names that it has without mtlsearch
    if way == "frozen":
        (tmp_path / "mine.py").write_text(
            (tmp_path / "mine.py").read_text().replace("manual_seed(1)", "manual_seed(2)")
        )
        wrong = refused("predict", "mine.safetensors", "x.npy", "--study", "mine.py")
        assert "pretrained module of other parameters" in wrong
