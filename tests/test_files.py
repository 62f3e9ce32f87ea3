"""Files are whole or as they were, and data go into the user's cache."""

import contextlib
import errno
import multiprocessing
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlsearch.errors import ConfigError
from mtlsearch.files import check_writable, data_directory, replacing, replacing_together, write_text
from mtlsearch.store.model_file import save_model


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


# Links, devices, pipes, modes.


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    link.symlink_to(target)
    for text in ("new", "again"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert list((tmp_path / "folder").iterdir()) == [target]


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "no" / "target")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigError, match="there is no folder"):
        check_writable(tmp_path / "link")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_text(tmp_path / "loop", "x")


def test_a_device_is_written_into_and_stays_a_device(tmp_path: Path) -> None:
    control, terminal = os.openpty()
    device = Path(os.ttyname(terminal))
    link = tmp_path / "link"
    link.symlink_to(device)
    for path in (device, link):
        write_text(path, "hello")
        assert os.read(control, 100) == b"hello"
    assert stat.S_ISCHR(device.stat().st_mode)
    assert link.is_symlink()
    for descriptor in (control, terminal):
        os.close(descriptor)


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "hello")
    reader.join(10)
    assert found == ["hello"]
    assert pipe.is_fifo()


def test_a_full_device_is_told(tmp_path: Path) -> None:
    # A node of its own: a defect here would replace the machine's /dev/full.
    device = tmp_path / "full"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        device.open("wb").close()
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(ConfigError, match="full cannot be written: No space left on device"):
        write_text(device, "hello")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_what_this_process_has_open_is_written_into() -> None:
    reader, writer = os.pipe()
    write_text(Path(f"/dev/fd/{writer}"), "hello")
    os.close(writer)
    assert os.read(reader, 100) == b"hello"
    os.close(reader)


def test_a_socket_and_a_folder_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match="it is a socket"):
            check_writable(tmp_path / "s")
    with pytest.raises(ConfigError, match="it is a folder"):
        write_text(tmp_path, "x")


def test_a_file_without_write_permission_is_refused_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    path.chmod(0o444)
    if os.geteuid() == 0:  # root may write it all the same: ask as another user would
        monkeypatch.setattr(os, "access", lambda asked, mode: not (Path(asked) == path and mode & os.W_OK))
    with pytest.raises(ConfigError, match="it is not writable"):
        write_text(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask_for_texts_and_parameters_alike(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "text", "x")
        save_model(tmp_path / "model", {"a": torch.zeros(3)}, {"format": "x"})
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [mode, mode]


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_text("old")
    path.chmod(0o750)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


class Killed(BaseException):
    """Stands for the death of the process at a step that changes a folder."""


def test_two_files_are_of_one_writing_after_a_death_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, found = [0], set()

    def dying(method: Callable[..., Any], at: int) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            steps[0] += 1
            if steps[0] == at:
                raise Killed
            return method(*arguments, **options)

        return step

    for at in range(1, 5):
        first, second = (tmp_path / f"{at}-{name}" for name in ("model", "json"))
        for path in (first, second):
            path.write_text("old")
        steps[0] = 0
        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            patched.setattr(Path, "unlink", dying(Path.unlink, at))
            patched.setattr(Path, "replace", dying(Path.replace, at))
            with replacing_together(first, second) as partials:
                for partial in partials:
                    partial.write_text("new")
        found.add((first.read_text(), second.read_text() if second.exists() else None))
    assert found == {("old", "old"), ("old", None), ("new", None), ("new", "new")}


def die_while_writing(path: Path) -> None:
    with replacing_together(path):
        os._exit(0)


def test_what_a_killed_writer_left_is_cleared_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    others = [tmp_path / name for name in (".best.json-backup", ".best.json.old", "best.json-1")]
    for other in others:
        other.mkdir()
        os.utime(other, (0, 0))
    process = multiprocessing.get_context("fork").Process(target=die_while_writing, args=(path,))
    process.start()
    process.join()
    assert len(list(tmp_path.iterdir())) == len(others) + 1
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
