"""Files, names and texts from elsewhere never run code, never leave their folder, and never hang; no password leaks."""

import ast
import contextlib
import gc
import json
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SHORT, command, done, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import PASSWORD, PostgresServer
from safetensors.torch import save_file

import mtlsearch
from mtlsearch import load_model
from mtlsearch.data.table_encoding import Category, Encoding, Number
from mtlsearch.data.text import IDS, Vocabulary
from mtlsearch.errors import MtlsearchError, StoreError
from mtlsearch.inference.inputs import read_examples, read_rows, read_texts
from mtlsearch.store.config_file import read_config
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.study.study_file import load_study

PACKAGE = Path(mtlsearch.__file__).parent
FEW = settings(
    max_examples=60,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# What a driver and the workers that it started send each other; it never comes from a file.
MESSAGES = "training/remote/messages.py"
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


class Bomb:
    """Makes the file that it names when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of one trial, its config and its parameters, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    store = ("--storage", f"sqlite:///{folder}/store.db")
    done("run", "digits", *SHORT, "--trials", "1", "--quiet", *store)
    done("export", "digits", *store, "-o", folder / "best.json", "--checkpoint", folder / "best.safetensors")
    return folder


# No pickle.


def test_package_and_studies_never_unpickle() -> None:
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.parent.glob("studies/*.py")]
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if file != PACKAGE / MESSAGES:
                assert UNPICKLERS.isdisjoint(name.split(".")[0] for name in imported), file
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in (
                    "torch.load",
                    "torch.save",
                    "np.save",
                    "pd.read_pickle",
                    "eval",
                    "exec",
                ), file
                if called == "np.load":
                    assert "allow_pickle=False" in ast.unparse(node), file


def pickled_npy(path: Path, bomb: Bomb) -> None:
    np.save(path, np.array([bomb], dtype=object), allow_pickle=True)


def bare_pickle(path: Path, bomb: Bomb) -> None:
    path.write_bytes(pickle.dumps(bomb))


def torch_file(path: Path, bomb: Bomb) -> None:
    torch.save({"weight": bomb}, path)


HOSTILE = [pickled_npy, bare_pickle, torch_file]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["input.npy", "input.png", "input.csv"])
def test_hostile_input_of_predict_is_refused_and_runs_nothing(
    trained: Path, tmp_path: Path, make: Callable[[Path, Bomb], None], name: str
) -> None:
    made = tmp_path / ("made.npy" if make is pickled_npy else "made")
    make(made, Bomb(tmp_path / "exploded"))
    made.rename(tmp_path / name)
    assert name in refused("predict", trained / "best.safetensors", tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("make", HOSTILE, ids=lambda f: f.__name__)
def test_hostile_file_of_parameters_is_refused_and_runs_nothing(
    tmp_path: Path, make: Callable[[Path, Bomb], None]
) -> None:
    made = tmp_path / ("made.npy" if make is pickled_npy else "made")
    make(made, Bomb(tmp_path / "exploded"))
    made.rename(tmp_path / "model.safetensors")
    with pytest.raises(MtlsearchError, match="is not a whole safetensors file"):
        load_model(tmp_path / "model.safetensors")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("length", [2**63, 2**40, 10**8 + 1, 200, 0])
def test_safetensors_header_of_any_length_is_refused_without_being_believed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" * 40)
    with pytest.raises(MtlsearchError, match=r"is not a whole safetensors file|holds no mtlsearch config"):
        load_model(path)


BOMBS = {
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "long number": '{"format": ' + "9" * 100_000 + "}",
    "huge exponent": '{"format": 1e999999999}',
    "NaN": '{"format": NaN}',
    "lone surrogate": '{"format": "\\ud800"}',
}


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """No garbage of other tests is collected meanwhile: deep in a recursion its finalizers would fail loudly."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("kind", BOMBS)
def test_json_bomb_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text(BOMBS[kind])
    refused("verify", tmp_path / "config.json")
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", {"mtlsearch": BOMBS[kind]})
    with pytest.raises(MtlsearchError):
        load_model(tmp_path / "model.safetensors")


def test_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.new("1", (40_000, 10_000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000_000)
    with pytest.raises(MtlsearchError, match="no readable picture"):
        read_examples(tmp_path / "bomb.png", (1, 8, 8), torch.uint8)


# Code of others.


def test_config_that_names_a_study_file_does_not_run_it(trained: Path, tmp_path: Path) -> None:
    study = tmp_path / "theirs.py"
    study.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    config = json.loads((trained / "best.json").read_text())
    config["study"] = {"name": "theirs", "source": str(study)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for arguments in (("verify", tmp_path / "config.json"), ("train", tmp_path / "config.json")):
        assert "runs only when named" in refused(*arguments)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../secret.safetensors", "{outside}", "", ".", "..", "sub/../../secret.safetensors"])
def test_artifact_name_from_a_store_cannot_leave_its_folder(trained: Path, tmp_path: Path, name: str) -> None:
    outside, folder = tmp_path / "secret.safetensors", tmp_path / "artifacts"
    outside.write_bytes(b"secret")
    (folder / "sub").mkdir(parents=True)
    shutil.copy(trained / "store.db", tmp_path)
    meta = {
        "filename": "x.safetensors",
        "mimetype": "",
        "encoding": None,
        "artifact_id": name.format(outside=outside),
    }
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        changed = connection.execute(
            "UPDATE trial_system_attributes SET value_json = ? WHERE key LIKE 'artifacts:%'",
            (json.dumps(json.dumps(meta)),),
        )
        assert changed.rowcount == 1
        connection.commit()
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=False) as storage:
        record = find_record(storage, "digits", folder)
        with pytest.raises(StoreError, match="has no parameters in"):
            record.parameters(record.best())


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/b", "..", "x" * 300, "a\nb", "<b>'\""])
def test_name_of_a_study_cannot_leave_the_folder_of_artifacts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "below" / "deep"
    folder.mkdir(parents=True)
    outcome = command(
        "run", "digits", *SHORT, "--trials", "1", "--epochs", "1", "--name", name,
        "--storage", f"sqlite:///{folder}/store.db",
    )  # fmt: skip
    assert outcome.status == 0 or outcome.err.startswith("mtlsearch: ")
    assert {path.name for path in folder.iterdir()} <= {"store.db", "store.artifacts"}
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["deep"]


# Passwords.


def encoded(password: str) -> list[str]:
    from urllib.parse import quote, quote_plus

    return [password, quote(password, safe=""), quote_plus(password), quote(password)]


def test_password_of_a_server_is_nowhere_in_what_is_printed_stored_or_exported(
    server: PostgresServer, tmp_path: Path
) -> None:
    store = ("--storage", server.url(), "--artifacts", tmp_path / "artifacts")
    told = [done("run", "digits", *SHORT, "--trials", "1", *store)]
    told += [done("best", "digits", *store, "--json"), done("trials", "digits", *store[:2])]
    files = ("-o", tmp_path / "best.json", "--checkpoint", tmp_path / "best.safetensors")
    told += [done("export", "digits", *store, *files), command("best", "no-such-study", *store)]
    told += [command("best", "--storage", server.url(password="wr0ng:p@ss"))]
    written = [outcome.out + outcome.err for outcome in told]
    written += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    with open_storage(server.url(), create=False) as storage:
        written += [repr(storage.get_all_studies()), repr(storage.get_all_trials(1)), repr(storage.url)]
    for secret in [*encoded(PASSWORD), *encoded("wr0ng:p@ss")]:
        assert all(secret not in text for text in written)
    assert json.loads((tmp_path / "best.json").read_text())["provenance"]["storage"].count("***") == 1


def test_password_comes_from_pgpassfile_where_the_url_has_none(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(file))
    url = f"postgresql+psycopg://mtl@127.0.0.1:{server.port}/postgres"
    with pytest.raises(StoreError, match="refused the login"):
        open_storage(url, create=True)

    def give(password: str) -> None:
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        file.write_text(f"127.0.0.1:{server.port}:*:mtl:{escaped}\n")
        file.chmod(0o600)

    give("wr0ng:p@ss")
    with pytest.raises(StoreError, match="refused the login"):
        open_storage(url, create=True)
    give(PASSWORD)
    open_storage(url, create=True).close()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_processes_that_a_run_starts_do_not_inherit_the_password(
    server: PostgresServer, tmp_path: Path, how: str
) -> None:
    """Programs that start during a training, such as torch's compilers, get this process's environment."""
    code = (
        "import subprocess, sys\n"
        "from mtlsearch.training import solo\n"
        "train = solo.SoloMember.advance\n"
        "def advance(member):\n"
        "    subprocess.run(['env'], stdout=sys.stderr, check=True)\n"
        "    return train(member)\n"
        "solo.SoloMember.advance = advance\n"
        "from mtlsearch.cli import main\n"
        "main()\n"
    )
    arguments = ["run", "digits", *SHORT, "--trials", "1", "--epochs", "1", "--name", how, "--quiet"]
    arguments += ["--artifacts", str(tmp_path / "artifacts")]
    environment = {**os.environ, "SEEN": "yes"}
    if how == "environment":
        environment["MTLSEARCH_STORAGE"] = server.url()
    else:
        arguments += ["--storage", server.url()]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=120,
    )
    assert "SEEN=yes" in ended.stderr
    assert not any(secret in ended.stdout + ended.stderr for secret in encoded(PASSWORD))


# Anything as input: a clear error, no traceback, no hang.


def one_line_or_fine(*arguments: object) -> None:
    outcome = command(*arguments)  # raises what would be a traceback
    assert outcome.status in (0, 1, 2)
    if outcome.status == 1:
        assert outcome.err.startswith("mtlsearch: ")
        assert len(outcome.err.splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@FEW
@given(text=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_a_config_are_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(MtlsearchError):
        read_config(tmp_path / "config.json")


@FEW
@given(data=st.data(), value=JSON)
def test_config_with_any_value_anywhere_is_read_or_refused(
    trained: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    config = json.loads((trained / "best.json").read_text())
    place = config
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[key], dict) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with contextlib.suppress(MtlsearchError):
        assert read_config(tmp_path / "config.json")["format"] == "mtlsearch/config/1"


@FEW
@given(
    name=st.sampled_from(["hidden", "dropout", "optimizer", "norm", "weight:left", "other"]),
    text=st.text(max_size=20),
)
def test_any_value_of_set_fixes_the_dimension_or_is_refused(name: str, text: str) -> None:
    with contextlib.suppress(MtlsearchError):
        study = load_study("digits").fixed(name, text)
        assert study.search_space.distributions[name].single()
        study.default_config()


@FEW
@given(text=st.text(max_size=30) | st.text(max_size=10).map("sqlite:///{}".format))
def test_any_storage_url_is_answered_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    one_line_or_fine("best", "--storage", text)
    assert list(tmp_path.iterdir()) == []


@FEW
@given(
    content=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP"]),
    suffix=st.sampled_from([".npy", ".csv", ".png", ".jpg", ""]),
)
def test_any_file_as_input_of_predict_is_read_or_refused(
    tmp_path: Path, content: bytes, head: bytes, suffix: str
) -> None:
    path = tmp_path / f"input{suffix}"
    path.write_bytes(head + content)
    with contextlib.suppress(MtlsearchError):
        assert read_examples(path, (1, 4, 4), torch.uint8).shape[1:] == (1, 4, 4)


@FEW
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_file_of_texts_for_predict_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    vocabulary = Vocabulary.of(["one", "two", "two"], rows=8, buckets=8, length=4, least=1)
    path = tmp_path / "texts.txt"
    path.write_bytes(content)
    with contextlib.suppress(MtlsearchError):
        for inputs, tokens in read_texts(path, {"text": vocabulary.to_dict()}, (4, IDS), 2):
            assert inputs.shape == (len(tokens), 4, IDS)


CELLS = st.text(max_size=6) | st.floats().map(str) | st.integers().map(str)


@FEW
@given(
    content=st.binary(max_size=200)
    | st.lists(st.tuples(CELLS, CELLS), max_size=4).map(
        lambda rows: "\n".join(["area,city", *map(",".join, rows)]).encode("utf-8", "surrogatepass")
    ),
    head=st.sampled_from([b"", b"area,city\n", b"PAR1", b"\xff\xfe", b"\xef\xbb\xbf"]),
    suffix=st.sampled_from([".csv", ".parquet", ".xlsx", ""]),
)
def test_any_table_for_predict_is_read_or_refused(tmp_path: Path, content: bytes, head: bytes, suffix: str) -> None:
    encoding = Encoding([Number("area", 1.0, 0.0, 1.0, True)], [Category("city", ["a", "b"], True, True)])
    path = tmp_path / f"table{suffix}"
    path.write_bytes(head + content)
    with contextlib.suppress(MtlsearchError):
        inputs, places = read_rows(path, encoding)
        assert inputs.shape == (len(places), encoding.features)
        assert inputs.isfinite().all()
