"""Tables as sources: rows divided first, everything fitted on training rows alone, bad files refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tables import ROWS, houses, write

from mtlsearch import Classification, Data, MtlsearchError, Regression, SharedTrunk, Study, Table
from mtlsearch.data import table as table_module
from mtlsearch.data.examples import kept
from mtlsearch.data.examples.division import dividing
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.table_encoding import Encoding, hashed
from mtlsearch.data.table_rows import former_name, with_former_names
from mtlsearch.errors import DataError, StudyError
from mtlsearch.inference.inputs import read_rows
from mtlsearch.study.describe import input_lines
from mtlsearch.study.loaded import load_data


def table(path: Path | str = "houses.csv", **changes: Any) -> Table:
    given: dict[str, Any] = {
        "numbers": ["area", "rooms"],
        "categories": ["city"],
        "dates": ["built"],
        "targets": {"price": "number", "sold": "category"},
    }
    return Table(path, **{**given, **changes})


def refused(source: Table, folder: Path) -> str:
    with pytest.raises(MtlsearchError) as error:
        source(folder)
    assert isinstance(error.value, DataError)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{folder}/", "")


def parts(data: Data) -> dict[str, Part]:
    assert isinstance(data.validation, Part)
    return {"train": data.train, "validation": data.validation, "test": data.test}


# What becomes of the columns.


def test_columns_become_inputs_and_missing_targets_missing_labels(tmp_path: Path) -> None:
    frame = houses()
    source = table(write(tmp_path, frame))
    found = parts(source(tmp_path))
    assert {name: len(part) for name, part in found.items()} == {"train": 120, "validation": 40, "test": 40}
    # area and its gaps, rooms, days, and city's three levels and its gaps.
    assert source.features == 8
    assert {tuple(part.inputs.shape[1:]) for part in found.values()} == {(8,)}
    assert sum(int(part.labels["price"].isnan().sum()) for part in found.values()) == frame["price"].isna().sum()
    assert sum(int((part.labels["sold"] == -1).sum()) for part in found.values()) == frame["sold"].isna().sum()
    train = found["train"].inputs
    assert train[:, [0, 2, 3]].mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert train[:, [0, 2, 3]].std(0, correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert train[:, 4:].sum(1).unique().tolist() == [1]


def test_missing_numbers_become_the_training_median_and_are_marked(tmp_path: Path) -> None:
    frame = houses()
    source = table(write(tmp_path, frame), categories=[], dates=[], numbers=["area"])
    inputs = source(tmp_path).train.inputs
    area = source.encoding.numbers[0]
    gaps = inputs[:, 1] == 1
    assert gaps.any()
    assert inputs[gaps, 0].unique().item() == pytest.approx((area.fill - area.mean) / area.std)
    assert sorted(frame["area"].dropna()).index(area.fill) > 0


def test_levels_of_few_rows_share_an_input_and_unseen_ones_give_zeros(tmp_path: Path) -> None:
    frame = pd.DataFrame({"city": ["a"] * 60 + ["b"] * 40, "y": [0, 1] * 50})
    source = table(write(tmp_path, frame), numbers=[], dates=[], targets={"y": "category"})
    assert source.features == 2
    new = pd.DataFrame({"city": ["a", "b", "unheard of", None]})
    assert source.encoding.apply(new).tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    frame.loc[:19, "city"] = [f"rare {i}" for i in range(20)]
    source = table(write(tmp_path, frame), numbers=[], dates=[], targets={"y": "category"})
    assert source.features == 3
    assert source.encoding.apply(new).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_levels_and_classes_are_taken_as_they_are_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"zip": ["007", "7"] * 50, "y": ["10", "9"] * 50})
    source = table(write(tmp_path, frame), numbers=[], dates=[], categories=["zip"], targets={"y": "category"})
    data = source(tmp_path)
    assert source.encoding.categories[0].levels == ["007", "7"]
    assert data.class_names("y") == ("9", "10")


def test_parquet_gives_the_same_inputs_and_labels_as_csv(tmp_path: Path) -> None:
    frame = houses()
    frame["rooms"] = frame["rooms"].astype(float)
    frame.to_parquet(tmp_path / "houses.parquet")
    sources = [table(write(tmp_path, frame)), table("houses.parquet")]
    for name in ("price", "sold"):
        assert len({source(tmp_path).sha256(name) for source in sources}) == 1


def test_encoding_outlives_json(tmp_path: Path) -> None:
    frame = houses()
    encoding = table(write(tmp_path, frame)).encoding
    again = Encoding.from_dict(encoding.to_dict())
    assert np.array_equal(again.apply(frame), encoding.apply(frame))


def test_tasks_of_earlier_studies_are_known_by_their_names(tmp_path: Path) -> None:
    frame = houses().rename(columns={"price": "sale price €"})
    data = table(write(tmp_path, frame), targets={"sale price €": "number", "sold": "category"})(tmp_path)
    now, before = (data.column(data.train, name) for name in ("sale price €", "sale_price__"))
    assert torch.allclose(now, before, equal_nan=True)
    assert with_former_names({"a b": 1, "a.b": 2, "c d": 3}) == {"a b": 1, "a.b": 2, "c d": 3, "c_d": 3}
    assert [former_name(name) for name in ("price", "sale price €", "type", "a.b", "values")] == [
        "price", "sale_price__", "type_", "a_b", "values_",
    ]  # fmt: skip


def test_raw_rows_are_read_by_what_was_fitted(tmp_path: Path) -> None:
    frame = houses()
    source = table(write(tmp_path, frame))
    inputs, places = read_rows(write(tmp_path, frame.drop(columns=["price", "sold"]), "new.csv"), source.encoding)
    assert np.array_equal(inputs.numpy(), source.encoding.apply(frame))
    assert places[0] == f"{tmp_path}/new.csv, line 2"
    other = table("no such file.csv")
    other.restore(source(tmp_path).fitted)
    assert other.features == source.features


def test_second_reading_of_a_table_parses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "LEAST_SECONDS", 0.0)
    write(tmp_path, houses())
    first, again = table(), table()
    data = first(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(table_module, "read_table", lambda *_, **__: pytest.fail("it was read again"))
        second = again(tmp_path)
        with dividing("first"), pytest.raises(pytest.fail.Exception):
            table()(tmp_path)
        for changes in ({"most_levels": 2}, {"test": 0.25}, {"targets": {"sold": "category", "price": "number"}}):
            with pytest.raises(pytest.fail.Exception):
                table(**changes)(tmp_path)
    assert again.encoding == first.encoding
    assert second.fitted == data.fitted
    assert second.over_all == data.over_all
    assert second.classes == data.classes
    for task in ("price", "sold"):
        assert second.sha256(task) == data.sha256(task)


def test_levels_of_a_wide_category_share_inputs_and_stay_apart(tmp_path: Path) -> None:
    levels = [f"level {i}" for i in range(600)]
    frame = pd.DataFrame({"city": levels * 20, "y": np.arange(12_000) % 7})
    frame.loc[:19, "city"] = [f"rare {i}" for i in range(20)]
    frame.loc[30:60, "city"] = None
    source = table(write(tmp_path, frame), numbers=[], dates=[], categories=["city"], targets={"y": "number"})
    (city,) = source.encoding.wide
    assert source.features == city.shared + 2 == 130
    new = pd.DataFrame({"city": [*levels, "unheard of", None, "rare 1"]})
    inputs = source.encoding.apply(new)
    assert len(np.unique(inputs[:600], axis=0)) == 600
    assert (inputs[:600].sum(1) == 4).all()
    assert [row.nonzero()[0].tolist() for row in inputs[600:]] == [[129], [128], [129]]
    values = [city.value(row) for row in inputs.tolist()]
    assert values == [*levels, "a rare one", "missing", "a rare one"]
    again = Encoding.from_dict(json.loads(json.dumps(source.encoding.to_dict())))
    assert np.array_equal(again.apply(new), inputs)
    raw, _ = read_rows(write(tmp_path, new, "new.csv"), again)
    assert np.array_equal(raw.numpy(), inputs)
    given: dict[str, Any] = {"numbers": [], "dates": [], "categories": ["city"], "targets": {"y": "number"}}
    assert table(source.path, most_levels=600, **given).features == 602


def test_first_run_says_which_levels_share_inputs(tmp_path: Path) -> None:
    source = table(write(tmp_path, houses()), most_levels=2)
    study = Study(
        tasks=[Regression("price", source)],
        model=lambda config: SharedTrunk(source.features, {"price": 1}, hidden=4),
        space={},
        default={},
    )
    assert input_lines(load_data(study, tmp_path))[1:] == [
        "the 3 levels of column 'city' share 128 inputs, by a hash of their text; the table's most_levels= gives more"
        " levels an input each"
    ]


def test_level_has_the_same_inputs_whichever_levels_are_beside_it() -> None:
    first, other = hashed(["a", "b", "c"], 128), hashed(["0", "b", "zz"], 128)
    assert first[1].tolist() == other[1].tolist()
    assert first[1].nonzero()[0].tolist() == [15, 68, 69, 70]  # models' files rely on these


def test_codes_differ_where_most_of_them_are_taken() -> None:
    levels = list(map(str, range(60)))
    assert len(np.unique(hashed(levels, 8), axis=0)) == 60  # of 70 that there are


# How rows are divided.


def test_fitted_statistics_do_not_see_validation_and_test_rows(tmp_path: Path) -> None:
    frame = houses()
    frame["row"] = np.arange(len(frame))
    given = {"numbers": ["row", "area", "rooms"]}
    source = table(write(tmp_path, frame), **given)
    fitted = source.encoding
    row = fitted.numbers[0]
    trained = source(tmp_path).train.inputs
    kept = set((trained[:, 0].double() * row.std + row.mean).round().long().tolist())
    held = [i for i in range(len(frame)) if i not in kept]
    assert len(held) == 80
    changed = frame.copy()
    changed.loc[held, "area"] = 1e6
    changed.loc[held, "rooms"] = -77
    changed.loc[held, "city"] = "Nowhere"
    changed.loc[held, "built"] = "2300-01-01"
    other = table(write(tmp_path, changed, "changed.csv"), **given)
    # The row's own number is in every part as it was.
    assert other.encoding == fitted
    assert torch.equal(other(tmp_path).train.inputs, trained)
    assert not torch.equal(other(tmp_path).test.inputs, source(tmp_path).test.inputs)
    frame.loc[sorted(kept)[0], "area"] = 1e6
    assert table(write(tmp_path, frame), **given).encoding != fitted


def test_rows_are_divided_by_the_tables_seed_alone(tmp_path: Path) -> None:
    write(tmp_path, houses())

    def held_out(**changes: Any) -> torch.Tensor:
        return table(**changes)(tmp_path).test.inputs

    first = held_out()
    np.random.seed(3)
    torch.manual_seed(3)
    assert torch.equal(held_out(), first)
    assert not torch.equal(held_out(split_seed=1), first)
    assert len(held_out(test=0.1)) == 20


def test_parts_are_disjoint_complete_and_keep_the_share_of_each_class(tmp_path: Path) -> None:
    frame = pd.DataFrame({"row": np.arange(500.0), "y": ["a"] * 400 + ["b"] * 95 + ["c"] * 5})
    source = Table(write(tmp_path, frame), numbers=["row"], targets={"y": "category"})
    found = parts(source(tmp_path))
    number = source.encoding.numbers[0]
    rows = [part.inputs[:, 0].double() * number.std + number.mean for part in found.values()]
    assert sorted(torch.cat(rows).round().long().tolist()) == list(range(500))
    assert {name: torch.bincount(part.labels["y"]).tolist() for name, part in found.items()} == {
        "train": [240, 57, 3],
        "validation": [80, 19, 1],
        "test": [80, 19, 1],
    }


@pytest.mark.parametrize("seed", range(5))
def test_each_class_of_each_target_is_in_training(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": random.normal(size=60), "y": ["once", *["often"] * 59], "z": random.permutation(60) % 20}
    )
    source = Table(write(tmp_path, frame), numbers=["x"], targets={"y": "category", "z": "category"}, split_seed=seed)
    data = source(tmp_path)
    for task, classes in (("y", 2), ("z", 20)):
        assert set(data.train.labels[task].tolist()) >= set(range(classes))


def test_a_column_divides_the_rows_where_it_is_named(tmp_path: Path) -> None:
    frame = houses()
    frame["part"] = ["Train"] * 150 + ["test"] * 50
    path = write(tmp_path, frame)
    found = parts(table(path, split="part")(tmp_path))
    assert [len(found[name]) for name in ("train", "validation", "test")] == [120, 30, 50]
    frame.loc[100:119, "part"] = "val"
    write(tmp_path, frame)
    found = parts(table(path, split="part")(tmp_path))
    assert [len(found[name]) for name in ("train", "validation", "test")] == [130, 20, 50]
    frame.loc[3, "part"] = "later"
    write(tmp_path, frame)
    assert refused(table(path, split="part"), tmp_path) == (
        "split 'part': line 5 must be train, validation or test, but is 'later'"
    )


def test_label_that_only_test_rows_hold_is_refused(tmp_path: Path) -> None:
    frame = houses()
    frame["part"] = ["train"] * 150 + ["test"] * 50
    frame.loc[170, "sold"] = "maybe"
    path = write(tmp_path, frame)
    assert refused(table(path, split="part"), tmp_path) == (
        "task 'sold': the label 'maybe' in the test rows (line 172) is not among the training labels: no, yes"
    )


def test_joint_tasks_of_a_table_load_as_a_study(tmp_path: Path) -> None:
    write(tmp_path, houses())
    source = table()
    study = Study(
        tasks=[Regression("price", source), Classification("sold", source)],
        model=lambda config: SharedTrunk(source.features, {"price": 1, "sold": 2}, hidden=4),
        space={},
        default={},
    )
    (splits,) = load_data(study, tmp_path).splits
    assert splits.tasks == ("price", "sold")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [120, 40, 40]


# Bad files.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "houses.csv is empty: it needs a line of column names, and rows"),
        ("\n\n", "houses.csv is empty: it needs a line of column names, and rows"),
        ("x,y\n", "houses.csv holds column names but no rows"),
        ("x,y\n1,2\n1,2,3\n", "houses.csv, line 3 has 3 cells, but the header has 2: mend or delete that line"),
        ("x,y\n1,2\n\n1\n", "houses.csv, line 4 has 1 cells, but the header has 2: mend or delete that line"),
        ('x,y\n1,"2\n', "houses.csv, line 2 is broken: unexpected end of data"),
        (f"x,y\n1,2\n{'9' * 200_000},2\n", "houses.csv, line 3 is broken: field larger than field limit (131072)"),
        ("x,y,x\n1,2,3\n", "houses.csv: each column needs a name of its own, but 'x' is there twice"),
        (b"x,y\n1,2\n\xe9,2\n", "houses.csv, line 3 is not UTF-8 text (byte 0xe9): save it as UTF-8, or convert"),
        (b"\xff\xfex\x00", "houses.csv, line 1 is not UTF-8 text (byte 0xff): save it as UTF-8, or convert"),
        ("x,y\n1,2\ntall,2\n" + "3,4\n5,6\n" * 3, "column 'x': line 3 holds 'tall', which is not a number"),
        ("x,y\n1,2\n\ninf,2\n3,4\n5,6\n7,8\n9,9\n", "column 'x': line 4 holds infinity: mend it, or leave"),
        ("x,y\n1,2\n2,-inf\n", "target 'y': line 3 holds infinity"),
        ("x,y\n1,2\n2,few\n", "target 'y': line 3 holds 'few', which is not a number"),
        ("x,y\n1,\n2,\n", "target 'y' is missing in every row: there is nothing to learn"),
        ("x,y\n1,5\n2,5\n3,\n", "target 'y' has the one value '5.0' in every row: there is nothing to learn"),
        ("x,z\n1,5\n2,6\n", "the target 'y' is no column of the table: It has x, z"),
        ("a,y\n1,5\n2,6\n", "the input 'x' is no column of the table: It has a, y"),
        ("x,y\n1,5\n2,6\n", "2 rows leave none for test: more rows are needed"),
        ("x,y\n" + ",1\n,2\n" * 9, "column 'x' holds no value in the training rows: leave it out"),
        ("x,y\n" + "1e308,1\n-1e308,2\n" * 9, "column 'x' holds numbers too large to standardise"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_learned_from_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    write(tmp_path, text)
    source = Table("houses.csv", numbers=["x"], targets={"y": "number"})
    assert refused(source, tmp_path).startswith(said)


def test_infinity_in_any_part_names_its_line(tmp_path: Path) -> None:
    frame = houses()
    for row in (0, 57, ROWS - 1):
        changed = frame.copy()
        changed.loc[row, "area"] = np.inf
        write(tmp_path, changed)
        assert refused(table(), tmp_path).startswith(f"column 'area': line {row + 2} holds infinity")


def test_other_separators_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    frame = houses()
    plain = table(write(tmp_path, frame))(tmp_path).sha256("price")
    for mark in (";", "\t", "|"):
        frame.to_csv(tmp_path / "other.csv", sep=mark, index=False)
        assert table("other.csv")(tmp_path).sha256("price") == plain
    write(tmp_path, b"\xef\xbb\xbf" + (tmp_path / "houses.csv").read_bytes())
    assert table()(tmp_path).sha256("price") == plain
    frame.to_csv(tmp_path / "comma.csv", sep=";", decimal=",", index=False)
    assert table("comma.csv", decimal=",")(tmp_path).sha256("price") == plain


def test_line_numbers_count_lines_within_quotes(tmp_path: Path) -> None:
    write(tmp_path, 'x,y\n"1\n",2\n3,4\nbad,5\n')
    source = Table("houses.csv", numbers=["x"], targets={"y": "number"})
    assert refused(source, tmp_path) == "column 'x': line 5 holds 'bad', which is not a number"


def test_missing_file_folder_spreadsheet_and_broken_parquet_are_refused(tmp_path: Path) -> None:
    assert refused(table(), tmp_path) == "no table houses.csv: name an existing CSV, Parquet or ARFF file"
    assert refused(table(tmp_path), tmp_path).startswith("no table ")
    write(tmp_path, b"PK", "book.xlsx")
    assert refused(table("book.xlsx"), tmp_path) == "book.xlsx is a spreadsheet: save it as CSV"
    write(tmp_path, b"no parquet", "bad.parquet")
    assert refused(table("bad.parquet"), tmp_path).startswith("bad.parquet is no whole Parquet file: ")


def test_column_that_is_nearly_one_is_suggested(tmp_path: Path) -> None:
    write(tmp_path, houses())
    said = refused(table(targets={"prise": "number"}), tmp_path)
    assert said == (
        "the target 'prise' is no column of the table: did you mean 'price'?"
        " It has area, rooms, city, built, price, sold"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": {}}, "targets must name one column or more, but it is empty"),
        ({"targets": {"price": "real"}}, "target 'price' must be 'number' or 'category', but got 'real'"),
        ({"targets": {"area": "number"}}, "each column of a table is named once, but 'area' is there twice"),
        ({"numbers": [], "categories": [], "dates": []}, "a table needs columns as inputs"),
        ({"validation": 0.5, "test": 0.5}, "validation and test are fractions above 0 that sum to less than 1"),
        ({"most_levels": 0}, "most_levels must be a whole number of 1 or more, but got 0"),
        ({"test": 0.0}, "validation and test are fractions above 0 that sum to less than 1"),
    ],
)  # fmt: skip
def test_table_that_cannot_work_is_refused_when_it_is_made(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as error:
        table(**changes)
    assert said in str(error.value)


def test_every_target_keeps_its_rare_classes_in_each_part(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=300), "a": ["no"] * 300, "b": ["no"] * 300, "price": 1.0})
    frame.loc[random.permutation(300)[:150], "a"] = "yes"
    frame.loc[random.permutation(300)[:10], "b"] = "yes"
    frame["price"] = np.where(random.permutation(300) < 15, random.normal(size=300), np.nan)
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = Table("t.csv", numbers=["x"], targets={"a": "category", "b": "category", "price": "number"})
    data = table(tmp_path)
    assert [int((part.labels["b"] == 1).sum()) for part in data.parts] == [6, 2, 2]
    assert [int((part.labels["a"] == 1).sum()) for part in data.parts] == [90, 30, 30]
    assert [int((~part.labels["price"].isnan()).sum()) for part in data.parts] == [9, 3, 3]
    assert data.over_all
    with dividing("first"):  # as earlier versions did
        before = table(tmp_path)
    assert not before.over_all
    assert [int((part.labels["b"] == 1).sum()) for part in before.parts] != [6, 2, 2]
