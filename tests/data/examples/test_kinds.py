"""Inputs: what they are taken for, that it is told, and that bits of uint8 score what the same reals score."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SHORT, SOLO, command, done, refused, stored
from problems import CLASSES, NOWHERE, trunk
from torch import Tensor, nn

from mtlsearch import Classification, Data, Study, real
from mtlsearch.data.examples.kinds import as_input
from mtlsearch.errors import DataError, ModelError
from mtlsearch.study.describe import input_lines
from mtlsearch.study.loaded import load_data
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

ROWS = 240
RANDOM = np.random.default_rng(0)
BITS = (RANDOM.random((ROWS, 6)) < 0.3).astype(np.uint8)
LABELS = BITS[:, :3].sum(1) % CLASSES


def study(x: Any, model: Any = None, **options: Any) -> Study:
    """A study of one task on these inputs."""

    def source(directory: Path) -> Data:
        parts = [(x[rows], LABELS[rows]) for rows in (slice(0, 180), slice(180, ROWS))]
        return Data(*parts, validation=60, **options)

    return Study(
        tasks=[Classification("a", source)],
        model=model or trunk({"a": CLASSES}),
        space={"learning_rate": real(1e-3, 1e-1, log=True)},
        default={"learning_rate": 1e-2},
        epochs=3,
        batch_size=16,
    )


def kind_of(x: Any, model: Any = None, **options: Any) -> str | None:
    return load_data(study(x, model, **options), NOWHERE).splits[0].kind


class Embedded(nn.Module):
    """Sums the embeddings of whole numbers."""

    def __init__(self, rows: int = 300) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(rows, 4), nn.Linear(4, CLASSES)

    @classmethod
    def of(cls, config: object) -> "Embedded":
        return cls()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.head(self.embedding(x).sum(1)) for task, x in inputs.items()}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64, np.bool_, np.float16, np.float64])
def test_bits_of_any_type_score_what_the_same_reals_score(dtype: Any) -> None:
    def results(inputs: Any) -> list[Any]:
        trainer = SoloTrainer(Training(load_data(study(inputs), NOWHERE)))
        trainer.add(0, study(inputs).default_config())
        return [trainer.advance()[0] for _ in range(3)]

    assert results(BITS.astype(dtype)) == results(BITS.astype(np.float32))


def test_bits_of_uint8_stay_uint8_on_the_device() -> None:
    splits = load_data(study(BITS), NOWHERE).splits[0]
    assert {part.inputs.dtype for part in (splits.train, splits.validation, splits.test)} == {torch.uint8}


def test_pictures_have_three_dimensions_or_are_said_to_be_pictures() -> None:
    assert kind_of(BITS) == "numbers"
    assert kind_of(BITS.reshape(ROWS, 2, 3)) == "pictures"
    assert kind_of(BITS, inputs="pictures") == "pictures"
    assert kind_of(BITS.reshape(ROWS, 2, 3), inputs="numbers") == "numbers"
    assert kind_of(BITS.reshape(ROWS, 2, 3).astype(np.float32)) == "numbers"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_whole_numbers_are_tokens_where_the_model_embeds_them(dtype: Any) -> None:
    assert kind_of(BITS.astype(dtype)) == "numbers"
    assert kind_of(BITS.astype(dtype), Embedded.of) == "tokens"


def test_a_number_beyond_the_embedding_is_found_before_training() -> None:
    inputs = BITS.astype(np.int64)
    inputs[100, 3] = 301
    with pytest.raises(ModelError, match=r"^the model fails on inputs a \(\d+, 6\): IndexError: index out of range"):
        kind_of(inputs, Embedded.of)


def test_a_model_that_takes_neither_fails_with_its_own_reason() -> None:
    with pytest.raises(ModelError, match=r"has none for 'a' \(it has b\): name its heads by task$"):
        kind_of(BITS, trunk({"b": CLASSES}))


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        (BITS, "images", "inputs must be pictures, numbers, tokens, or None to have it guessed, but got 'images'"),
        (BITS.astype(np.float32), "tokens", "tokens must be whole numbers, but the inputs are float32"),
    ],
)
def test_kinds_that_cannot_be_are_refused(inputs: Any, kind: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        Data((inputs, LABELS), (inputs, LABELS), inputs=kind)
    assert str(error.value) == message


def test_each_kind_is_cast_in_the_step() -> None:
    numbers = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert as_input(numbers, torch.float64, "pictures").tolist() == [0.0, 0.2, 1.0]
    assert as_input(numbers, torch.float64, "numbers").tolist() == [0.0, 51.0, 255.0]
    assert as_input(numbers, torch.float32, "tokens").dtype == torch.int64
    assert as_input(numbers.int(), torch.float32, "tokens").dtype == torch.int32
    assert as_input(numbers / 255, torch.float32, "pictures").tolist() == [0.0, pytest.approx(0.2), 1.0]


@pytest.mark.parametrize(
    ("inputs", "model", "line"),
    [
        (BITS, None, "inputs of a: 240 × 6 numbers (uint8, as they are)"),
        (BITS.reshape(ROWS, 2, 3), None, "inputs of a: 240 × 2 × 3 pictures (uint8, divided by 255)"),
        (BITS, Embedded.of, "inputs of a: 240 × 6 tokens (uint8, whole numbers for the model's embedding)"),
        (BITS.astype(np.float32), None, "inputs of a: 240 × 6 numbers (float32, as they are)"),
    ],
)  # fmt: skip
def test_a_line_says_what_inputs_were_taken_for(inputs: Any, model: Any, line: str) -> None:
    assert input_lines(load_data(study(inputs, model), NOWHERE)) == [line]


# Studies and configs of earlier versions, which divided every uint8 by 255.

STUDY = """
import numpy as np
from mtlsearch import Classification, Data, SharedTrunk, Study, real

KIND = None


def source(directory):
    x = (np.random.default_rng(0).random((200, 6)) < 0.3).astype(np.uint8)
    y = x[:, 0].astype(np.int64)
    return Data((x[:160], y[:160]), (x[160:], y[160:]), inputs=KIND)


study = Study(
    tasks=[Classification("a", source)],
    model=lambda config: SharedTrunk(6, {"a": 2}, hidden=4),
    space={"learning_rate": real(1e-3, 1e-1, log=True)},
    default={"learning_rate": 1e-2},
    epochs=2,
)
"""
PICTURES = STUDY.replace("KIND = None", 'KIND = "pictures"')


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_inputs_are_told_at_the_first_run_alone(here: Path) -> None:
    Path("bits.py").write_text(STUDY)
    assert "mtlsearch: inputs of a: 200 × 6 numbers (uint8, as they are)\n" in done("run", "bits.py", *SHORT).err
    assert "inputs of a" not in done("run", "bits.py", "--trials", "4", "--epochs", "2", *SOLO).err


def test_a_study_whose_bits_were_divided_is_refused_with_the_reason(here: Path) -> None:
    # Pictures of two dimensions have the fingerprint that earlier versions gave to every uint8.
    Path("bits.py").write_text(PICTURES)
    done("run", "bits.py", *SHORT)
    done("export", "bits", "-o", "best.json")
    Path("bits.py").write_text(STUDY)
    assert refused("run", "bits.py", "--trials", "4", "--epochs", "2", *SOLO) == (
        "study 'bits' was begun by a version that divided all inputs of uint8 by 255, those of a too, which now are"
        ' taken as they are: give this one a name of its own with --name, or say inputs="pictures" in Data to go on as'
        " before"
    )
    assert "were taken" not in command("verify", "best.json", "--study", "bits.py").out
    assert refused("verify", "best.json", "--study", "bits.py") == (
        "the config was trained with inputs of task 'a' taken for pictures, which are numbers now: say"
        ' inputs="pictures" in the study\'s Data'
    )


def test_a_study_goes_on_where_its_bits_are_said_to_be_pictures(here: Path) -> None:
    Path("bits.py").write_text(PICTURES)
    done("run", "bits.py", *SHORT)
    done("run", "bits.py", "--trials", "4", "--epochs", "2", *SOLO)
    assert len(stored(Path("mtlsearch.db"), "bits")) == 4


def test_predict_takes_the_inputs_as_the_training_did(here: Path) -> None:
    Path("bits.py").write_text(STUDY)
    done("train", "bits.py", "-o", "bits.safetensors", "--threads", "1")
    np.save("bytes.npy", BITS)
    np.save("reals.npy", BITS.astype(np.float64))
    np.save("flags.npy", BITS.astype(bool))

    def predicted(name: str) -> list[Any]:
        found = done("predict", "bits.safetensors", name, "--study", "bits.py", "--json").json["predictions"]
        return [example["tasks"] for example in found]

    assert predicted("bytes.npy") == predicted("reals.npy") == predicted("flags.npy")


def test_the_fingerprint_names_the_kind_only_where_an_earlier_version_did_otherwise() -> None:
    def named(x: Any, **options: Any) -> Any:
        return load_data(study(x, **options), NOWHERE).fingerprint().get("inputs")

    assert named(BITS) == {"a": "numbers"}
    assert named(BITS, inputs="pictures") is None
    assert named(BITS.astype(np.float32)) is None
    assert named(BITS.reshape(ROWS, 2, 3)) is None
    assert load_data(study(BITS, Embedded.of), NOWHERE).fingerprint()["inputs"] == {"a": "tokens"}
    whole = replace(study(BITS.astype(np.int64)), model=Embedded.of)
    assert "inputs" not in load_data(whole, NOWHERE).fingerprint()
