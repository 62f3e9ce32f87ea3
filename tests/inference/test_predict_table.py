"""Predictions for raw tables: a model's file keeps the encoding of its study's columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import SOLO, done, refused
from tables import houses, write

from mtlsearch import load_model, load_study


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table, its study and a trained model of it, as the working directory."""
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, houses())
    done("init", "--csv", "houses.csv", "--targets", "price,sold", "--out", "mine.py")
    done("train", "mine.py", "--epochs", "3", "--threads", "1", "--quiet", "-o", "m.safetensors")
    return tmp_path


def predicted(*files: str) -> list[dict[str, object]]:
    return done("predict", "m.safetensors", *files, "--study", "mine.py", "--json").json["predictions"]


def test_raw_rows_give_what_their_encoded_inputs_give(here: Path) -> None:
    table = load_study("mine.py").tasks[0].data
    frame = houses().drop(columns=["price", "sold"])
    write(here, frame, "new.csv")
    frame.to_parquet("new.parquet")
    np.save("encoded.npy", table.encoding.apply(frame))  # type: ignore[attr-defined]
    raw, encoded = predicted("new.csv"), predicted("encoded.npy")
    assert len(raw) == len(frame)
    assert [p["tasks"] for p in raw] == [p["tasks"] for p in encoded]
    assert [p["tasks"] for p in predicted("new.parquet")] == [p["tasks"] for p in raw]
    assert raw[0]["input"] == "new.csv, line 2"


def test_order_of_columns_other_columns_and_separators_do_not_matter(here: Path) -> None:
    frame = houses(20).drop(columns=["price", "sold"])
    write(here, frame, "new.csv")
    frame.assign(more=1)[["city", "more", "built", "rooms", "area"]].to_csv("other.csv", index=False, sep=";")
    assert [p["tasks"] for p in predicted("other.csv")] == [p["tasks"] for p in predicted("new.csv")]


def test_training_data_are_not_needed(here: Path) -> None:
    frame = houses(20)
    write(here, frame, "new.csv")
    before = predicted("new.csv")
    Path("houses.csv").unlink()
    assert predicted("new.csv") == before
    assert not load_model("m.safetensors", "mine.py").training


def test_exported_model_of_a_search_keeps_the_encoding(here: Path) -> None:
    write(here, houses(5), "new.csv")
    done("run", "mine.py", "--trials", "1", "--epochs", "2", "--quiet", *SOLO)
    done("export", "mine", "-o", "best.json", "--checkpoint", "m.safetensors")
    assert len(predicted("new.csv")) == 5
    assert done("verify", "best.json", "--study", "mine.py", "--threads", "1", "--json").json["agrees"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop(columns="area"), "the model's input 'area' is no column of the table: It has rooms,"),
        (lambda f: f.assign(rooms="many"), "column 'rooms': line 2 holds 'many', which is not a number"),
        (lambda f: f.assign(built="later"), "column 'built': line 2 holds 'later', which is not a date"),
        (lambda f: f.assign(area=np.inf), "column 'area': line 2 holds infinity"),
        (lambda f: f[:0], "new.csv holds column names but no rows"),
    ],
)  # fmt: skip
def test_table_unlike_the_trained_one_is_refused(here: Path, change: object, said: str) -> None:
    write(here, change(pd.DataFrame(houses(3))), "new.csv")  # type: ignore[operator]
    assert said in refused("predict", "m.safetensors", "new.csv", "--study", "mine.py")
