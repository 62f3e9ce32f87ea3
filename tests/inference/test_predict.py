"""Predictions for pictures, arrays and tables: the same example gives the same answer from any file."""

from pathlib import Path

import numpy as np
import pytest
from commands import STUDY_FILE, done
from PIL import Image

from mtlsearch import load_study


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model of `digits`."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    done("train", "digits", "--epochs", "2", "--threads", "1", "--quiet", "-o", path)
    return path


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Three test pictures [3, 12, 12], and a working directory to write them to."""
    monkeypatch.chdir(tmp_path)
    return load_study("digits").tasks[0].data(tmp_path).test.inputs[:3].numpy()


def predicted(model: Path, *files: str) -> list[dict[str, object]]:
    predictions = done("predict", model, *files, "--json").json["predictions"]
    return [prediction["tasks"] for prediction in predictions]


def test_png_npy_and_csv_of_the_same_examples_give_the_same_predictions(model: Path, pictures: np.ndarray) -> None:
    np.save("x.npy", pictures)
    np.savetxt("x.csv", pictures.reshape(3, -1), fmt="%d", delimiter=",")
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(f"{i}.png")
    from_array = predicted(model, "x.npy")
    assert len(from_array) == 3
    assert predicted(model, "x.csv") == from_array
    for one, many in zip(predicted(model, "0.png", "1.png", "2.png"), from_array, strict=True):
        for task in ("left", "right"):
            # A batch of one and one of three may differ in the last bit.
            assert one[task]["label"] == many[task]["label"]
            assert one[task]["probabilities"] == pytest.approx(many[task]["probabilities"], abs=1e-6)


def test_header_line_of_a_csv_is_skipped(model: Path, pictures: np.ndarray) -> None:
    header = ",".join(f"p{i}" for i in range(144))
    np.savetxt("plain.csv", pictures.reshape(3, -1), fmt="%d", delimiter=",")
    np.savetxt("header.csv", pictures.reshape(3, -1), fmt="%d", delimiter=",", header=header, comments="")
    assert predicted(model, "header.csv") == predicted(model, "plain.csv")


def test_colour_picture_is_read_as_grey_where_the_model_takes_grey(model: Path, pictures: np.ndarray) -> None:
    Image.fromarray(pictures[0]).save("grey.png")
    Image.fromarray(np.repeat(pictures[0][:, :, None], 3, axis=2)).save("colour.png")
    assert predicted(model, "colour.png") == predicted(model, "grey.png")


def test_single_array_needs_no_batch_dimension(model: Path, pictures: np.ndarray) -> None:
    np.save("one.npy", pictures[0])
    np.save("batch.npy", pictures[:1])
    assert predicted(model, "one.npy") == predicted(model, "batch.npy")


def test_array_of_another_byte_order_gives_the_same_predictions(model: Path, pictures: np.ndarray) -> None:
    np.save("native.npy", pictures)
    np.save("big.npy", pictures.astype(">f8"))
    assert predicted(model, "big.npy") == predicted(model, "native.npy")


def test_inputs_are_named_by_file_and_by_place_in_it(model: Path, pictures: np.ndarray) -> None:
    np.save("one.npy", pictures[:1])
    np.save("three.npy", pictures)
    found = done("predict", model, "one.npy", "three.npy", "--json").json["predictions"]
    assert [p["input"] for p in found] == ["one.npy", "three.npy[0]", "three.npy[1]", "three.npy[2]"]


def test_table_names_the_likeliest_label_and_its_probability(model: Path, pictures: np.ndarray) -> None:
    np.save("x.npy", pictures[:1])
    (tasks,) = predicted(model, "x.npy")
    lines = done("predict", model, "x.npy").out.splitlines()
    for line, task in zip(lines[1:], ("left", "right"), strict=True):
        probabilities = tasks[task]["probabilities"]
        label = max(probabilities, key=probabilities.get)
        assert line.split() == ["x.npy", task, label, f"{probabilities[label]:.4f}"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_model_of_a_study_file_predicts_where_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STUDY_FILE)
    done("train", "mine.py", "--epochs", "20", "--threads", "1", "--quiet", "-o", "m.safetensors")
    Path("x.csv").write_text("2,-2,0,0\n-2,2,0,0\n")
    found = done("predict", "m.safetensors", "x.csv", "--study", "mine.py", "--json").json["predictions"]
    assert [[p["tasks"][task]["label"] for task in ("a", "b")] for p in found] == [["1", "0"], ["0", "1"]]
