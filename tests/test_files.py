"""Files are whole or as they were, and data go into the user's cache."""

import errno
import stat
from pathlib import Path

import pytest

from mtlsearch.errors import ConfigError
from mtlsearch.files import data_directory, replacing, write_text


def write_half(path: Path, error: Exception) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        raise error


def test_a_file_is_as_it_was_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError())
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"b\.txt cannot be written: No space left on device$"):
        write_half(tmp_path / "b.txt", OSError(errno.ENOSPC, "No space left on device"))
    assert not list(tmp_path.iterdir())


def test_data_go_into_the_users_cache_where_no_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_directory(None) == tmp_path / "mtlsearch"
    assert data_directory(tmp_path / "own") == tmp_path / "own"
