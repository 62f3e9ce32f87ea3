"""`mtlsearch init`: column kinds guessed and shown, a study file that runs at once, and no file overwritten."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import SOLO, command, contents, done, refused, stored
from sklearn.datasets import load_wine
from tables import houses, write

from mtlsearch import load_study
from mtlsearch.data.guess.header import has_header
from mtlsearch.data.guess.table import guess_table
from mtlsearch.data.table_encoding import Encoding
from mtlsearch.inference.inputs import read_rows
from mtlsearch.study.loaded import load_data

WHICH = "--targets must name the columns to predict, separated by commas"
WHERE = (
    "--targets, --split, --groups, --drop, --metric and --header are about a table: name it, as in `mtlsearch init"
    " data.csv --targets price,sold`"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kinds(path: Path, *targets: str) -> dict[str, str]:
    return {column.name: column.kind for column in guess_table(path, targets).columns}


def init(*arguments: object) -> str:
    """The notices of `init` for a table, on stderr."""
    return done("init", "--csv", "houses.csv", "--targets", "price,sold", *arguments).err


# Guesses.


def test_each_column_is_shown_with_its_kind_and_its_gaps(here: Path) -> None:
    frame = houses()
    frame.insert(0, "id", range(1, len(frame) + 1))
    frame["note"] = [f"a text of its own, {i}" for i in range(len(frame))]
    frame["void"] = None
    frame["same"] = 7
    write(here, frame)
    lines = done("init", "--csv", "houses.csv", "--targets", "price, sold").out.splitlines()
    found = {line.split("  ")[0]: " ".join(line.split()) for line in lines[1:]}
    area = frame["area"].dropna().iloc[0]
    assert found["id"].startswith("id 1 left out 0 200 an id")
    assert found["area"].startswith(f"area {area} number 29 ")
    assert found["city"].startswith(f"city {frame['city'].dropna().iloc[0]} category 23 3 ")
    assert found["built"].startswith("built 1990-01-01 date 0 200 ")
    assert found["price"].startswith(f"price {frame['price'].dropna().iloc[0]} number 19 ")
    assert "Regression" in found["price"]
    assert found["sold"].startswith(f"sold {frame['sold'].dropna().iloc[0]} category 16 2 ")
    assert "Classification" in found["sold"]
    assert found["note"].startswith("note a text of its own, 0 left out 0 200 an id or free text")
    assert found["void"] == "void left out 200 0 no values"
    assert found["same"] == "same 7 left out 0 1 a single value"


def test_whole_numbers_that_do_not_count_rows_are_numbers(here: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "income": random.permutation(1000)[:100],
            "customer_id": random.permutation(1000)[:100],
            "row": random.permutation(100),
            "flag": [True, False] * 50,
            "y": random.normal(size=100),
        }
    )
    assert kinds(write(here, frame), "y") == {
        "income": "number",
        "customer_id": "left out",
        "row": "left out",
        "flag": "category",
        "y": "number",
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.5, 1.5, 2.5, 3.5] * 10, "number"),
        ([0, 1] * 20, "category"),
        ([0.0, 1.0, None, 2.0] * 10, "category"),
        (list(range(40)), "number"),
        (["a", "b"] * 20, "category"),
        ([True, False] * 20, "category"),
    ],
)
def test_target_of_few_values_is_a_class_and_of_many_numbers_a_regression(
    here: Path, values: list[Any], kind: str
) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40), "y": values})
    assert kinds(write(here, frame), "y")["y"] == kind


def test_words_for_a_missing_value_are_found_and_written_down(here: Path) -> None:
    frame = houses()
    frame["area"] = frame["area"].astype(object).where(frame["area"].notna(), "?")
    write(here, frame)
    init()
    assert 'blanks=["?"]' in Path("my_study.py").read_text()
    assert kinds(here / "houses.csv", "price")["area"] == "number"
    study = load_study("my_study.py")
    assert len(load_data(study, here).splits[0].train) == 120


def test_numbers_among_which_stray_words_are_left_out_and_the_words_named(here: Path) -> None:
    frame = houses()
    frame["area"] = [f"{i}.5" if i % 2 else f"n{i}" if i < 90 else "4" for i in range(len(frame))]
    (area,) = (c for c in guess_table(write(here, frame), ["price"]).columns if c.name == "area")
    assert (area.kind, area.why) == (
        "left out",
        "numbers except texts such as 'n0': list those in blanks, and the column in numbers",
    )


def test_semicolons_and_decimal_commas_are_reported_and_give_the_same_data(here: Path) -> None:
    frame = houses()
    write(here, frame)
    init("--out", "plain.py")
    frame.to_csv("houses.csv", sep=";", decimal=",", index=False)
    told = init("--out", "comma.py")
    assert "200 rows, separated by semicolons with decimal commas; 120 to train, 40 to validate, 40 to" in told
    frames = [pd.read_csv("houses.csv", sep=";", decimal=","), frame]
    pd.testing.assert_frame_equal(*frames, check_dtype=False)
    comma = load_data(load_study("comma.py"), here).sha256
    write(here, frame)
    assert comma == load_data(load_study("plain.py"), here).sha256


def test_metric_of_a_rare_class_is_the_auroc_and_the_file_says_why(here: Path) -> None:
    frame = houses()
    frame["sold"] = ["yes"] * 38 + ["no"] * 162
    write(here, frame)
    init()
    lines = Path("my_study.py").read_text().splitlines()
    at = lines.index('        Classification("sold", table, metric_name="auroc"),')
    why = '# Only 19 % of its labels are "yes", so accuracy says little: area under the ROC curve.'
    assert lines[at - 1].strip() == why
    assert load_data(load_study("my_study.py"), here).metrics["sold"].name == "auroc"


def test_metric_of_two_classes_that_are_even_enough_is_the_accuracy(here: Path) -> None:
    frame = houses()
    frame["sold"] = ["yes"] * 40 + ["no"] * 160
    write(here, frame)
    init()
    assert 'Classification("sold", table),' in Path("my_study.py").read_text()


def test_metric_of_several_classes_one_of_which_is_most_is_the_macro_f1(here: Path) -> None:
    frame = houses()
    frame["sold"] = ["yes"] * 20 + ["later"] * 20 + ["no"] * 160
    write(here, frame)
    init()
    text = Path("my_study.py").read_text()
    assert 'Classification("sold", table, metric_name="macro_f1")' in text
    assert '# 80 % of its labels are "no", so accuracy says little: the mean F1 of all classes.' in text


def test_metrics_are_chosen_for_all_targets_that_have_them_or_for_one(here: Path) -> None:
    frame = houses()
    frame["big"] = frame["area"] > 90
    write(here, frame)
    given = ("init", "--csv", "houses.csv", "--targets", "price,sold,big", "--force", "--metric")
    done(*given, "average_precision", "--metric", "big=macro_f1", "--metric", "mae")
    names = {task: metric.name for task, metric in load_data(load_study("my_study.py"), here).metrics.items()}
    assert names == {"price": "mae", "sold": "average_precision", "big": "macro_f1"}
    assert refused(*given, "auc", status=2) == (
        "--metric auc: no target has a metric 'auc'; there are price: r2, mae;"
        " sold: accuracy, macro_f1, auroc, average_precision; big: accuracy, macro_f1, auroc, average_precision"
    )
    assert refused(*given, "price=auroc", status=2) == (
        "--metric price=auroc: no target has a metric 'auroc'; there are price: r2, mae"
    )
    assert refused(*given, "area=mae", status=2) == (
        "--metric area=mae: 'area' is no target; there are price, sold, big"
    )


# Categories and codes.


def test_texts_of_many_levels_are_a_category_where_each_stands_in_many_rows(here: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "state": [f"state {i % 51}" for i in range(1020)],
            "y": random.normal(size=1020),
            "x": random.normal(size=1020),
        }
    )
    assert kinds(write(here, frame), "y")["state"] == "category"
    assert kinds(write(here, frame[:1000]), "y")["state"] == "left out"


def test_codes_are_known_by_their_name_or_by_leading_zeros(here: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "industry_code": random.integers(0, 40, 200),
            "MSSubClass": random.choice([20, 30, 60, 190], 200),
            "plz": [f"0{i % 30:02}" for i in range(200)],
            "serial": [f"0{i:04}" for i in range(200)],
            "decoded": random.integers(0, 40, 200),
            "code": random.integers(0, 10**6, 200),
            "y": random.normal(size=200),
        }
    )
    assert kinds(write(here, frame), "y") == {
        "industry_code": "category",
        "MSSubClass": "category",
        "plz": "category",
        "serial": "left out",
        "decoded": "number",
        "code": "number",
        "y": "number",
    }


# How rows are divided, and what is left out.


@pytest.mark.parametrize("name", ["split", "Fold", "set", "data_split"])
def test_column_of_parts_divides_the_rows_and_is_no_input(here: Path, name: str) -> None:
    frame = houses()
    frame[name] = ["Train"] * 120 + ["val"] * 30 + ["test"] * 50
    write(here, frame)
    told = init()
    assert f"120 to train, 30 to validate, 50 to test, by column {name!r}" in told
    assert f'split="{name}",' in Path("my_study.py").read_text()
    (splits,) = load_data(load_study("my_study.py"), here).splits
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [120, 30, 50]
    assert splits.train.inputs.shape[1] == load_study("my_study.py").tasks[0].data.features == 8


def test_column_of_parts_by_another_name_is_the_split_where_it_is_named(here: Path) -> None:
    frame = houses()
    frame["use"] = ["train"] * 150 + ["test"] * 50
    write(here, frame)
    assert kinds(here / "houses.csv", "price")["use"] == "category"
    assert "50 to test, by column 'use'" in init("--split", "use")
    said = refused("init", "--csv", "houses.csv", "--targets", "price", "--split", "city", "--force")
    assert "must be train, validation or test, but is" in said


def test_column_of_groups_keeps_rows_together_and_is_no_input(here: Path) -> None:
    frame = houses()
    frame["owner"] = [row // 3 for row in range(len(frame))]
    write(here, frame)
    init("--groups", "owner")
    assert 'groups="owner",' in Path("my_study.py").read_text()
    study = load_study("my_study.py")
    (splits,) = load_data(study, here).splits
    owners = [set(part.groups.tolist()) for part in (splits.train, splits.validation, splits.test)]  # type: ignore[union-attr]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 67
    assert splits.train.inputs.shape[1] == study.tasks[0].data.features == 8


def test_numbers_of_folds_are_no_input(here: Path) -> None:
    frame = houses()
    frame["fold"] = np.arange(len(frame)) % 5
    assert kinds(write(here, frame), "price", "sold")["fold"] == "left out"


def test_last_line_names_what_is_left_out(here: Path) -> None:
    frame = houses()
    frame.insert(0, "id", range(1, len(frame) + 1))
    write(here, frame)
    *_, last = init("--drop", "built,city").splitlines()
    assert last == ("mtlsearch: wrote my_study.py, without id, city, built: edit it, or `mtlsearch run my_study.py`")
    *_, last = init("--drop", "id", "--force").splitlines()
    assert "without id:" in last


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--drop", "cty"), 1, "--drop 'cty' is no column of the table: did you mean 'city'? It has"),
        (("--split", "part"), 1, "--split 'part' is no column of the table:"),
        (("--drop", "price"), 2, "column 'price' is named twice: a target, a split, groups, or dropped, one of them"),
        (("--drop", "city", "--split", "city"), 2, "column 'city' is named twice"),
    ],
)  # fmt: skip
def test_column_that_is_not_there_or_named_twice_is_refused(
    here: Path, options: tuple[str, ...], status: int, said: str
) -> None:
    write(here, houses())
    assert refused("init", "--csv", "houses.csv", "--targets", "price,sold", *options, status=status).startswith(said)
    assert not Path("my_study.py").exists()


def test_options_of_a_table_need_one(here: Path) -> None:
    assert refused("init", "--drop", "x", status=2) == WHERE


# Files of other forms.


@pytest.mark.parametrize("name", ["houses.csv.gz", "houses.tsv", "houses.tsv.gz", "houses.csv.xz", "houses.csv.bz2"])
def test_compressed_and_tabbed_files_give_the_same_study(here: Path, name: str) -> None:
    frame = houses()
    write(here, frame)
    init("--out", "plain.py")
    frame.to_csv(name, sep="\t" if ".tsv" in name else ",", index=False)
    done("init", "--csv", name, "--targets", "price,sold", "--out", "other.py")
    assert load_data(load_study("other.py"), here).sha256 == load_data(load_study("plain.py"), here).sha256


def test_table_is_named_with_and_without_csv(here: Path) -> None:
    write(here, houses())
    init("--out", "option.py")
    done("init", "houses.csv", "--targets", "price,sold", "--out", "argument.py")
    assert Path("argument.py").read_text() == Path("option.py").read_text()


ARFF = """% a comment
@relation 'houses in town'
@ATTRIBUTE area numeric
@attribute 'kind of \\'house\\'' {flat, 'old villa'}
@attribute zone {1,2,3}
@attribute price real
@attribute floors integer
@attribute note string

@DATA
"""


def arff(rows: int = 60) -> str:
    random = np.random.default_rng(0)
    lines = [
        f"{random.normal():.3f},{kind}, {1 + i % 3},{i / 7:.2f},{i % 4},'no. {i}, a'"
        for i, kind in enumerate(["flat", "'old villa'"] * (rows // 2))
    ]
    lines[3] = "?,flat,1,2.5,2,?"
    return ARFF + "\n".join(["% another", *lines, ""])


@pytest.mark.parametrize("name", ["houses.arff", "houses.arff.gz"])
def test_arff_file_goes_from_init_to_predictions(here: Path, name: str) -> None:
    write(here, gzip.compress(arff().encode()) if name.endswith(".gz") else arff(), name)
    shown = done("init", name, "--targets", "price,zone,floors").out
    found = {line.split("  ")[0]: " ".join(line.split()) for line in shown.splitlines()[1:]}
    assert found["area"].startswith("area 0.126 number 1 ")
    assert found["kind of 'house'"].startswith("kind of 'house' flat category 0 2 ")
    assert found["price"].startswith("price 0 number 0 ")
    assert found["zone"].startswith("zone 1 category 0 3 ")
    assert found["floors"] == "floors 0 number 0 4 a target for Regression: numbers, by the file's header"
    assert found["note"].startswith("note no. 0, a left out 1 59 ")
    done("run", "my_study.py", "--trials", "1", "--epochs", "1", *SOLO)
    done("export", "my_study.py", "-o", "best.json", "--checkpoint", "best.safetensors")
    told = done("predict", "best.safetensors", name, "--study", "my_study.py", "--format", "csv").out
    header, *rows = csv.reader(io.StringIO(told))
    assert header[:7] == ["input", "area", "kind of 'house'", "zone", "price", "floors", "note"]
    assert len(rows) == 60
    assert rows[3][:7] == [f"{name}, line 15", "", "flat", "1", "2.5", "2", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "houses.arff is empty"),
        ("@relation x\n@data\n1,2\n", "houses.arff is empty"),
        (ARFF, "houses.arff holds column names but no rows"),
        (ARFF + "1,flat,1,2\n", "houses.arff, line 11 has 4 cells, but the header has 6: mend or delete that line"),
        (ARFF + "{0 1}\n", "houses.arff, line 11 has 1 cells, but the header has 6 (sparse rows are not read: write"),
        (ARFF + "much,flat,1,2,3,x\n", "column 'area': line 11 holds 'much', which is not a number"),
        (ARFF.replace("zone", "price"), "each column needs a name of its own, but 'price' is there twice"),
    ],
)
def test_arff_file_that_cannot_be_read_is_refused_in_one_line(here: Path, text: str, said: str) -> None:
    write(here, text, "houses.arff")
    assert said in refused("init", "houses.arff", "--targets", "price")


def test_broken_archive_is_refused_in_one_line(here: Path) -> None:
    houses().to_csv("houses.csv.gz", index=False)
    whole = Path("houses.csv.gz").read_bytes()
    for broken in (whole[: len(whole) // 2], b"no archive", whole[:40] + b"\0" * 40 + whole[80:]):
        Path("houses.csv.gz").write_bytes(broken)
        assert "houses.csv.gz" in refused("init", "--csv", "houses.csv.gz", "--targets", "price")


def test_file_without_a_header_gets_names_and_is_predicted_as_it_is(here: Path) -> None:
    houses().to_csv("houses.csv", index=False, header=False)
    done("init", "--csv", "houses.csv", "--targets", "column_5,column_6")
    names = "area,rooms,city,built,price,sold"
    init("--header", names, "--out", "named.py")
    shas = [load_data(load_study(name), here).sha256 for name in ("my_study.py", "named.py")]
    assert [*shas[0].values()] == [*shas[1].values()]
    encoding = load_study("named.py").tasks[0].data.encoding
    assert encoding == Encoding.from_dict(encoding.to_dict())
    without, _ = read_rows(Path("houses.csv"), encoding)
    write(here, houses(), "with.csv")
    with_header, places = read_rows(Path("with.csv"), encoding)
    assert without.equal(with_header)
    assert (len(without), places[0]) == (200, "with.csv, line 2")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("a,b\n1,2\n3,4", True),
        ("1,x\n2,y\n3,x", False),
        ("country,2001,2002\nno,3,4\nse,5,6", True),
        ("5\n6\n9", False),
        ("red,small\nred,large\nblue,small", False),
        ("colour,size\nred,large\nblue,small", True),
        ("x,?\n1,2\n3,4", True),
        ("?,1\n1,2\n3,4", False),
    ],
)
def test_first_line_is_a_header_where_it_does_not_look_like_the_rows(rows: str, named: bool) -> None:
    assert has_header([row.split(",") for row in rows.split("\n")]) == named


# Study files.


def test_study_of_a_table_is_short_and_runs_from_anywhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "data").mkdir()
    (here / "elsewhere").mkdir()
    write(here / "data", houses())
    done("init", "--csv", "data/houses.csv", "--targets", "price", "--targets", "sold", "--out", "mine.py")
    text = Path("mine.py").read_text()
    assert 'Path(__file__).resolve().parent / "data/houses.csv"' in text
    assert len(text.splitlines()) < 70
    assert max(map(len, text.splitlines())) <= 110
    monkeypatch.chdir(here / "elsewhere")
    done("run", "../mine.py", "--trials", "1", "--epochs", "2", "--quiet", *SOLO)
    (trial,) = stored(Path("mtlsearch.db"), "mine")
    assert set(trial.user_attrs["validation"]) == {"price", "sold"}


def test_names_of_any_kind_make_a_study_that_loads(here: Path) -> None:
    odd = ['a "quoted" name', "back\\slash", "percent % $path {x}", "line\nbreak", "größe", "x'''\"\"\""]
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 6)), columns=odd)
    frame["type"] = ["a", "b"] * 30
    frame['the "price" $\n'] = random.normal(size=60)
    frame['\n"""import os'] = [f"text {i}" for i in range(60)]
    write(here, frame)
    done("init", "--csv", "houses.csv", "--targets", "type", "--targets", 'the "price" $\n', "--targets", odd[-1])
    study = load_study("my_study.py")
    assert study.task_names == ["type", 'the "price" $', odd[-1]]
    assert load_data(study, here).splits[0].train.inputs.shape == (36, 5)


def test_many_columns_and_targets_fit_the_page(here: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(80, 90)), columns=[f"measurement_{i}" for i in range(90)])
    write(here, frame)
    targets = ",".join(f"measurement_{i}" for i in range(30))
    done("init", "--csv", "houses.csv", "--targets", targets)
    assert max(map(len, Path("my_study.py").read_text().splitlines())) <= 110
    study = load_study("my_study.py")
    assert len(study.tasks) == 30
    assert load_data(study, here).splits[0].train.inputs.shape[1] == 60


def test_two_targets_of_the_wine_table_are_learned_at_once(here: Path) -> None:
    """The cultivar (3 classes) and the alcohol content of 178 Italian wines, from the 12 other measurements."""
    frame = load_wine(as_frame=True).frame.rename(columns={"target": "cultivar"})
    write(here, frame, "wine.csv")
    done("init", "--csv", "wine.csv", "--targets", "cultivar,alcohol", "--out", "wine.py")
    done("run", "wine.py", "--trials", "3", "--epochs", "12", "--quiet", *SOLO)
    best = done("best", "wine", "--json").json["validation"]
    assert best["cultivar"]["accuracy"] > 0.9
    assert best["alcohol"]["r2"] > 0.3


def test_study_to_start_from_runs_at_once(here: Path) -> None:
    assert "wrote my_study.py" in done("init").err
    done("run", "my_study.py", "--trials", "2", "--quiet", *SOLO)
    best = done("best", "my_study", "--json").json["validation"]
    assert best["quadrant"]["accuracy"] > 0.8
    assert best["amount"]["r2"] > 0.3


# Refusals.


def test_existing_file_is_written_over_only_by_force(here: Path) -> None:
    Path("my_study.py").write_text("mine")
    before = contents(here)
    assert refused("init", status=2) == (
        "my_study.py is already there: --force writes over it, or name another with --out"
    )
    assert contents(here) == before
    done("init", "--force")
    assert contents(here) != before


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("houses.csv",), 2, f"{WHICH}; houses.csv has area, rooms, city, built, price, sold"),
        (("--csv", "houses.csv"), 2, f"{WHICH}; houses.csv has area, rooms, city, built, price, sold"),
        (("--targets", "price"), 2, WHERE),
        (("a.csv", "--csv", "b.csv"), 2, "init takes one table, but got a.csv and --csv b.csv: name one of them"),
        (("new.py",), 2, "init takes a table, but got new.py: name the study file to write with --out new.py"),
        (("--out", "study"), 2, "--out must end in .py, as a study file's name does, but got study"),
        (("--out", "no/folder/s.py"), 1, "no/folder/s.py cannot be written: there is no folder no/folder"),
        (("--csv", "no.csv", "--targets", "y"), 1, "no table no.csv: name an existing CSV, Parquet or ARFF file"),
        (
            ("--csv", "houses.csv", "--targets", "prize,sold"),
            1,
            "the target 'prize' is no column of the table: did you mean 'price'? It has area, rooms, city, built,"
            " price, sold",
        ),
    ],
)
def test_call_that_cannot_work_is_refused_and_nothing_is_written(
    here: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    write(here, houses())
    before = contents(here)
    assert refused("init", *arguments, status=status) == said
    assert contents(here) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "houses.csv is empty"),
        ("x,y\n1,2\n3\n", "houses.csv, line 3 has 1 cells, but the header has 2"),
        ("y\n1\n2\n", "houses.csv has no column to predict from (it holds targets alone)"),
        ("x,z,y\n" + "1,,1\n1,,2\n" * 5, "no column to predict from (x: a single value; z: no values)"),
        ("x,y\n" + "1,5\n2,5\n" * 5, "target 'y' has the one value '5' in every row"),
        ("x,y\n" + "1,\n2,\n" * 5, "target 'y' is missing in every row"),
        ("x,y\n" + "".join(f"{i % 7},text {i}\n" for i in range(20)), "target 'y' has 20 different texts in 20"),
        ("x,y\n" + "1,1\n2,2\n" * 5 + "inf,3\n", "column 'x': line 12 holds infinity"),
    ],
)  # fmt: skip
def test_table_of_which_no_study_can_be_made_is_refused_and_nothing_is_written(
    here: Path, text: str, said: str
) -> None:
    write(here, text)
    before = contents(here)
    assert said in refused("init", "--csv", "houses.csv", "--targets", "y")
    assert contents(here) == before


def test_help_tells_what_init_writes() -> None:
    assert "Write a study file" in command("init", "--help").out
