"""Every bad call of the table is answered in one line, and writes nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import report_stores
from bad_calls import FILES, Call, calls
from commands import STUDY_FILE, command, contents, done

from mtlsearch.cli.main import main

CALLS = list(calls())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of all calls: no call changes it."""
    folder = tmp_path_factory.mktemp("calls")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MTLSEARCH_STORAGE", raising=False)
        patch.setenv("COLUMNS", "100")
        Path("mine.py").write_text(STUDY_FILE)
        done("run", "mine.py", "--trials", "1", "--threads", "1", "--population", "1", "--no-confirm", "--quiet")
        done("export", "mine", "-o", "best.json", "--checkpoint", "best.safetensors")
        for path in folder.glob("mtlsearch.*"):
            path.rename(folder / f"searched{path.suffix}")
        with report_stores.store(folder, {"left": "accuracy", "right": "mae"}, report_stores.states(3)):
            pass
        np.save("x.npy", np.zeros((1, 4), np.float32))
        for name, content in FILES.items():
            Path(name).write_bytes(content)
        yield folder


def test_table_is_large_and_has_rows_of_every_command() -> None:
    assert len(CALLS) >= 300
    assert len(set(CALLS)) == len(CALLS)
    for name in main.commands:
        assert sum(call.words[0] == name for call in CALLS) >= 4, name


def wrong(call: Call) -> str | None:
    """The fault of the answer to a bad call; None where nothing is."""
    try:
        outcome = command(*call.words)
    except Exception as error:
        return f"ended in a traceback: {type(error).__name__}: {error}"
    lines = [line for line in outcome.err.splitlines() if not line.startswith(TOLD)]
    if outcome.status != call.status or outcome.out:
        return f"status {outcome.status}, stdout {outcome.out[:80]!r}, stderr {outcome.err[:300]!r}"
    if len(lines) != 1 or not lines[0].startswith("mtlsearch: ") or len(lines[0]) > 500 or not lines[0].isprintable():
        return f"told {lines}"
    return None if call.said in lines[0] else f"did not say {call.said!r} but {lines[0]}"


# Notices that do not belong to the error.
TOLD = ("mtlsearch: study made", "mtlsearch: one thread is ")


def test_bad_calls_are_answered_in_one_line_and_write_nothing(folder: Path) -> None:
    before = contents(folder)
    found = {call.words: reason for call in CALLS if (reason := wrong(call)) is not None}
    if found:
        pytest.fail("\n".join(f"{' '.join(words)[:100]!r}: {reason}" for words, reason in found.items()), pytrace=False)
    assert contents(folder) == before
