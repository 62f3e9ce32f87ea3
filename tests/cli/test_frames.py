"""Tables that leave the program: no spreadsheet runs a text of theirs, no terminal obeys one."""

import pandas as pd
import pytest

from mtlsearch.cli.frames import write_frame

TEXTS = ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "plain", "-5", "+0.5", "\x1b[31mred"]


def written(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str], *, raw: bool = False) -> list[str]:
    write_frame(frame, "csv", None, raw)
    return capsys.readouterr().out.splitlines()


def test_texts_of_a_csv_are_no_formulas_and_numbers_stay_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = written(pd.DataFrame({"=name": TEXTS}), capsys)
    assert lines == ["'=name", "'=1+1", "'+cmd", "'-2+3", "'@SUM(A1)", "plain", "-5", "+0.5", "\\x1b[31mred"]


def test_raw_texts_are_those_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(pd.DataFrame({"=name": TEXTS}), capsys, raw=True) == ["=name", *TEXTS]
