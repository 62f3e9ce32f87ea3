"""Every reader of what comes from outside gives a value, or an error of our own that fits on a line.

MTLSEARCH_EXAMPLES=2000 tries as many examples of each reader as it says, and other ones each time.
"""

import copy
import gzip
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import STUDY_FILE, done
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from mtlsearch import Study, load_model, load_study
from mtlsearch.data.guess.table import guess_table
from mtlsearch.data.pictures import PictureFolder
from mtlsearch.data.table_encoding import Category, Encoding, Number
from mtlsearch.data.table_file import read_cells, read_table
from mtlsearch.data.text import Vocabulary
from mtlsearch.data.text_files import TextFiles, read_conll
from mtlsearch.errors import MtlsearchError
from mtlsearch.inference.inputs import read_examples, read_inputs, read_rows, read_texts
from mtlsearch.store.config_file import check_config, config_of, read_config
from mtlsearch.store.database.errors import parse_url
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.model_file import read_model
from mtlsearch.store.record import exported
from mtlsearch.store.states import METADATA_KEY, SUFFIX, found_states, path_of
from mtlsearch.store.trials import ranked, trials_frame
from mtlsearch.study.score import parsed_score
from mtlsearch.tuning.interruption.keeper import are_whole
from mtlsearch.tuning.studies import least_option
from mtlsearch.wording import message_line

NAMED = "MTLSEARCH_EXAMPLES" in os.environ
TRIED = settings(
    max_examples=int(os.environ.get("MTLSEARCH_EXAMPLES", "20")),
    derandomize=not NAMED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

VOCABULARY = Vocabulary.of(["a", "b", "a", "b"], rows=6, buckets=4, length=5)
ENCODING = Encoding([Number("a", 0.0, 0.0, 1.0, True)], [Category("b", ("x", "y"), True, True)])
TABLE = b"a,b,c\n" + b"".join(b"%d,%s,%d.5\n" % (i, b"xy"[i % 2 : i % 2 + 1], i * i) for i in range(24))


def answered(read: Callable[[], object]) -> object:
    """What a reader gives, a generator to its end; None where it raises an error of our own, which fits on a line."""
    try:
        given = read()
        return list(given) if isinstance(given, Iterator) else given
    except MtlsearchError as error:
        told = message_line(str(error))
    assert told
    assert told.isprintable()
    return None


# Files.


@dataclass(frozen=True)
class FileReader:
    """A reader of files of a name, and the bytes of one that it can read."""

    name: str
    whole: bytes
    read: Callable[[Path], object]

    def __str__(self) -> str:
        return self.name


def bytes_of(write: Callable[[BytesIO], object]) -> bytes:
    file = BytesIO()
    write(file)
    return file.getvalue()


def picture(kind: str, mode: str = "L") -> bytes:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert(mode)
    return bytes_of(lambda file: image.save(file, kind))


def as_picture(path: Path) -> object:
    return read_examples(path, (1, 8, 8), torch.uint8, "pictures")


def in_a_folder(path: Path) -> object:
    return PictureFolder(".", size=4)._read(path.parent, [path.name])


FILES = [
    FileReader("cells.csv", TABLE, read_table),
    FileReader("tabs.tsv", TABLE.replace(b",", b"\t"), read_table),
    FileReader("packed.csv.gz", gzip.compress(TABLE, mtime=0), read_table),
    FileReader("packed.parquet", bytes_of(pd.read_csv(BytesIO(TABLE)).to_parquet), read_table),
    FileReader("written.csv", TABLE, read_cells),
    FileReader("rows.csv", TABLE, lambda path: read_rows(path, ENCODING)),
    FileReader("guessed.csv", TABLE, lambda path: guess_table(path, ["b"])),
    FileReader("numbers.csv", b"1,2,3,4\n5,6,7,8\n", lambda path: read_examples(path, (4,), torch.float32)),
    FileReader(
        "numbers.npy",
        bytes_of(lambda file: np.save(file, np.ones((2, 4)))),
        lambda path: read_examples(path, (4,), torch.float32),
    ),
    *(FileReader(f"picture.{kind}", picture(kind), as_picture) for kind in ("png", "jpeg", "gif", "tiff", "bmp")),
    FileReader("picture.ppm", picture("ppm", "RGB"), in_a_folder),
    FileReader("picture.webp", picture("webp", "RGB"), in_a_folder),
    FileReader("grey.png", picture("png", "I;16"), in_a_folder),
    FileReader("tagged.conll", b"Ann\tB-per\nLee\tI-per\nsings\tO\n\nBo\tO\n", read_conll),
    FileReader("texts.txt", b"one text\nanother\n", lambda path: read_texts(path, TEXT, (5, 4), 2)),
    FileReader("s-val_text.txt", b"good\nbad\n", lambda path: TextFiles("s")(path.parent)),
    FileReader("s-val_labels.txt", b"1\n0\n", lambda path: TextFiles("s")(path.parent)),
    FileReader("s-mapping.txt", b"0\tbad\n1\tgood\n", lambda path: TextFiles("s")(path.parent)),
]
TEXT = {"text": VOCABULARY.to_dict()}


def edits(whole: bytes) -> st.SearchStrategy[bytes]:
    """A whole file with some bytes replaced, deleted or added, perhaps cut short."""
    place = st.integers(0, len(whole))
    piece = st.one_of(st.binary(max_size=4), st.sampled_from([b"\n", b",", b'"', b"\0", b"-1", b"9" * 30, b"nan"]))

    def edit(changes: list[tuple[int, int, bytes]], end: int | None) -> bytes:
        edited = bytearray(whole)
        for start, length, new in changes:
            edited[start : start + length] = new
        return bytes(edited[:end])

    changes = st.lists(st.tuples(place, st.integers(0, 8), piece), min_size=1, max_size=3)
    return st.builds(edit, changes, st.one_of(st.none(), st.none(), place))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study file, its store of one trial, its config and its parameters; and texts."""
    folder = tmp_path_factory.mktemp("readers")
    (folder / "mine.py").write_text(STUDY_FILE)
    store = ("--storage", f"sqlite:///{folder}/store.db")
    done("run", folder / "mine.py", "--trials", 1, "--threads", 1, "--population", 1, "--no-confirm", "--quiet", *store)
    done("export", "mine", *store, "-o", folder / "best.json", "--checkpoint", folder / "best.safetensors")
    for reader in FILES:
        (folder / reader.name).write_bytes(reader.whole)
    for part in ("test", "train"):
        for what in ("text", "labels"):
            shutil.copy(folder / f"s-val_{what}.txt", folder / f"s-{part}_{what}.txt")
    return folder


@pytest.mark.parametrize("reader", FILES, ids=str)
def test_whole_file_is_read(folder: Path, reader: FileReader) -> None:
    assert answered(lambda: reader.read(folder / reader.name)) is not None


@pytest.mark.parametrize("reader", FILES, ids=str)
@TRIED
@given(data=st.data())
def test_any_file_is_read_or_refused(folder: Path, reader: FileReader, data: st.DataObject) -> None:
    text = st.text(max_size=80).map(lambda text: text.encode(errors="surrogatepass"))
    content = data.draw(st.one_of(edits(reader.whole), edits(reader.whole), st.binary(max_size=200), text))
    path = folder / reader.name
    path.write_bytes(content)
    try:
        answered(lambda: reader.read(path))
    finally:
        path.write_bytes(reader.whole)


# Values inside of JSON.

FEW_ODD = [[], {}, [[]], {"a": {}}, "nan", "float32", "uint8", "softmax", "nn", 10**30, -1, 0, 1e308, None, True]
ODD = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(FEW_ODD),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value inside of a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def with_odd_values(data: st.DataObject, whole: Any) -> Any:
    """A JSON value, with one to three of the values in it replaced or removed."""
    changed = json.loads(json.dumps(whole))
    for way in data.draw(st.lists(st.sampled_from(list(places(whole))), min_size=1, max_size=3, unique=True)):
        holder = changed
        try:
            for key in way[:-1]:
                holder = holder[key]
            if data.draw(st.booleans()):
                holder[way[-1]] = copy.deepcopy(data.draw(ODD))
            else:
                del holder[way[-1]]
        except (TypeError, LookupError):
            continue  # an earlier change has taken it away
    return changed


def use(config: dict[str, Any], folder: Path) -> None:
    """The work of commands on a config that was read."""
    study = load_study(str(folder / "mine.py"))
    config_of(config, study)
    list(read_inputs(config, [folder / "numbers.npy", folder / "texts.txt", folder / "rows.csv"]))


def test_each_odd_value_in_the_facts_of_a_task_is_used_or_refused(folder: Path) -> None:
    whole = json.loads((folder / "best.json").read_text())
    for *way, last in places(whole["tasks"]["a"]):
        for odd in FEW_ODD:
            config = copy.deepcopy(whole)
            holder = config["tasks"]["a"]
            for key in way:
                holder = holder[key]
            holder[last] = odd
            config["tasks"]["b"] = config["tasks"]["a"]
            answered(lambda: (check_config(config, "c.json"), use(config, folder)))  # noqa: B023, it is called at once


@TRIED
@given(data=st.data())
def test_config_with_odd_values_is_used_or_refused(folder: Path, data: st.DataObject) -> None:
    whole = json.loads((folder / "best.json").read_text())
    config = with_odd_values(data, {**whole, "text": VOCABULARY.to_dict(), "table": ENCODING.to_dict()})
    answered(lambda: (check_config(config, "c.json"), use(config, folder)))


@TRIED
@given(data=st.data())
def test_any_config_file_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    path = folder / "changed.json"
    path.write_bytes(data.draw(st.one_of(edits((folder / "best.json").read_bytes()), st.binary(max_size=80))))
    answered(lambda: use(read_config(path), folder))


@TRIED
@given(data=st.data())
def test_any_file_of_parameters_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    state, config = read_model(folder / "best.safetensors")
    way = data.draw(st.sampled_from(["bytes", "metadata", "tensors"]))
    whole = (folder / "best.safetensors").read_bytes()
    if way == "metadata":
        whole = save(state, {"mtlsearch": json.dumps(with_odd_values(data, config))})
    if way == "tensors":
        name = data.draw(st.sampled_from(list(state)))
        odd = data.draw(st.sampled_from([torch.zeros(3), torch.full_like(state[name], torch.nan), None]))
        whole = save(
            {n: t if n != name else odd for n, t in state.items() if n != name or odd is not None},
            {"mtlsearch": json.dumps(config)},
        )
    path = folder / "changed.safetensors"
    path.write_bytes(data.draw(edits(whole)) if way == "bytes" else whole)
    answered(lambda: load_model(path, study=folder / "mine.py"))


# Options.


@TRIED
@given(data=st.data())
def test_any_option_of_a_study_is_taken_or_refused(folder: Path, data: st.DataObject) -> None:
    study = load_study(str(folder / "mine.py"))
    names = ("epochs", "patience", "batch_size", "score", "split_seed", "unscorable", "division", "weight_range",
             "at_least", "default")  # fmt: skip
    values = st.one_of(ODD, st.dictionaries(st.sampled_from(["a", "b", "kind", "c"]), ODD, max_size=2))
    given_options = data.draw(st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=3))

    def made() -> Study:
        return replace(study, **given_options)

    answered(made)


TEXTS = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from(["a", "b", "=", ",", "1", "-", ".", "e", "inf", "nan", " ", "9" * 400, "mean"])).map(
        "".join
    ),
)


@TRIED
@given(text=TEXTS, name=st.one_of(TEXTS, st.sampled_from(["kind", "learning_rate", "weight:a", "a", "b"])))
def test_any_text_of_an_option_is_taken_or_refused(folder: Path, text: str, name: str) -> None:
    study = load_study(str(folder / "mine.py"))
    answered(lambda: parsed_score(text, study.task_names).weights(study.task_names))
    answered(lambda: least_option({name: text}, study))
    answered(lambda: study.fixed(name, text).default_config())


PARTS_OF_URLS = ("sqlite", "postgresql", "+psycopg", "://", "//", *"/:@?=&%[]é\n", "a.db", "..", "timeout", ":memory:")
URLS = st.lists(st.sampled_from([*PARTS_OF_URLS, "x" * 300, "\ud800", "99999999"]), max_size=9).map("".join)


@TRIED
@given(url=URLS)
def test_any_storage_url_is_parsed_or_refused(url: str) -> None:
    answered(lambda: parse_url(url))


# The store, and the states in training beside it.


@TRIED
@given(data=st.data())
def test_any_file_of_states_is_read_or_none(folder: Path, data: st.DataObject) -> None:
    owner = {"host": "h", "boot_id": "b", "pid": 1, "started": 2, "namespace": "n"}
    facts = {"made_by": {"trainer": "solo"}, "members": [[0, 0, 1.5]], "asked": [0], "trainer": {"solo": []}}
    told = {"study": "mine", "owners": [owner], "facts": facts}
    path = path_of(folder / "states", "mine", owner)
    assert path.name.endswith(SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    way = data.draw(st.sampled_from(["bytes", "metadata"]))
    told = with_odd_values(data, told) if way == "metadata" else told
    whole = save({"0:model:w": torch.zeros(3)}, {METADATA_KEY: json.dumps(told)})
    path.write_bytes(data.draw(st.one_of(edits(whole), st.binary(max_size=80))) if way == "bytes" else whole)
    for file in found_states(folder / "states", "mine"):
        answered(file.tensors)
        assert file.owners
        assert not file.belongs_to({"pid": 2})
        if are_whole(file.facts):
            assert all(isinstance(number, int) for number, _, _ in file.facts["members"])
            assert {*facts} <= {*file.facts}
    path.unlink()


CELLS = {
    "trials": ("number", "state", "datetime_start", "datetime_complete"),
    "trial_values": ("value", "value_type", "objective"),
    "trial_params": ("param_name", "param_value", "distribution_json"),
    "trial_user_attributes": ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
    "trial_intermediate_values": ("step", "intermediate_value", "intermediate_value_type"),
    "study_user_attributes": ("key", "value_json"),
}


@TRIED
@given(data=st.data())
def test_any_value_in_a_store_is_used_or_told(folder: Path, data: st.DataObject) -> None:
    shutil.copy(folder / "store.db", folder / "changed.db")
    table = data.draw(st.sampled_from(list(CELLS)))
    column = data.draw(st.sampled_from(CELLS[table]))
    number = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats())
    with closing(sqlite3.connect(folder / "changed.db")) as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        row, before = data.draw(st.sampled_from(rows))
        texts = [st.text(alphabet=st.characters(codec="utf-8"), max_size=12), st.binary(max_size=6), number, st.none()]
        if column.endswith("json"):
            whole = json.loads(before)
            odd = with_odd_values(data, whole) if [*places(whole)] else data.draw(ODD)
            texts.append(st.just(json.dumps(odd)))
        try:
            statement = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
            connection.execute(statement, (data.draw(st.one_of(*texts)), row))
        except sqlite3.IntegrityError:
            return  # the schema itself refuses it
        connection.commit()

    def read() -> None:
        with open_storage(f"sqlite:///{folder}/changed.db", create=False) as storage:
            record = find_record(storage, "mine", folder / "store.artifacts")
            trials_frame(record.trials())
            record.damaged()
            for trial in ranked(record.trials()):
                exported(record, trial)

    answered(read)
