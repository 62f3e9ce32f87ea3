"""The best model leaves the house: plain PyTorch, torch.export and ONNX, each as `predict` has it, or nothing."""

import ast
import runpy

import pytest
import torch
from commands import SOLO, command, contents, done, refused
from safetensors.torch import load_file
from torch import nn

from mtlsearch import (
    Backbone,
    ConvTrunk,
    DenseTrunk,
    SeparateTrunks,
    SharedTrunk,
    TextTrunk,
    TransformerTrunk,
    load_model,
)
from mtlsearch.inference.plain import folder as folder_module
from mtlsearch.inference.plain.folder import write_folder
from mtlsearch.inference.plain.samples import samples
from mtlsearch.inference.trained import TrainedModel
from mtlsearch.nn.widening import pad

ODD = "log P (octanol/water)."  # no name of a parameter can have dots
PICTURE, VECTOR, TEXT = ([3, 9, 7], "uint8", "pictures"), ([6], "float32", "numbers"), ([5, 3], "int32", "tokens")
HEADS = {"a": 2, ODD: 1}
TRUNKS = {
    "shared": (lambda: SharedTrunk(6, HEADS, hidden=8, depth=2, dropout=0.2, norm="layer"), VECTOR),
    "shared, batch norm": (lambda: SharedTrunk(6, HEADS, hidden=8, depth=3, norm="batch", sharing=1), VECTOR),
    "separate": (lambda: SeparateTrunks(6, HEADS, hidden=8, depth=2), VECTOR),
    "conv": (lambda: ConvTrunk(HEADS, in_channels=3, channels=4, depth=2, norm="batch", dropout=0.5), PICTURE),
    "conv, branches": (lambda: ConvTrunk(HEADS, in_channels=3, channels=4, depth=3, sharing=1), PICTURE),
    "conv, separate": (lambda: ConvTrunk(HEADS, in_channels=3, channels=4, depth=1, sharing="separate"), PICTURE),
    "dense": (lambda: DenseTrunk(HEADS, channels=4, depth=2, norm="batch"), PICTURE),
    "dense, encoder": (lambda: DenseTrunk(HEADS, channels=4, depth=1, sharing="encoder"), PICTURE),
    "dense, separate": (lambda: DenseTrunk(HEADS, channels=4, depth=1, sharing="separate"), PICTURE),
    "text": (lambda: TextTrunk(20, {"a": 2, ODD: ("tokens", 3)}, hidden=8, depth=1), TEXT),
    "transformer of tokens": (
        lambda: TransformerTrunk({"a": 2, ODD: ("tokens", 3)}, places=5, vocabulary=20, hidden=8, dropout=0.1),
        TEXT,
    ),
    "transformer of patches": (
        lambda: TransformerTrunk(HEADS, places=4, patch=4, in_channels=3, hidden=8, depth=1, pool="cls"),
        ([3, 8, 8], "uint8", "pictures"),
    ),
    "transformer of series": (
        lambda: TransformerTrunk(HEADS, places=7, series=3, hidden=8, depth=1),
        ([5, 3], "float32", "numbers"),
    ),
    "backbone": (lambda: Backbone("shufflenet_v2_x0_5", HEADS), ([3, 32, 32], "uint8", "pictures")),
}


def trained(network: nn.Module, *formats, **changes) -> TrainedModel:
    """A trained model of two tasks, the second a regression, with parameters and statistics as training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not name.endswith(("rate", "std")):
            noise = 0.1 * torch.rand(tensor.shape, generator=generator)
            tensor.copy_(tensor + noise)
    formats = formats if len(formats) > 1 else formats * 2
    tasks = {
        task: {
            "kind": kind, "classes": [], "mean": [300.0], "std": [50.0],
            "input_shape": shape, "input_dtype": dtype, "input_kind": inputs,
        }
        for (task, kind), (shape, dtype, inputs) in zip(
            {"a": "classification", ODD: "regression"}.items(), formats, strict=True
        )
    }  # fmt: skip
    weights = {"a": 0.25, ODD: 0.75}
    config = {"study": {"name": "mine"}, "trial": 3, "tasks": tasks, "task_weights": weights, **changes}
    return TrainedModel(network, config).eval()


@pytest.mark.parametrize("name", TRUNKS)
def test_a_shipped_trunk_leaves_as_plain_torch(name, tmp_path):
    make, inputs = TRUNKS[name]
    model = trained(make(), inputs, raw_task_weights={"a": 0.25, ODD: 0.0003})
    files = write_folder(model, make(), tmp_path / "out")
    assert files == ["config.json", "model.py", "model.safetensors"]
    text = (tmp_path / "out" / "model.py").read_text()
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {"collections", "itertools", "pathlib", "typing", "torch", "torchvision", "safetensors"}
    made = runpy.run_path(str(tmp_path / "out" / "model.py"))
    network = made["load"](tmp_path / "out")
    kinds = {type(layer).__module__.split(".")[0] for layer in network.modules()} - {"<run_path>"}
    assert kinds <= {"torch", "torchvision"}
    x = samples(model)["a"]
    answers, due = made["predict"](network, x), model(dict.fromkeys(model.tasks, x))
    for task, output in due.items():
        torch.testing.assert_close(answers[task], output, rtol=1e-5, atol=1e-5)
    assert due[ODD].std() > 1e-3  # something depends on the input
    assert made["TASK_WEIGHTS"] == {"a": 0.25, ODD: 0.0003}
    own = set(make().state_dict())
    assert set(load_file(tmp_path / "out" / "model.safetensors")) <= own


def test_padding_is_cut(tmp_path):
    trunk = SharedTrunk(6, HEADS, hidden=8, norm="layer")
    model = trained(trunk, VECTOR)
    wide = TrainedModel(pad(trunk, 32), model.config).eval()
    write_folder(wide, trunk, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors")["trunk.0.linear.weight"].shape == (8, 6)


@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_a_program_takes_raw_inputs_in_batches_of_any_size(format, tmp_path):
    make, inputs = TRUNKS["conv"]
    model = trained(make(), inputs)
    write_folder(model, make(), tmp_path / "out", format)
    x = torch.randint(0, 256, (9, *inputs[0]), dtype=torch.uint8)
    due = model(dict.fromkeys(model.tasks, x))
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
        got = dict(zip(model.tasks, map(torch.from_numpy, session.run(None, {"input": x.numpy()})), strict=True))
    else:
        got = torch.export.load(tmp_path / "out" / "model.pt2").module()(x)
    for task, output in due.items():
        torch.testing.assert_close(got[task], output, rtol=1e-5, atol=1e-5)


class Own(nn.Module):
    """A network of a user, of two tasks with inputs of their own."""

    def __init__(self, branches: bool = False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 2), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 1))
        self.branches = branches

    def forward(self, inputs):
        if self.branches and inputs["a"].sum() > 0:
            return {"a": self.first(inputs["a"]), ODD: -self.second(inputs[ODD])}
        return {"a": self.first(inputs["a"]), ODD: self.second(inputs[ODD])}


@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_tasks_of_different_inputs_get_an_argument_each(format, tmp_path):
    model = trained(Own(), VECTOR, ([4], "float32", "numbers"))
    files = write_folder(model, Own(), tmp_path / "out", format)
    assert "model.py" not in files
    Own().load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    if format == "torch-export":
        given = samples(model)
        outputs = torch.export.load(tmp_path / "out" / "model.pt2").module()(given["a"][:3], given[ODD][:3])
        torch.testing.assert_close(outputs[ODD], model(given)[ODD][:3], rtol=1e-5, atol=1e-5)


def test_what_is_no_program_or_differs_leaves_what_was_there(tmp_path, monkeypatch):
    good = trained(Own(), VECTOR, ([4], "float32", "numbers"))
    write_folder(good, Own(), tmp_path / "out")
    before = contents(tmp_path)
    bad = trained(Own(branches=True), VECTOR, ([4], "float32", "numbers"))
    with pytest.raises(Exception, match="cannot become a program of the format torch-export"):
        write_folder(bad, Own(branches=True), tmp_path / "out", "torch-export")
    assert contents(tmp_path) == before
    monkeypatch.setattr(folder_module, "_own", lambda model, own, place: trained(Own(), VECTOR, ([4], "float32", None)))
    with pytest.raises(Exception, match="differs from what predict gives for task"):
        write_folder(good, Own(), tmp_path / "out")
    assert contents(tmp_path) == before


STUDY = """
import numpy as np
from torch import nn
from mtlsearch import Classification, Data, Regression, Study


def source(directory):
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    return Data((x, {"odd": (x[:, 0] > 0).astype(int), "price": 300 + 50 * x[:, 1]}), (x, {
        "odd": (x[:, 0] > 0).astype(int), "price": 300 + 50 * x[:, 1]}))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1))
        self.odd, self.price = nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(self, inputs):
        x = self.body(next(iter(inputs.values())))
        return {"odd": self.odd(x), "price": self.price(x)}


study = Study(
    tasks=[Classification("odd", source), Regression("price", source)],
    model=lambda config: Net(), space={}, default={"learning_rate": 1e-2}, epochs=2,
)
"""


def test_the_command_writes_a_network_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(STUDY)
    done("run", "mine.py", "--trials", "1", *SOLO)
    done("export", "mine.py", "--checkpoint", "mine.safetensors", "-o", "mine.json")
    told = done("export", "mine.py", "--model", "out", "--format", "torch-export").err
    assert "out holds config.json, model.pt2 and model.safetensors" in told
    network = runpy.run_path("mine.py")["Net"]()
    network.load_state_dict(load_file("out/model.safetensors"))
    x, model = torch.randn(7, 4), load_model("mine.safetensors", "mine.py")
    due = model(dict.fromkeys(model.tasks, x))
    torch.testing.assert_close(network.eval()(dict.fromkeys(model.tasks, x))["odd"], due["odd"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.export.load("out/model.pt2").module()(x)["price"], due["price"])

    before = contents(tmp_path)
    assert "whose code runs only when named" in refused("export", "--name", "mine", "--model", "other")
    assert "goes with neither -o" in refused("export", "mine.py", "--model", "out", "-o", "x.json", status=2)
    assert "name its folder by --model" in refused("export", "mine.py", "--format", "onnx", status=2)
    assert "names a folder" in refused("export", "mine.py", "--model", "mine.json")
    assert "there is no folder" in refused("export", "mine.py", "--model", "no/such")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "'notes.txt'" in refused("export", "mine.py", "--model", "out", status=2)
    (tmp_path / "out" / "notes.txt").unlink()
    assert contents(tmp_path) == before
    assert command("export", "mine.py", "--model", "out").status == 0  # in the place of the earlier one
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
