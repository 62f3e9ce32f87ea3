"""A pandas DataFrame as a table, CSV, JSON or Parquet, on stdout or in a file."""

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlsearch.errors import UsageError
from mtlsearch.files import check_writable, replacing, write_text
from mtlsearch.study.weights.task_weights import PREFIXES
from mtlsearch.terminal import notice, show_rows
from mtlsearch.wording import few, visible

if TYPE_CHECKING:
    import pandas as pd

FORMULAS = ("=", "+", "-", "@")
TABLE_COLUMNS = ("number", "state", "score", "epochs", "task_weight.", "validation.", "params.", "reason")


def write_frame(frame: "pd.DataFrame", kind: str, output: Path | None, raw: bool = False) -> None:
    """Write `frame` as "table", "csv", "json" or "parquet"; `raw` leaves the texts of a CSV as they are.

    Raises UsageError as `check_format` does.
    """
    check_format(kind, output, raw)
    if kind == "parquet" and output is not None:
        _write_parquet(frame, output)
    elif kind == "table":
        _show(frame)
    else:
        text = (frame if raw else _harmless(frame)).to_csv(index=False) if kind == "csv" else _json(frame)
        if output is None:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        else:
            write_text(output, text)


def _harmless(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table whose texts neither a spreadsheet runs as a formula nor a terminal obeys."""
    return frame.rename(columns=_inert).map(_inert)


def _inert(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(FORMULAS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_format(kind: str, output: Path | None, raw: bool = False) -> None:
    """Raise UsageError for Parquet without a file or a table with one, ConfigError where none can be written."""
    check_writable(output)
    if raw and kind != "csv":
        raise UsageError(f"--raw is for --format csv, but got --format {kind}")
    if kind == "parquet" and output is None:
        raise UsageError("--format parquet writes a file: name it with -o")
    if kind == "table" and output is not None:
        raise UsageError("--format table is for the screen: name csv, json or parquet for a file")


def sorted_by(frame: "pd.DataFrame", column: str | None) -> "pd.DataFrame":
    """The rows by a column, the largest first, equal ones in their order. Raises UsageError where there is none."""
    if column is None:
        return frame
    if column not in frame.columns:
        names = list(map(str, frame.columns))
        close = [name for name in names if name.startswith(f"{column}.")]  # of a task
        close = close or get_close_matches(column, names, 1, cutoff=0.5)
        hint = f"did you mean {few([*map(repr, close)])}? " if close else ""
        raise UsageError(f"--sort {column!r} is no column: {hint}There are {few(list(map(str, frame.columns)), 20)}")
    return frame.sort_values(column, ascending=False, kind="stable", ignore_index=True)


def _json(frame: "pd.DataFrame") -> str:
    """A list of one object for each row, with unrounded numbers; pandas would round them."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(rows, default=lambda time: time.isoformat(timespec="milliseconds"))


def _write_parquet(frame: "pd.DataFrame", output: Path) -> None:
    try:
        with replacing(output) as partial:
            frame.to_parquet(partial)
    except ImportError as error:
        raise UsageError("--format parquet needs pyarrow: pip install pyarrow, or use --format csv") from error


def _show(frame: "pd.DataFrame") -> None:
    """Show the columns that fit the screen, weights and metrics first; tell on stderr how many do not fit."""
    # Params such as `log_ratio:TASK` are how the sampler sees task weights; `task_weight` is what a person reads.
    columns = [
        name
        for prefix in TABLE_COLUMNS
        for name in map(str, frame.columns)
        if name.startswith(prefix) and not name.removeprefix("params.").startswith(PREFIXES)
    ]
    names = [_heading(column) for column in columns]
    rows = frame[columns].astype(object).where(frame[columns].notna(), None)
    left_out = show_rows(names, rows.itertuples(index=False), fit=True)
    if left_out:
        notice(f"{left_out} columns do not fit here: --format csv has them all")


def _heading(column: str) -> str:
    """A column's short name: `w left` of `task_weight.left`, `hidden` of `params.hidden`; dots in a name stay."""
    kind, _, name = column.partition(".")
    if kind == "validation":
        return " ".join(name.rsplit(".", 1))
    return {"task_weight": f"w {name}", "params": name}.get(kind, column)
