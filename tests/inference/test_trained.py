"""The model that load_model gives: outputs in the labels' units, inputs as the study took them, and plain errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import done
from safetensors.torch import load_file
from torch import nn

from mtlsearch import Classification, Data, Regression, SharedTrunk, Study, load_model, load_study
from mtlsearch.errors import MtlsearchError
from mtlsearch.inference.trained import TrainedModel
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data

STUDY = """
import numpy as np
from mtlsearch import Classification, Data, MultiLabel, Regression, SharedTrunk, Study

random = np.random.default_rng(0)


def source(directory):
    x = random.integers(0, 2, (240, 6)).astype(np.uint8)
    labels = {"price": 300 + 50.0 * x[:, 0] + random.normal(size=240), "odd": x.sum(1) % 2, "toxic": x[:, 1:2]}
    return Data((x[:180], {k: y[:180] for k, y in labels.items()}), (x[180:], {k: y[180:] for k, y in labels.items()}))


study = Study(
    tasks=[Regression("price", source), Classification("odd", source), MultiLabel("toxic", source)],
    model=lambda config: SharedTrunk(6, {"price": 1, "odd": 2, "toxic": 1}, hidden=8),
    space={},
    default={"learning_rate": 1e-1},
    epochs=3,
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of bits, its trained model, and bits to predict."""
    folder = tmp_path_factory.mktemp("bits")
    (folder / "bits.py").write_text(STUDY)
    np.save(folder / "x.npy", np.random.default_rng(1).integers(0, 2, (5, 6)).astype(np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done("train", "bits.py", "--threads", "1", "--quiet", "-o", "m.safetensors")
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_load_model_gives_what_predict_gives_in_the_labels_unit(here: Path) -> None:
    model = load_model("m.safetensors", here / "bits.py")
    x = torch.from_numpy(np.load("x.npy"))
    predictions = done("predict", "m.safetensors", "x.npy", "--study", "bits.py", "--json").json["predictions"]
    outputs = model(dict.fromkeys(model.tasks, x))
    prices = [prediction["tasks"]["price"]["values"][0] for prediction in predictions]
    assert outputs["price"].flatten().tolist() == pytest.approx(prices)
    assert all(200 < price < 400 for price in prices)  # not the standardised ones
    odd = [prediction["tasks"]["odd"]["probabilities"]["1"] for prediction in predictions]
    assert outputs["odd"].softmax(1)[:, 1].tolist() == pytest.approx(odd)
    raw = model.model(dict.fromkeys(model.tasks, x.float()))["price"]
    about = model.tasks["price"]
    assert (raw * about["std"][0] + about["mean"][0]).flatten().tolist() == pytest.approx(prices)


def test_whole_numbers_and_reals_are_the_same_inputs(here: Path) -> None:
    model = load_model("m.safetensors", "bits.py")
    x = torch.from_numpy(np.load("x.npy"))
    first, *others = [model(dict.fromkeys(model.tasks, x.to(t))) for t in (torch.uint8, torch.float32, torch.int64)]
    for other in others:
        assert all(torch.equal(first[task], other[task]) for task in first)


def test_bytes_of_pictures_are_scaled_as_in_training(tmp_path: Path) -> None:
    done("train", "digits", "--epochs", "1", "--threads", "1", "--quiet", "-o", tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    x = load_study("digits").tasks[0].data(tmp_path).test.inputs[:3]
    assert isinstance(x, torch.Tensor)
    assert x.dtype == torch.uint8
    outputs = [model(dict.fromkeys(model.tasks, given)) for given in (x, x / 255)]
    assert torch.equal(outputs[0]["left"], outputs[1]["left"])


def test_its_state_dict_is_that_of_the_file_alone_and_as_a_part_of_another_module(here: Path) -> None:
    model, file = load_model("m.safetensors", "bits.py"), load_file("m.safetensors")
    assert {name: t.tolist() for name, t in model.state_dict().items()} == {n: t.tolist() for n, t in file.items()}
    model.load_state_dict({name: t * 0 for name, t in file.items()})
    assert not any(t.any() for t in model.model.state_dict().values())
    outer = nn.Sequential(model)
    assert set(outer.state_dict()) == {f"0.{name}" for name in file}
    outer.load_state_dict({f"0.{name}": t for name, t in file.items()})
    assert all(torch.equal(t, file[name]) for name, t in model.model.state_dict().items())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(2, 6), "the model takes a dict of inputs by task (price, odd, toxic), but got a Tensor: write"),
        ({"prices": torch.zeros(2, 6)}, "takes inputs by task (price, odd, toxic), but got prices: use those names"),
        ({}, "takes inputs by task (price, odd, toxic), but got none: use those names as keys"),
        ({"odd": np.zeros((2, 6))}, "the input of task 'odd' must be a tensor, but got a ndarray: write"),
        ({"odd": torch.zeros(2, 7)}, "the model takes inputs of 6 numbers, but got (7,), 7 numbers"),
    ],
)
def test_other_inputs_are_refused_in_one_line(here: Path, given: object, said: str) -> None:
    model = load_model("m.safetensors", "bits.py")
    with pytest.raises(MtlsearchError) as error:
        model(given)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_a_model_of_a_study_file_says_how_the_study_is_given(here: Path) -> None:
    with pytest.raises(MtlsearchError, match=r"load_model\(path, study='.*bits.py'\)$"):
        load_model("m.safetensors")


def test_regressions_of_several_values_take_a_gradient_and_another_type() -> None:
    x = torch.randn(40, 3, dtype=torch.float64)

    def source(directory: Path) -> Data:
        return Data((x, {"a": x[:, :2] * 7 + 5, "b": (x[:, 0] > 0).long()}), (x, {"a": x[:, :2], "b": x[:, 0] > 0}))

    study = Study(
        tasks=[Regression("a", source), Classification("b", source)],
        model=lambda config: SharedTrunk(3, {"a": 2, "b": 2}, hidden=4),
        space={},
        default={"learning_rate": 0.1},
    )
    info = describe(load_data(study, Path()))
    model = TrainedModel(study.build(study.default_config(), seed=0), info).double()
    out = model({"a": x})["a"]
    mean, std = (torch.tensor(info["tasks"]["a"][name], dtype=torch.float64) for name in ("mean", "std"))
    assert torch.allclose(out, model.model({"a": x})["a"] * std + mean)
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for name, p in model.named_parameters() if ".b." not in name)
