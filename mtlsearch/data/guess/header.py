"""Whether the first line of a CSV names its columns, judged by its first rows."""

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from mtlsearch.data.table_file import TYPED, cells, suffix

ROWS = 200  # that are looked at
BLANK = ("", "?", "-", "--", "na", "n/a", "nan", "null", "none")


def missing_header(path: Path) -> list[str]:
    """Names, column_1 and on, for the columns of a file whose first line holds a row; none where it names them."""
    if not path.is_file() or suffix(path) in TYPED:
        return []
    rows = list(islice(filter(None, cells(path)), ROWS))
    return [] if has_header(rows) else [f"column_{n}" for n in range(1, len(rows[0]) + 1)]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of some rows names the columns.

    A text above a column of numbers is a name. A number above one is a value, unless such numbers count up by a step,
    as years do. Where no column holds numbers, a first row of values that recur in their columns is no header.
    """
    if len(rows) < 2:
        return True
    first, columns = rows[0], list(zip(*(row for row in rows[1:] if len(row) == len(rows[0])), strict=True))
    above = [name for name, column in zip(first, columns, strict=False) if _is_numeric(column)]
    if any(_number(name) is None and not _is_blank(name) for name in above):
        return True
    numbers = [number for name in above if (number := _number(name)) is not None]
    if numbers:
        return _counts(numbers)
    recurring = sum(name in column for name, column in zip(first, columns, strict=False))
    return 2 * recurring <= len(first)


def _is_numeric(column: Sequence[str]) -> bool:
    found = [cell for cell in column if not _is_blank(cell)]
    return bool(found) and all(_number(cell) is not None for cell in found)


def _is_blank(cell: str) -> bool:
    return cell.strip().lower() in BLANK


def _number(cell: str) -> float | None:
    try:
        return float(cell.strip().replace(",", "."))
    except ValueError:
        return None


def _counts(numbers: Sequence[float]) -> bool:
    """Whether numbers rise by one step, as the names 2001, 2002, 2003 do."""
    steps = {after - before for before, after in pairwise(numbers)}
    return len(steps) == 1 and steps.pop() > 0
