"""A pandas DataFrame as a table, CSV, JSON or Parquet, on stdout or in a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mtlsearch.errors import UsageError
from mtlsearch.export import write_text
from mtlsearch.show import show_rows

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = ("number", "state", "score", "task_weight.", "validation.", "params.", "epochs")
LIMIT = 12


def write_frame(frame: "pd.DataFrame", kind: str, output: Path | None) -> None:
    """Write `frame` as "table", "csv", "json" or "parquet". Raises UsageError for Parquet on a terminal."""
    if kind == "parquet":
        if output is None:
            raise UsageError("--format parquet writes a file: name it with -o")
        try:
            frame.to_parquet(output)
        except ImportError as error:
            raise UsageError(
                "--format parquet needs pyarrow: pip install pyarrow, or use --format csv"
            ) from error
    elif kind == "table":
        _show(frame)
    else:
        text = (
            frame.to_csv(index=False) if kind == "csv" else frame.to_json(orient="records", date_format="iso")
        )
        if output is None:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        else:
            write_text(output, text)


def _show(frame: "pd.DataFrame") -> None:
    """The columns that fit a screen: weights and metrics first, of very many the first ones."""
    columns = [column for column in frame.columns if str(column).startswith(TABLE_COLUMNS)]
    shown = columns if len(columns) <= LIMIT + 8 else [*columns[: LIMIT + 8]]
    names = [
        str(column).removeprefix("params.").removeprefix("validation.").replace("task_weight.", "w ")
        for column in shown
    ]
    rows = frame[shown].astype(object).where(frame[shown].notna(), None)
    show_rows(names, rows.itertuples(index=False))
