"""Labelled texts from local files, else from the Hugging Face hub: tagged tokens in CoNLL files, and texts by line.

Errors name the file and the line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlsearch.data.text import Row, Texts
from mtlsearch.errors import DataError, one_line
from mtlsearch.limits import MOST_CLASSES

HELD_OUT = 6  # without a training file, every sixth text of the test file stays a test text

Sentence = tuple[list[str], list[str]]


@dataclass(frozen=True)
class TaggedFiles:
    """Tagged tokens from the files `train`, `validation` and `test` below the data directory.

    Each line has a token and, after a tab or spaces, its BIO tag; a line without a token separates sentences. Without
    any of the files, the data set `hub` of the Hugging Face hub is read (`mtlsearch[text]`).
    """

    train: str
    validation: str
    test: str
    hub: str | None = None

    def __call__(self, directory: Path, /) -> Texts:
        paths = {part: directory / getattr(self, part) for part in ("train", "validation", "test")}
        if not any(path.exists() for path in paths.values()):
            return hub_texts(self.hub, ("tokens", "ner_tags"), paths["train"])
        sentences = {part: read_conll(path) for part, path in paths.items()}
        classes = ("O", *sorted({tag for _, tags in sentences["train"] for tag in tags} - {"O"}))
        found = {
            part: [(tokens, _tag_ids(tags, classes, paths[part])) for tokens, tags in read]
            for part, read in sentences.items()
        }
        return Texts(**found, classes=classes)


@dataclass(frozen=True)
class TextFiles:
    """Texts with one class each: `<stem>-<part>_text.txt` has a text a line, `<stem>-<part>_labels.txt` its class.

    The parts are train, val and test; `<stem>-mapping.txt` names the classes (number, tab, name). Without a training
    file, the texts of the test file are trained on, except every sixth, which stays a test text. Without any of the
    files, the data set `hub` ("name/config") of the Hugging Face hub is read (`mtlsearch[text]`).
    """

    stem: str
    hub: str | None = None

    def __call__(self, directory: Path, /) -> Texts:
        texts = {part: directory / f"{self.stem}-{part}_text.txt" for part in ("train", "val", "test")}
        if not any(path.exists() for path in texts.values()):
            return hub_texts(self.hub, ("text", "label"), texts["train"])
        validation, test = (read_texts(texts[part]) for part in ("val", "test"))
        if texts["train"].exists():
            train = read_texts(texts["train"])
        else:
            train = [row for i, row in enumerate(test) if i % HELD_OUT]
            test = test[::HELD_OUT]
        return Texts(train, validation, test, _class_names(directory / f"{self.stem}-mapping.txt", train))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Raises DataError where it cannot be read or is not UTF-8."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {number}: the text must be UTF-8: save it so") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    # Not splitlines, which also splits at characters that occur within a text.
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
            raise DataError(f"{path}, line {number}: it must be a token and its BIO tag, but got {line[:80]!r}")
        sentences[-1][0].append(cells[0].strip())
        sentences[-1][1].append(tag)
    return [sentence for sentence in sentences if sentence[0]]


def read_texts(path: Path) -> list[Row]:
    """The texts of a `…_text.txt` file with the class numbers of its `…_labels.txt`."""
    texts = read_lines(path)
    labels_path = path.with_name(path.name.replace("_text.txt", "_labels.txt"))
    labels = read_lines(labels_path)
    if len(texts) != len(labels):
        got = f"{len(texts)} texts and {len(labels)}"
        raise DataError(f"{path} must have a label for each text, but got {got}")
    rows: list[Row] = []
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        if not text.strip():
            raise DataError(f"{path}, line {number}: the text is empty: drop it and its label")
        if not label.strip().isdecimal() or len(label.strip()) > 9 or int(label) >= MOST_CLASSES:
            raise DataError(
                f"{labels_path}, line {number}: it must be a class number below {MOST_CLASSES}, but got {label[:80]!r}"
            )
        rows.append((text, int(label)))
    return rows


def _tag_ids(tags: Sequence[str], classes: tuple[str, ...], path: Path) -> list[int]:
    unknown = set(tags) - set(classes)
    if unknown:
        raise DataError(f"{path}: the tag {min(unknown)!r} is not in the training file, which has {', '.join(classes)}")
    return [classes.index(tag) for tag in tags]


def _class_names(path: Path, train: Sequence[Row]) -> tuple[str, ...]:
    """The names in a mapping file, or the class numbers without one."""
    if not path.exists():
        numbers = [label for _, label in train if isinstance(label, int)]
        return tuple(str(i) for i in range(max(numbers, default=-1) + 1))
    cells = [line.split(None, 1) for line in read_lines(path) if line.strip()]
    names = {cell[0]: cell[-1] for cell in cells}
    if not cells or min(map(len, cells)) < 2 or sorted(names) != sorted(str(i) for i in range(len(cells))):
        raise DataError(f"{path} must have a class number from 0 on and its name on each line")
    return tuple(names[str(i)].strip() for i in range(len(names)))


def hub_texts(hub: str | None, columns: tuple[str, str], due: Path) -> Texts:
    """The data set "name" or "name/config" of the Hugging Face hub, in place of the absent local file `due`."""
    missing = f"{due} is not there"
    if hub is None:
        raise DataError(f"{missing}: put the files there, or name another directory with --data")
    name, _, config = hub.partition("/")
    try:
        from datasets import load_dataset  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise DataError(
            f"{missing}, and `datasets` is not installed to download {name}: put the files there,"
            " or `pip install 'mtlsearch[text]'`"
        ) from error
    try:
        sets = load_dataset(name, config or None)
    except Exception as error:
        raise DataError(f"{missing}, and {name} cannot be downloaded ({one_line(error)[:200]})") from error
    text, label = columns
    rows = {
        part: [row for row in zip(sets[part][text], sets[part][label], strict=True) if row[0]]
        for part in ("train", "validation", "test")
    }
    feature: Any = sets["train"].features[label]
    names = getattr(getattr(feature, "feature", feature), "names", ())  # of a class, or of each tag in a sequence
    return Texts(**rows, classes=tuple(names))
