"""A disk that is full or fails while parameters are written: one line, and the trained model is kept elsewhere."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from commands import SOLO, STUDY_FILE, command, done, refused
from optuna.trial import TrialState

from mtlsearch import load_model
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record

RUN = ("run", "mine.py", "--trials", "2", "--epochs", "1", *SOLO, "--set", "kind=fine", "--quiet")
FULL = "No space left on device"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a study file; temporary files go into its folder `tmp`."""
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


class Disk:
    """Parameters cannot be written below `full`; the error comes after half of the bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int = errno.ENOSPC) -> None:
        self.full: list[Path] = []
        write_bytes = Path.write_bytes

        def write(path: Path, content: bytes) -> int:
            if any(path.absolute().is_relative_to(full) for full in self.full):
                write_bytes(path, content[: len(content) // 2])
                raise OSError(error, os.strerror(error))
            return write_bytes(path, content)

        monkeypatch.setattr(Path, "write_bytes", write)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_train_keeps_its_model_elsewhere_and_still_prints_its_result(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    (here / "out").mkdir()
    disk.full = [here / "out"]
    train = ("train", "mine.py", "-o", "out/best.safetensors", "--epochs", "1", "--threads", "1", "--quiet", "--json")
    outcome = command(*train)
    assert outcome.status == 1
    assert set(outcome.json["test"]) == {"a", "b"}
    (kept,) = (here / "tmp").rglob("best.safetensors")
    (line,) = outcome.err.splitlines()
    assert line == (
        f"mtlsearch: out/best.safetensors cannot be written: {FULL}; the trained model is in {kept} instead: move it"
        " where you want it"
    )
    assert list((here / "out").iterdir()) == []
    assert load_model(kept, study="mine.py") is not None

    disk.full += [here / "tmp"]
    outcome = command(*train)
    (kept,) = (here / "home").rglob("best.safetensors")
    assert f"is in {kept} instead" in outcome.err
    disk.full += [here / "home"]
    outcome = command(*train)
    assert outcome.json["test"]
    assert outcome.err.endswith(f"{FULL}; no other place could be written either: free some space, then train again\n")


def test_train_looks_at_its_target_before_it_trains(here: Path) -> None:
    line = refused("train", "mine.py", "-o", "no/best.safetensors")
    assert line == "no/best.safetensors cannot be written: there is no folder no"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_run_says_that_parameters_cannot_be_written_and_goes_on_later(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    with monkeypatch.context() as patched:
        Disk(patched, error).full = [here / "mtlsearch.artifacts"]
        line = refused(*RUN)
    told = f"the artifact folder mtlsearch.artifacts cannot be written ({os.strerror(error)})"
    assert line == f"{told}: correct that, then run the same command again: finished trials are kept"
    assert list((here / "mtlsearch.artifacts").iterdir()) == []
    done(*RUN)
    with open_storage("sqlite:///mtlsearch.db", create=False) as storage:
        record = find_record(storage, "mine", here / "mtlsearch.artifacts")
        assert record.counted() == 2
        assert record.trials(TrialState.RUNNING, TrialState.WAITING) == []
        assert record.parameters(record.best()).is_file()


def test_export_leaves_both_files_as_they_were_where_one_cannot_be_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*RUN)
    (here / "out").mkdir()
    for name in ("out/best.safetensors", "best.json"):
        Path(name).write_text("old")
    export = ("export", "-o", "best.json", "--checkpoint", "out/best.safetensors")
    before = files(here)
    with monkeypatch.context() as patched:
        Disk(patched).full = [here / "out"]
        assert f"out/best.safetensors cannot be written: {FULL}" in command(*export).err
    assert files(here) == before
    assert {Path(name).read_text() for name in ("out/best.safetensors", "best.json")} == {"old"}
    done(*export)
    assert load_model("out/best.safetensors", study="mine.py") is not None


def test_export_of_a_trial_without_parameters_says_how_to_get_them(here: Path) -> None:
    done(*RUN)
    for path in (here / "mtlsearch.artifacts").iterdir():
        path.unlink()
    outcome = command("export", "-o", "best.json", "--checkpoint", "best.safetensors")
    assert outcome.status == 1
    assert "`mtlsearch train best.json -o best.safetensors`" in outcome.err
    assert not (here / "best.json").exists()
    done("export", "-o", "best.json")  # what the line says works
    done("train", "best.json", "-o", "best.safetensors", "--study", "mine.py", "--threads", "1", "--quiet")
    assert load_model("best.safetensors", study="mine.py") is not None
