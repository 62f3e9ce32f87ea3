"""Plain output for people: notices on stderr, tables on stdout."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from mtlsearch.wording import message_line, plain, visible

GAP = 2


def show_rows(columns: list[str], rows: Iterable[Iterable[object]], *, fit: bool = False) -> int:
    """Print a plain table with its numbers to the right, wrapped to the terminal or at full width in a pipe.

    With `fit` it leaves out the last columns that a terminal has no room for, and returns their number.
    """
    grid = [list(row) for row in rows]
    cells = [[plain(cell) for cell in row] for row in grid]
    columns = list(map(visible, columns))
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = sum(widths) + GAP * len(widths)
    ends = [sum(widths[: i + 1]) + GAP * i for i in range(len(widths))]
    shown = sum(end <= console.width for end in ends) if fit else len(columns)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for i, column in enumerate(columns[:shown]):
        numeric = all(isinstance(row[i], int | float | None) for row in grid)
        # The first column holds names. Long texts in the others wrap in a narrow terminal.
        whole = fit or numeric or i == 0
        table.add_column(column, justify="right" if numeric else "left", no_wrap=whole, overflow="fold")
    for row in cells:
        table.add_row(*row[:shown])
    console.print(table)
    return len(columns) - shown


def notice(text: str) -> None:
    """Print one line for the user on stderr, where results do not go."""
    print(message_line(f"mtlsearch: {text}"), file=sys.stderr, flush=True)
