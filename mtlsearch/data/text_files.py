"""Labelled texts from local files, else from the Hugging Face hub: CoNLL files of tagged tokens, and texts by line.

Everything that is wrong with a file is told with the file and the line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlsearch.data.text import Row, Texts
from mtlsearch.errors import DataError

HELD_OUT = 6  # where there is no training file, every sixth text of the test file is still a test text

Sentence = tuple[list[str], list[str]]


@dataclass(frozen=True)
class TaggedFiles:
    """Tagged tokens from the files `train`, `validation` and `test` below the data directory.

    A file has a token and, behind a tab or spaces, its BIO tag on each line, and a line without a token between
    sentences. Where none of them is there, they are read as the `hub`'s data set of that name (`mtlsearch[text]`).
    """

    train: str
    validation: str
    test: str
    hub: str | None = None

    def __call__(self, directory: Path, /) -> Texts:
        paths = {part: directory / getattr(self, part) for part in ("train", "validation", "test")}
        if not any(path.exists() for path in paths.values()):
            columns = ("tokens", "ner_tags")
            rows, tags = hub_rows(self.hub, None, columns, paths["train"])
            return Texts(**rows, classes=tags)
        sentences = {part: read_conll(path) for part, path in paths.items()}
        spans = {tag for _, tags in sentences["train"] for tag in tags} - {"O"}
        classes = ("O", *sorted(spans))
        found = {
            part: [(tokens, _tag_ids(tags, classes, paths[part])) for tokens, tags in read]
            for part, read in sentences.items()
        }
        return Texts(**found, classes=classes)


@dataclass(frozen=True)
class TextFiles:
    """Texts with one class each, from `<stem>-<part>_text.txt` and `<stem>-<part>_labels.txt`, a text or class a line.

    The parts are train, val and test; `<stem>-mapping.txt` names the classes (number, tab, name). Where there is no
    training file, the test file is the training pool, but for every sixth text, which stays a test text. Where no
    file is there, they are read as the `hub`'s data set ("name/config", `mtlsearch[text]`).
    """

    stem: str
    hub: str | None = None

    def __call__(self, directory: Path, /) -> Texts:
        texts = {part: directory / f"{self.stem}-{part}_text.txt" for part in ("train", "val", "test")}
        if not any(path.exists() for path in texts.values()):
            name, _, config = (self.hub or "").partition("/")
            rows, classes = hub_rows(name or None, config or None, ("text", "label"), texts["train"])
            return Texts(**rows, classes=classes)
        validation, test = (read_texts(texts[part]) for part in ("val", "test"))
        if texts["train"].exists():
            train = read_texts(texts["train"])
        else:
            train = [row for i, row in enumerate(test) if i % HELD_OUT]
            test = test[::HELD_OUT]
        return Texts(train, validation, test, _class_names(directory / f"{self.stem}-mapping.txt", train))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Raises DataError where it is not there, or no UTF-8."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {number}: the text must be UTF-8: save it so") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    # Not splitlines, which takes characters within a text for line ends.
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def read_conll(path: Path) -> list[Sentence]:
    """The sentences of a CoNLL file as (tokens, tags)."""
    sentences: list[Sentence] = [([], [])]
    for number, line in enumerate(read_lines(path), 1):
        cells = line.split("\t") if "\t" in line else line.split()
        if not cells or not cells[0].strip():
            sentences.append(([], []))
            continue
        tag = cells[-1].strip()
        if len(cells) < 2 or not (tag == "O" or (tag[:2] in ("B-", "I-") and len(tag) > 2)):
            raise DataError(
                f"{path}, line {number}: it must be a token and its BIO tag, but got {line[:80]!r}"
            )
        sentences[-1][0].append(cells[0].strip())
        sentences[-1][1].append(tag)
    return [sentence for sentence in sentences if sentence[0]]


def read_texts(path: Path) -> list[Row]:
    """The texts of a `…_text.txt` file with the class numbers of its `…_labels.txt`."""
    texts = read_lines(path)
    labels_path = path.with_name(path.name.replace("_text.txt", "_labels.txt"))
    labels = read_lines(labels_path)
    if len(texts) != len(labels):
        raise DataError(
            f"{path} must have a label for each text, but got {len(texts)} texts and {len(labels)}"
        )
    rows: list[Row] = []
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        if not text.strip():
            raise DataError(f"{path}, line {number}: the text is empty: drop it and its label")
        if not label.strip().isdecimal():
            raise DataError(
                f"{labels_path}, line {number}: it must be a class number, but got {label[:80]!r}"
            )
        rows.append((text, int(label)))
    return rows


def _tag_ids(tags: Sequence[str], classes: tuple[str, ...], path: Path) -> list[int]:
    unknown = set(tags) - set(classes)
    if unknown:
        raise DataError(
            f"{path}: the tag {min(unknown)!r} is not in the training file, which has {', '.join(classes)}"
        )
    return [classes.index(tag) for tag in tags]


def _class_names(path: Path, train: Sequence[Row]) -> tuple[str, ...]:
    """The names in a mapping file, else the class numbers themselves."""
    if not path.exists():
        numbers = [label for _, label in train if isinstance(label, int)]
        return tuple(str(i) for i in range(max(numbers, default=-1) + 1))
    cells = [line.split(None, 1) for line in read_lines(path) if line.strip()]
    names = {cell[0]: cell[-1] for cell in cells}
    if not cells or min(map(len, cells)) < 2 or sorted(names) != sorted(str(i) for i in range(len(cells))):
        raise DataError(f"{path} must have a class number from 0 on and its name on each line")
    return tuple(names[str(i)].strip() for i in range(len(names)))


def hub_rows(
    name: str | None, config: str | None, columns: tuple[str, str], due: Path
) -> tuple[Mapping[str, list[Row]], tuple[str, ...]]:
    """The parts of a data set on the Hugging Face hub, and its class names. `due` is the local file that is absent."""
    missing = f"{due} is not there"
    if name is None:
        raise DataError(f"{missing}: put the files there, or name another directory with --data")
    try:
        from datasets import load_dataset  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise DataError(
            f"{missing}, and `datasets` is not installed to download {name}: put the files there,"
            " or `pip install 'mtlsearch[text]'`"
        ) from error
    try:
        sets = load_dataset(name, config)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{missing}, and {name} cannot be downloaded ({reason[:200]})") from error
    text, label = columns
    feature: Any = sets["train"].features[label]
    names: Callable[[Any], Any] = getattr(feature, "feature", feature)
    rows = {part: list(zip(sets[part][text], sets[part][label], strict=True)) for part in sets}
    kept = {part: [row for row in rows[part] if row[0]] for part in ("train", "validation", "test")}
    return kept, tuple(getattr(names, "names", ()))
