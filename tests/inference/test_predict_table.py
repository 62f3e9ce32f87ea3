"""Predictions for raw tables: a model's file keeps the encoding of its study's columns."""

import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import SOLO, done, refused
from tables import houses, write

from mtlsearch import load_model, load_study
from mtlsearch.cli.output import show_predictions


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


def test_rows_keep_their_own_columns_beside_the_answers(here: Path) -> None:
    frame = houses(30).drop(columns="price")
    frame.insert(0, "code", [f"00{i}" for i in range(30)])
    write(here, frame, "new.csv")
    frame.to_parquet("new.parquet")
    done("predict", "m.safetensors", "new.csv", "--study", "mine.py", "--format", "csv", "-o", "out.csv")
    found = pd.read_csv("out.csv", dtype=str, keep_default_na=False)
    written = pd.read_csv("new.csv", dtype=str, keep_default_na=False)
    assert found[list(written)].equals(written)  # 001 is no 1, and a gap is no nan
    answers = ["sold.prediction", "sold.probability", "sold.probability.no", "sold.probability.yes"]
    assert list(found) == ["input", *written, "price.prediction", *answers]
    for row, prediction in zip(found.to_dict("records"), predicted("new.csv"), strict=True):
        sold, price = prediction["tasks"]["sold"], prediction["tasks"]["price"]  # type: ignore[index]
        assert row["input"] == prediction["input"]
        assert row["sold.prediction"] == sold["label"]
        assert float(row["sold.probability"]) == pytest.approx(sold["probabilities"][sold["label"]])
        assert float(row["sold.probability.yes"]) == pytest.approx(sold["probabilities"]["yes"])
        assert float(row["price.prediction"]) == pytest.approx(price["values"][0])
    done("predict", "m.safetensors", "new.parquet", "--study", "mine.py", "--format", "parquet", "-o", "out.parquet")
    parquet = pd.read_parquet("out.parquet")
    assert parquet["area"].equals(frame["area"])
    assert parquet["sold.probability.yes"].tolist() == pytest.approx(found["sold.probability.yes"].astype(float))


def test_rows_are_ranked_by_a_column(here: Path) -> None:
    write(here, houses(40), "new.csv")
    options = ("--study", "mine.py", "--format", "csv")
    sort = "sold.probability.yes"
    out = done("predict", "m.safetensors", "new.csv", *options, "--sort", sort).out
    ranked = pd.read_csv(io.StringIO(out))
    assert len(ranked) == 40
    assert ranked[sort].is_monotonic_decreasing
    line = refused("predict", "m.safetensors", "new.csv", *options, "--sort", "sold.probability.yess", status=2)
    assert "did you mean 'sold.probability.yes'?" in line


def test_answers_to_a_file_of_answers_take_the_place_of_the_old_ones(here: Path) -> None:
    write(here, houses(5), "new.csv")
    options = ("--study", "mine.py", "--format", "csv")
    done("predict", "m.safetensors", "new.csv", *options, "-o", "once.csv")
    done("predict", "m.safetensors", "once.csv", *options, "-o", "twice.csv")
    assert pd.read_csv("twice.csv").drop(columns="input").equals(pd.read_csv("once.csv").drop(columns="input"))


def test_several_files_and_json_hold_a_row_for_each_example(here: Path) -> None:
    write(here, houses(3), "a.csv")
    write(here, houses(2).drop(columns="price"), "b.csv")
    rows = done("predict", "m.safetensors", "a.csv", "b.csv", "--study", "mine.py", "--format", "json").json
    assert [row["input"] for row in rows] == [
        "a.csv, line 2",
        "a.csv, line 3",
        "a.csv, line 4",
        "b.csv, line 2",
        "b.csv, line 3",
    ]
    assert rows[3]["price"] is None


def test_options_that_exclude_each_other_are_wrong_usage(here: Path) -> None:
    write(here, houses(3), "a.csv")
    for options, said in (
        (("--json", "--format", "csv"), "either --json or --format"),
        (("--sort", "x"), "--sort orders the rows of --format csv, json or parquet"),
        (("--format", "parquet"), "name it with -o"),
        (("-o", "x.csv"), "--format table is for the screen"),
    ):
        assert said in refused("predict", "m.safetensors", "a.csv", "--study", "mine.py", *options, status=2)
    assert not Path("x.csv").exists()


def test_screen_shows_thousands_of_answers_and_not_of_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {f"assay {i}": {"kind": "regression"} for i in range(600)}
    predictions = ({"input": f"x[{n}]", "tasks": {task: {"values": [n / 2]} for task in tasks}} for n in range(10**9))
    show_predictions(predictions, tasks)
    told = capsys.readouterr()
    assert told.out.count("\n") == 1 + 3 * 600
    assert told.err == "mtlsearch: only the first 3 inputs are shown: --format csv -o FILE has them all\n"
    one = [{"input": "x", "tasks": {task: {"values": [0.0] * 5000} for task in ("a", "b")}}]
    show_predictions(one, {task: {"kind": "regression"} for task in ("a", "b")})
    assert capsys.readouterr().err == ""


def test_sorting_by_a_task_names_its_columns(here: Path) -> None:
    write(here, houses(3).drop(columns="sold"), "a.csv")
    options = ("--study", "mine.py", "--format", "csv", "--sort", "sold")
    said = refused("predict", "m.safetensors", "a.csv", *options, status=2)
    assert said.startswith("--sort 'sold' is no column: did you mean 'sold.prediction', 'sold.probability'")


def test_twenty_thousand_rows_take_seconds(here: Path) -> None:
    write(here, houses(20_000), "many.csv")
    begun = time.process_time()
    done("predict", "m.safetensors", "many.csv", "--study", "mine.py", "--format", "csv", "-o", "out.csv")
    assert time.process_time() - begun < 5
    outcome = done("predict", "m.safetensors", "many.csv", "--study", "mine.py")
    assert outcome.out.count("\n") == 2001
    assert "only the first 1000 inputs are shown: --format csv -o FILE has them all" in outcome.err
