"""Texts as whole numbers: tokens, a vocabulary of the training texts, and sources that share one vocabulary.

A token becomes K = 4 ids: its word, and three hashed features of its spelling (first three letters, last three
letters, shape), which say something about words that training has not seen. Id 0 is padding.

Shapes: N texts, L tokens of a text at most, K ids of a token.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import unescape
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.errors import DataError, StudyError
from mtlsearch.limits import MOST_IDS, MOST_TOKENS, check_most

IDS = 4
UNKNOWN, FIRST_WORD = 1, 2
MISSING = -1
LONGEST_WORD = 64  # in characters; the vocabulary cuts what follows

_TOKEN = re.compile(r"(?:https?://|www\.)\S+|[@#]?\w+(?:['’]\w+)*|[^\w\s]{1,8}")
_ESCAPE = re.compile(r"\\u((?!d[89a-f])[0-9a-f]{4})")  # in TweetEval's texts; halves of surrogate pairs stay
_SHAPES = ((re.compile(r"[^\W\d_a-z]+"), "X"), (re.compile(r"[a-z]+"), "x"), (re.compile(r"\d+"), "d"))

Row = tuple[str | Sequence[str], int | Sequence[int]]


@dataclass(frozen=True)
class Texts:
    """Labelled texts by part: rows of (text, class), or of (tokens, the tag of each); a label of −1 is missing."""

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    classes: tuple[str, ...]


Reader = Callable[[Path], Texts]  # reads labelled texts from the data directory


def tokens_of(text: str, most: int | None = None) -> list[str]:
    """The first `most` tokens of a text, by one regular expression, in time linear in the text's length."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), unescape(text))
    return [found[0] for found in islice(_TOKEN.finditer(plain), most)]


def normalised(token: str) -> str:
    """A token as the vocabulary has it: in lower case, every user as "@user" and every address as "http"."""
    if token.startswith("@") and len(token) > 1:
        return "@user"
    if token.startswith(("http://", "https://", "www.")):
        return "http"
    # A given token may hold spaces, which separate the words of a stored vocabulary.
    return "_".join(token[:LONGEST_WORD].lower().split())


@dataclass(frozen=True)
class Vocabulary:
    """The ids of words, and the encoding of texts as ids [N, L, K]."""

    words: tuple[str, ...]
    rows: int
    buckets: int
    length: int

    @classmethod
    def of(cls, tokens: Iterable[str], *, rows: int, buckets: int, length: int, least: int = 2) -> "Vocabulary":
        """The most frequent of the words that occur `least` times; all others train the unknown word's id."""
        counts = Counter(map(normalised, tokens))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked[: rows - FIRST_WORD] if word and counts[word] >= least]
        return cls(tuple(kept), rows, buckets, length)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        return {word: id_ for id_, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """The ids [N, L, K] of texts of tokens, each cut at L tokens."""
        encoded = torch.zeros(len(texts), self.length, IDS, dtype=torch.int32)
        known: dict[str, list[int]] = {}
        for row, tokens in zip(encoded, texts, strict=True):
            cut = tokens[: self.length]
            for token in cut:
                if token not in known:
                    known[token] = self.token_ids(token)
            ids = [known[token] for token in cut]
            row[: len(cut)] = torch.tensor(ids, dtype=torch.int32).view(-1, IDS)
        return encoded

    def token_ids(self, token: str) -> list[int]:
        """The K ids of one token."""
        word = normalised(token)
        spelling = (f"<{word[:3]}", f"{word[-3:]}>", f"={shape_of(token)}")
        hashed = [self.rows + zlib.crc32(feature.encode(errors="replace")) % self.buckets for feature in spelling]
        return [self.ids.get(word, UNKNOWN), *hashed]

    def to_dict(self) -> dict[str, Any]:
        """The vocabulary as JSON, which models' files keep to read texts without the training data."""
        return {**asdict(self), "words": " ".join(self.words)}

    @classmethod
    def from_dict(cls, fitted: Mapping[str, Any]) -> "Vocabulary":
        return cls(tuple(fitted["words"].split()), fitted["rows"], fitted["buckets"], fitted["length"])


def shape_of(token: str) -> str:
    """The shape of a token's spelling, with each run of a kind once: XxXx'x for "McDonald's"."""
    token = token[:LONGEST_WORD]
    for run, sign in _SHAPES:
        token = run.sub(sign, token)
    return token[:6]


@dataclass(frozen=True)
class Corpus:
    """Sets of labelled texts, each the source of one task, with one vocabulary of all their training texts.

    `readers` are callables from the data directory to `Texts`, by name. A word has one of `words` ids, each feature of
    its spelling one of `buckets`. A text is cut at `length` tokens; a tagged text continues in another row instead.
    """

    readers: Mapping[str, Reader]
    words: int = 8000
    buckets: int = 4000
    length: int = 40

    def __post_init__(self) -> None:
        sizes = (("words", FIRST_WORD + 1, MOST_IDS), ("buckets", 1, MOST_IDS), ("length", 1, MOST_TOKENS))
        for name, least, most in sizes:
            if getattr(self, name) < least:
                raise StudyError(f"{name} must be {least} or more, but got {getattr(self, name)}")
            check_most(most, **{name: getattr(self, name)})

    @property
    def rows(self) -> int:
        """The number of rows of a model's embedding, which does not depend on the texts."""
        return self.words + self.buckets

    def source(self, name: str) -> "CorpusSource":
        """The texts of reader `name` as a task's data."""
        if name not in self.readers:
            raise StudyError(f"the corpus has no texts {name!r}; it has {', '.join(self.readers)}")
        return CorpusSource(self, name)

    def vocabulary(self, texts: Iterable[Texts]) -> Vocabulary:
        """The vocabulary of the training parts of `texts` alone."""
        rows = (row for each in texts for row in each.train)
        tokens = (token for text, label in rows for token in _tokens(text, label, self.length))
        return Vocabulary.of(tokens, rows=self.words, buckets=self.buckets, length=self.length)


@dataclass(frozen=True)
class CorpusSource:
    """One set of a corpus's texts as ids [N, L, K], with labels [N] or, where each token has a tag, [N, L]."""

    corpus: Corpus
    name: str

    def __call__(self, directory: Path, /) -> Data:
        read = {name: reader(directory) for name, reader in self.corpus.readers.items()}
        vocabulary = self.corpus.vocabulary(read.values())
        texts = read[self.name]
        train, validation, test = (
            self._part(part, getattr(texts, part), vocabulary) for part in ("train", "validation", "test")
        )
        classes, fitted = texts.classes, vocabulary.to_dict()
        return Data(train, test, validation=validation, classes=classes, text=fitted)

    def _part(self, part: str, rows: Sequence[Row], vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
        tokens, labels = [], []
        for number, (text, label) in enumerate(rows, 1):
            place = f"{self.name}: text {number} of the {part} part"
            found = _tokens(text, label, vocabulary.length)
            if not found:
                raise DataError(f"{place} is empty: drop it")
            if isinstance(label, Sequence) and len(label) != len(found):
                got = f"{len(found)} tokens and {len(label)} tags"
                raise DataError(f"{place} needs a tag for each token, but got {got}")
            for start, tags in _chunks(label, vocabulary.length):
                tokens.append(found[start : start + vocabulary.length])
                labels.append(tags)
        return vocabulary.encode(tokens), torch.tensor(labels)


def _tokens(text: str | Sequence[str], label: int | Sequence[int], length: int) -> Sequence[str]:
    """The tokens to learn from: all tokens of a tagged text, the first `length` of any other."""
    most = None if isinstance(label, Sequence) else length
    return tokens_of(text, most) if isinstance(text, str) else text[:most]


def _chunks(label: int | Sequence[int], length: int) -> Iterable[tuple[int, int | list[int]]]:
    """The first token and the label of each row of a text: a class for one row, or tags in rows of `length`."""
    if not isinstance(label, Sequence):
        yield 0, label
        return
    for start in range(0, len(label), length):
        tags = list(label[start : start + length])
        yield start, tags + [MISSING] * (length - len(tags))
