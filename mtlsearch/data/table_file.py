"""A CSV, Parquet or ARFF file as a pandas DataFrame, checked line by line; its index says where each row stands.

pandas fills up a line of too few cells with missing values and renames columns of equal names; both are errors here.
A CSV and an ARFF file may be compressed: data.csv.gz, .bz2, .xz.
"""

import bz2
import csv
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from mtlsearch.errors import DataError, check_distinct, one_line
from mtlsearch.limits import MOST_COLUMNS
from mtlsearch.wording import few

LONGEST_HEADER = 2**16  # letters
SEPARATORS = ",;\t|"
PARQUET, ARFF = (".parquet", ".pq"), (".arff",)
TYPED = (*PARQUET, *ARFF)  # formats that name their columns and say which are numbers
BOOKS = (".xlsx", ".xls", ".ods")
TABS = (".tsv", ".tab")
ATTRIBUTE = re.compile(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)\s+(\S.*)", re.IGNORECASE)
NUMERIC = ("numeric", "real", "integer")  # types of ARFF
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)  # of reading a file, compressed or not


def suffix(path: Path) -> str:
    """The suffix that tells a table's format: of data.csv.gz it is .csv."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in OPENERS else last


def read_table(
    path: Path,
    *,
    text: Sequence[str] = (),
    decimal: str = ".",
    missing: Sequence[str] = (),
    header: Sequence[str] = (),
) -> pd.DataFrame:
    """The table in a CSV or, by its suffix, a Parquet or ARFF file.

    The index is named "line", the line in the file, or "row" for a Parquet file. Columns in `text` stay as they are
    written; `missing` are texts that stand for a missing value, beside the empty cell and pandas' own (NA, null, …).
    `header` names the columns of a CSV whose first line does not. The first line tells the separator, unless the file
    is called .tsv. Raises DataError.
    """
    if not path.is_file():
        raise DataError(f"no table {path}: name an existing CSV, Parquet or ARFF file")
    if path.suffix.lower() in BOOKS:
        raise DataError(f"{path} is a spreadsheet: save it as CSV")
    if suffix(path) in TYPED:
        if header:
            raise DataError(f"{path} names its columns itself, as Parquet and ARFF do: leave out the header")
        frame = _read_arff(path, text, missing) if suffix(path) in ARFF else _read_parquet(path, missing)
    else:
        frame = _read_csv(path, text, decimal, missing, header)
    if frame.empty:
        raise DataError(f"{path} holds column names but no rows")
    return frame


def read_cells(path: Path, header: Sequence[str] = ()) -> pd.DataFrame:
    """The table as `read_table` finds it, but every cell of a text file as it is written; a gap is an empty text."""
    if suffix(path) in PARQUET:
        return _read_parquet(path, ())
    if suffix(path) in ARFF:
        return _read_arff(path, None, ()).fillna("")
    return _read_csv(path, (), ".", (), header, as_written=True)


def separator(path: Path) -> str:
    """The separator of a CSV's cells: the character that divides the first line into most cells, tabs in a .tsv."""
    if suffix(path) in TABS:
        return "\t"
    with _opened(path) as file:
        first = file.readline(LONGEST_HEADER)
    # A part is enough to tell: a header in which no cell ends may be longer than a cell that the reader takes.
    return max(SEPARATORS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))


def cells(path: Path) -> Iterator[list[str]]:
    """The cells of a CSV, line by line, the first line too."""
    mark = separator(path)
    with _opened(path) as file:
        try:
            yield from csv.reader(file, delimiter=mark, skipinitialspace=True)
        except csv.Error as error:
            raise DataError(f"{path} is no readable CSV: {error}") from error


def check_columns(frame: pd.DataFrame, names: Iterable[str], what: str) -> None:
    """Raise DataError where a name is no column, with the most similar column."""
    columns = list(map(str, frame.columns))
    for name in names:
        if name not in columns:
            close = get_close_matches(name, columns, 1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(f"{what} {name!r} is no column of the table: {hint}It has {few(columns, 20)}")


def numbers_of(column: "pd.Series[Any]", what: str, *, date: bool = False) -> np.ndarray[Any, Any]:
    """A column as float64 with NaN where missing; a `date` as days since 1970. Raises DataError, naming a row."""
    if date:
        parsed = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
        # In seconds: nanoseconds end in 2262.
        values = parsed.to_numpy("datetime64[s]").astype(np.float64) / 86_400
        values = np.where(parsed.isna(), np.nan, values)
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(values) & column.notna().to_numpy()
    if wrong.any():
        due, found = "a date (YYYY-MM-DD)" if date else "a number", _short(column[wrong].iloc[0])
        raise DataError(f"{what}: {_place(column, wrong)} holds {found}, which is not {due}")
    if np.isinf(values).any():
        place = _place(column, np.isinf(values))
        raise DataError(f"{what}: {place} holds infinity: mend it, or leave it empty as missing")
    return values


def texts_of(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column as text (object), None where missing; a whole number has no fraction, whatever its type."""
    texts = column.astype(object).where(column.notna(), None)
    if pd.api.types.infer_dtype(texts, skipna=True) != "string":  # 1 and True are equal, their texts are not
        return texts.map(_text, na_action="ignore")
    # Texts recur, so each is looked at once; -1, a missing value, is not in the index.
    rows, found = pd.factorize(texts)
    mapped = pd.Series(found).map(_text).reindex(rows)
    mapped.index, mapped.name = column.index, column.name
    return mapped


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _place(column: "pd.Series[Any]", wrong: np.ndarray[Any, Any]) -> str:
    return f"{column.index.name} {column.index[wrong][0]}"


def _read_csv(
    path: Path,
    text: Sequence[str],
    decimal: str,
    missing: Sequence[str],
    named: Sequence[str],
    as_written: bool = False,
) -> pd.DataFrame:
    mark = separator(path)
    header, lines = _check_lines(path, mark, named)
    types: Any = str if as_written else dict.fromkeys((name for name in text if name in header), object)
    try:
        frame = pd.read_csv(
            path,
            sep=mark,
            header=None if named else 0,
            names=header,
            index_col=False,
            decimal=decimal,
            na_values=list(missing),
            keep_default_na=not as_written,
            dtype=types,
            skipinitialspace=True,
            encoding="utf-8-sig",
            low_memory=False,  # else the type of a long column may differ between its chunks
        )
    except (ValueError, *BROKEN) as error:  # pandas' ParserError is a ValueError
        raise DataError(f"{path} is no readable CSV: {one_line(error)}") from error
    # pandas and the csv module differ on some blank lines, such as one of spaces.
    first = 1 if named else 2
    frame.index = pd.Index(lines if len(lines) == len(frame) else range(first, len(frame) + first), name="line")
    return frame


def _check_lines(path: Path, mark: str, named: Sequence[str]) -> tuple[list[str], list[int]]:
    """The header, which is `named` where given, and each row's line. Raises DataError for a line of other length."""
    whose = "but {n} columns are named: name them all, or" if named else "but the header has {n}:"
    lines: list[int] = []
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=mark, skipinitialspace=True, strict=True)
        try:
            header = list(named) or [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            line = reader.line_num + 1
            for row in reader:
                if row and (len(header) == 1 or any(row) or len(row) > 1):
                    if len(row) != len(header):
                        raise DataError(
                            f"{path}, line {line} has {len(row)} cells, {whose.format(n=len(header))}"
                            " mend or delete that line"
                        )
                    lines.append(line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num} is broken: {error}") from error
    return header, lines


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path} is empty: it needs a line of column names, and rows")
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{path}: a table has {MOST_COLUMNS} columns or fewer, but this one has {len(header)}")
    check_distinct(header, f"{path}: each column needs a name of its own", DataError)


def _opener(path: Path) -> Callable[..., Any]:
    return OPENERS.get(path.suffix.lower(), open)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with _opener(path)(path, "rt", newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except BROKEN as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or one_line(error)}") from error


def _not_text(path: Path, error: UnicodeDecodeError) -> DataError:
    with _opener(path)(path, "rb") as file:
        raw = file.read()
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as whole:  # a stream's decoder counts from the start of its chunk
        error = whole
    line = raw.count(b"\n", 0, error.start) + 1
    return DataError(
        f"{path}, line {line} is not UTF-8 text (byte 0x{raw[error.start]:02x}): save it as UTF-8,"
        " or convert it with iconv"
    )


def _read_parquet(path: Path, missing: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow, or use CSV") from error
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"{path} is no whole Parquet file: {one_line(error)}") from error
    names = [str(name).strip() for name in frame.columns]
    _check_header(path, names)
    frame = frame.set_axis(names, axis=1).reset_index(drop=True)
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame.replace(list(missing), np.nan) if missing else frame


def _read_arff(path: Path, text: Sequence[str] | None, missing: Sequence[str]) -> pd.DataFrame:
    """The table in an ARFF file; numbers are those of its header, but columns in `text`, or all for None, stay texts.

    Source: the ARFF format of Weka, without sparse rows.
    """
    types: dict[str, str] = {}
    rows: dict[int, list[str]] = {}
    with _opened(path) as file:
        head = 0
        for line in file:
            head += 1
            if line.strip().lower() == "@data":
                break
            if found := ATTRIBUTE.match(line.strip()):
                name = found[1] if found[1][0] not in "'\"" else re.sub(r"\\(.)", r"\1", found[1][1:-1])
                check_distinct([*types, name], f"{path}: each column needs a name of its own", DataError)
                types[name] = found[2].strip().lower()
        _check_header(path, list(types))
        reader = csv.reader(file, quotechar="'", escapechar="\\", skipinitialspace=True)
        try:
            for row in reader:
                if not row or row[0].startswith("%"):
                    continue
                line_number = head + reader.line_num
                if len(row) != len(types):
                    sparse = " (sparse rows are not read: write them out)" if row[0].startswith("{") else ""
                    rule = f"has {len(row)} cells, but the header has {len(types)}{sparse}"
                    raise DataError(f"{path}, line {line_number} {rule}: mend or delete that line")
                rows[line_number] = [cell.strip() for cell in row]
        except csv.Error as error:
            raise DataError(f"{path}, line {head + reader.line_num} is broken: {error}") from error
    frame = pd.DataFrame(
        list(rows.values()), columns=list(types), index=pd.Index(list(rows), name="line"), dtype=object
    )
    frame = frame.mask(frame.isin(["?", "", *missing]))
    numeric = [n for n, kind in types.items() if kind in NUMERIC and text is not None and n not in text]
    return frame.assign(**{name: numbers_of(frame[name], f"column {name!r}") for name in numeric})


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
