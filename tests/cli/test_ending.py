"""The end of a command whose output has nowhere to go, or no letters for it."""

import io
import sys
from pathlib import Path

import pytest
import torch

from mtlsearch.cli.ending import status_of


class Full(io.RawIOBase):
    """A file on a full disk."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_stdout_ends_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtlsearch.cli.ending.forget_stdout", lambda: None)
    raw = Full()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))
        status = status_of(lambda: print("a result"))
        patch.setattr(raw, "write", len, raising=False)  # closing it must not fail
    assert status == 1
    line = (
        "mtlsearch: stdout cannot be written (No space left on device): free some space, or send the result elsewhere"
    )
    assert capsys.readouterr().err.splitlines() == [line]


def test_an_error_of_a_file_is_not_taken_for_one_of_stdout(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        status_of((tmp_path / "missing").read_text)


def test_a_letter_that_stdout_does_not_know_is_shown_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(ascii_only, encoding="ascii"))
        assert status_of(lambda: print("Δm …")) == 0
        assert ascii_only.getvalue() == b"\\u0394m \\u2026\n"


def no_memory(kind: str) -> None:
    """Raise what Python and torch raise."""
    if kind == "python":
        raise MemoryError
    if kind == "cuda":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines")
    torch.empty(2**60)


@pytest.mark.parametrize("kind", ["python", "cpu", "cuda"])
def test_memory_that_runs_out_is_told_in_one_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(lambda: no_memory(kind)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mtlsearch: no memory is left (")
    assert len(line) <= 500


def test_other_defects_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        status_of(lambda: torch.zeros(2).view(3))
