"""Pictures from a folder: by class or by a CSV, resized once, and what cannot be read named."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mtlsearch import Classification, MtlsearchError, PictureFolder, Regression, SharedTrunk, Study
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError, StudyError
from mtlsearch.study.loaded import load_data

CLASSES = ("cat", "dog", "owl")


def save(path: Path, seed: int = 0, size: tuple[int, int] = (8, 6), channels: int = 3) -> Path:
    """A picture of noise of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if channels == 3 else size
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)
    return path


def by_class(folder: Path, each: int = 10, **options: Any) -> Path:
    for kind, name in enumerate(CLASSES):
        for i in range(each):
            save(folder / name / f"{i:02}.png", 100 * kind + i, **options)
    return folder


def by_csv(folder: Path, rows: int = 30) -> pd.DataFrame:
    """Pictures below `folder`, with a class and a number for each but some."""
    files = [f"pictures/{i:02}.png" for i in range(rows)]
    for i, file in enumerate(files):
        save(folder / file, i)
    frame = pd.DataFrame({"file": files, "animal": [CLASSES[i % 3] for i in range(rows)], "age": np.arange(rows) / 2})
    frame.loc[4, "animal"] = None
    frame.loc[5, "age"] = None
    frame.to_csv(folder / "labels.csv", index=False)
    return frame


def joint(**changes: Any) -> PictureFolder:
    given: dict[str, Any] = {"labels": "labels.csv", "targets": {"animal": "category", "age": "number"}}
    return PictureFolder("", **{**given, **changes})


def refused(source: PictureFolder, folder: Path) -> str:
    with pytest.raises(MtlsearchError) as error:
        source(folder)
    assert isinstance(error.value, DataError)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{folder}/", "")


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path)).transpose(2, 0, 1).copy())


def test_folder_per_class_gives_bytes_and_the_classes_names(tmp_path: Path) -> None:
    folder = by_class(tmp_path / "animals")
    data = PictureFolder("animals")(tmp_path)
    assert data.class_names("anything") == CLASSES
    assert (len(data.train), len(data.test)) == (18, 6)
    assert data.train.inputs.shape[1:] == (3, 8, 6)
    assert data.train.inputs.dtype == torch.uint8
    seen = {x.numpy().tobytes(): int(y) for x, y in zip(data.train.inputs, data.train.labels["label"], strict=True)}
    truth = {pixels(path).numpy().tobytes(): CLASSES.index(path.parent.name) for path in folder.glob("*/*.png")}
    assert len(seen) == 18
    assert seen.items() <= truth.items()


def test_each_class_is_in_each_part_by_its_share(tmp_path: Path) -> None:
    data = PictureFolder(by_class(tmp_path))(tmp_path)
    assert [torch.bincount(part.labels["label"]).tolist() for part in (data.train, data.test)] == [
        [6, 6, 6],
        [2, 2, 2],
    ]


def test_folders_of_train_and_test_are_kept_apart(tmp_path: Path) -> None:
    by_class(tmp_path / "train", 10)
    by_class(tmp_path / "test", 3)
    data = PictureFolder(tmp_path, validation=0.2)(Path())
    assert (len(data.train), len(data.test)) == (24, 9)
    save(tmp_path / "test" / "newt" / "0.png")
    assert refused(PictureFolder(tmp_path), tmp_path) == (
        "task 'label': the label 'newt' in the test rows (picture test/newt/0.png) is not among the training labels:"
        " cat, dog, owl"
    )


def test_csv_gives_joint_tasks_with_missing_labels(tmp_path: Path) -> None:
    frame = by_csv(tmp_path)
    source = joint()
    study = Study(
        tasks=[Classification("animal", source), Regression("age", source)],
        model=lambda config: SharedTrunk(3 * 8 * 6, {"animal": 3, "age": 1}, hidden=4),
        space={},
        default={},
    )
    (splits,) = load_data(study, tmp_path).splits
    assert splits.tasks == ("animal", "age")
    data = source(tmp_path)
    for x, kind, age in zip(
        data.train.inputs,
        data.train.labels["animal"].tolist(),
        data.train.labels["age"].tolist(),
        strict=True,
    ):
        (row,) = (i for i, file in enumerate(frame["file"]) if torch.equal(pixels(tmp_path / file), x))
        assert kind == (-1 if row == 4 else row % 3)
        assert age == row / 2 or (row == 5 and np.isnan(age))


def test_column_of_the_csv_divides_the_pictures(tmp_path: Path) -> None:
    frame = by_csv(tmp_path)
    frame["part"] = ["train"] * 18 + ["val"] * 5 + ["test"] * 7
    frame.to_csv(tmp_path / "labels.csv", index=False)
    data = joint(split="part")(tmp_path)
    assert torch.equal(data.test.inputs[0], pixels(tmp_path / frame["file"][23]))
    assert (len(data.train), len(data.test)) == (18, 7)


def test_pictures_are_resized_to_cover_the_size_and_cropped_at_their_centre(tmp_path: Path) -> None:
    path = by_class(tmp_path, 2, size=(20, 40)) / "cat" / "00.png"
    halves = np.zeros((20, 40, 3), np.uint8)
    halves[:, 10:30] = 200
    Image.fromarray(halves).save(path)
    data = PictureFolder(tmp_path, size=10, test=0.3, validation=0.3)(Path())
    assert isinstance(data.validation, Part)
    pictures = torch.cat([part.inputs for part in (data.train, data.validation, data.test)])
    assert pictures.shape == (6, 3, 10, 10)
    # But for the columns at the crop's edge, which blend into what is beside them.
    assert sum(bool((x[:, :, 1:-1] == 200).all()) for x in pictures) == 1
    tall = PictureFolder(tmp_path, size=(7, 4), test=0.3, validation=0.3)(Path())
    assert tall.train.inputs.shape[1:] == (3, 7, 4)


def test_grey_pictures_have_one_channel_and_16_bits_become_the_upper_8(tmp_path: Path) -> None:
    by_class(tmp_path, 4, size=(2, 2), channels=1)
    for path in tmp_path.glob("*/*.png"):
        Image.fromarray(np.array([[0, 256], [512, 65535]], np.uint16)).save(path)
    inputs = PictureFolder(tmp_path, colour=False)(Path()).train.inputs
    assert inputs.shape[1:] == (1, 2, 2)
    assert inputs[0].flatten().tolist() == [0, 1, 2, 255]


def test_pictures_stand_upright_as_their_camera_says(tmp_path: Path) -> None:
    for path in by_class(tmp_path, 4, size=(4, 8)).glob("*/*.png"):
        picture = Image.open(path)
        exif = picture.getexif()
        exif[0x0112] = 6  # turned by a quarter
        picture.save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    assert PictureFolder(tmp_path)(Path()).train.inputs.shape[1:] == (3, 8, 4)


def test_the_same_pictures_have_the_same_fingerprint(tmp_path: Path) -> None:
    by_class(tmp_path)
    first = PictureFolder(tmp_path)(Path()).sha256("label")
    assert PictureFolder(tmp_path)(Path()).sha256("label") == first
    assert PictureFolder(tmp_path, split_seed=1)(Path()).sha256("label") != first


# What cannot be read.


def test_mixed_sizes_without_a_size_name_both_files(tmp_path: Path) -> None:
    by_class(tmp_path)
    save(tmp_path / "dog" / "03.png", size=(9, 9))
    assert refused(PictureFolder(tmp_path), tmp_path) == (
        "the pictures differ in size: cat/00.png is 8 × 6 and dog/03.png is 9 × 9: give PictureFolder a size="
    )


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_unreadable_picture_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = by_class(tmp_path, size=(60, 60)) / "owl" / "04.png"
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    said = refused(PictureFolder(tmp_path), tmp_path)
    assert said.startswith("owl/04.png is no whole picture (")
    assert said.endswith("): mend or remove it")


def test_file_of_the_csv_that_is_not_there_is_named(tmp_path: Path) -> None:
    frame = by_csv(tmp_path)
    (tmp_path / frame["file"][7]).unlink()
    assert refused(joint(), tmp_path) == "no picture pictures/07.png"
    frame.loc[7, "file"] = None
    frame.to_csv(tmp_path / "labels.csv", index=False)
    assert refused(joint(), tmp_path) == "labels.csv: line 9 names no file"


def test_missing_and_empty_folders_and_columns_are_refused(tmp_path: Path) -> None:
    assert refused(PictureFolder("no"), tmp_path) == "no folder of pictures no: name an existing one"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("text")
    assert refused(PictureFolder("none"), tmp_path) == (
        "none holds no pictures in folders of its own: make a folder per class, or name a CSV with labels="
    )
    by_csv(tmp_path)
    assert refused(joint(labels="no.csv"), tmp_path).startswith("no table no.csv")
    assert refused(joint(file="path"), tmp_path).startswith("the column of file names 'path' is no column")
    assert refused(joint(targets={"kind": "category"}), tmp_path).startswith("the target 'kind' is no column")


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    for i in range(9):
        save(tmp_path / "cat" / f"{i}.png", i)
    assert refused(PictureFolder(tmp_path), tmp_path) == (
        "target 'label' has the one value 'cat' in every row: there is nothing to learn"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "labels.csv"}, "targets must name one column or more"),
        ({"targets": {"y": "category"}}, "targets and split are columns of a CSV: name it with labels="),
        ({"size": 0}, "size must be a side or (height, width) of 1 or more, but got 0"),
        ({"test": 1.0}, "validation and test are fractions"),
    ],
)
def test_folder_that_cannot_work_is_refused_when_it_is_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as error:
        PictureFolder("pictures", **options)
    assert said in str(error.value)
