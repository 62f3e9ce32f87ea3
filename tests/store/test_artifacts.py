"""The artifact folder: parameters are whole or not there, and what a dead process left is cleared."""

import errno
import multiprocessing
import os
import stat
import time
from pathlib import Path

import optuna
import pytest

from mtlsearch.errors import StoreError
from mtlsearch.processes import STALE_S, clear_unfinished
from mtlsearch.store.artifacts import UNFINISHED, WholeFiles, save_artifact


@pytest.fixture
def trial() -> optuna.Trial:
    return optuna.create_study().ask()


def test_an_artifact_is_one_whole_file_with_the_mode_of_the_umask(tmp_path: Path, trial: optuna.Trial) -> None:
    before = os.umask(0o027)
    try:
        save_artifact(tmp_path, "a.safetensors", trial, lambda path: path.write_bytes(b"whole") and None)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"whole"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_parameters_that_cannot_be_written_are_told_in_one_line_and_leave_nothing(
    tmp_path: Path, trial: optuna.Trial, error: int
) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(error, os.strerror(error))

    with pytest.raises(StoreError, match=rf"cannot be written \({os.strerror(error)}\): correct that, then run"):
        save_artifact(tmp_path, "a.safetensors", trial, write)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_cannot_be_moved_into_place_leaves_nothing(
    tmp_path: Path, trial: optuna.Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(WholeFiles, "write", full)
    with pytest.raises(StoreError, match="No space left on device"):
        save_artifact(tmp_path, "a.safetensors", trial, lambda path: path.write_bytes(b"whole") and None)
    assert list(tmp_path.iterdir()) == []


def die_while_writing(folder: Path) -> None:
    save_artifact(folder, "a.safetensors", optuna.create_study().ask(), lambda path: os._exit(0))


def test_what_a_dead_process_left_is_cleared_and_what_a_living_one_writes_is_not(
    tmp_path: Path, trial: optuna.Trial
) -> None:
    process = multiprocessing.get_context("fork").Process(target=die_while_writing, args=(tmp_path,))
    process.start()
    process.join()
    (left,) = tmp_path.iterdir()
    assert left.is_dir()

    def write(path: Path) -> None:
        clear_unfinished(tmp_path, UNFINISHED)
        assert not left.exists()
        path.write_bytes(b"whole")

    save_artifact(tmp_path, "a.safetensors", trial, write)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_folders_whose_process_cannot_be_looked_for_are_cleared_by_their_age(tmp_path: Path) -> None:
    """Those of another host or boot; whatever else begins alike is somebody's."""
    (tmp_path / "tmp-0123456789abcdef-17-4711-abcdefg_").mkdir()
    others = ["kept", "tmp-backup", "tmp-file", "tmpabcdefgh"]
    for name in others:
        (tmp_path / name).mkdir()
    clear_unfinished(tmp_path, UNFINISHED)
    assert len(list(tmp_path.iterdir())) == len(others) + 1
    long_ago = time.time() - STALE_S - 60
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    clear_unfinished(tmp_path, UNFINISHED)
    assert sorted(path.name for path in tmp_path.iterdir()) == others
    clear_unfinished(tmp_path / "absent", UNFINISHED)
