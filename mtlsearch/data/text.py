"""Texts as whole numbers: tokens, a vocabulary of the training texts, and sources that share one vocabulary.

A token becomes K = 4 ids: its word, and its spelling as three hashed features (first and last three letters,
shape), which say something of words that training has not seen. Id 0 is padding.

Legend: N texts, L tokens of a text at most, K ids of a token.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.errors import DataError, StudyError

IDS = 4
UNKNOWN, FIRST_WORD = 1, 2
MISSING = -1
LONGEST_WORD = 64  # in characters; what follows says nothing, and would have to be stored

_TOKEN = re.compile(r"(?:https?://|www\.)\S+|[@#]?\w+(?:['’]\w+)*|[^\w\s]{1,8}")
_ESCAPE = re.compile(
    r"\\u((?!d[89a-f])[0-9a-f]{4})"
)  # TweetEval spells some characters so; halves of pairs stay
_SHAPES = ((re.compile(r"[^\W\d_a-z]+"), "X"), (re.compile(r"[a-z]+"), "x"), (re.compile(r"\d+"), "d"))

Row = tuple[str | Sequence[str], int | Sequence[int]]


@dataclass(frozen=True)
class Texts:
    """Labelled texts by part: rows of (text, class), or of (tokens, the tag of each); a label of −1 is missing."""

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    classes: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Sequence[Row]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


# Where labelled texts come from: a callable of the data directory.
Reader = Callable[[Path], Texts]


def tokens_of(text: str, most: int | None = None) -> list[str]:
    """The first `most` tokens of a text, by one regular expression, in a time that grows with the text's length."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), unescape(text))
    return [found[0] for found in islice(_TOKEN.finditer(plain), most)]


def normalised(token: str) -> str:
    """A token as the vocabulary knows it: in lower case, every user as "@user" and every address as "http"."""
    if token.startswith("@") and len(token) > 1:
        return "@user"
    if token.startswith(("http://", "https://", "www.")):
        return "http"
    # A given token may hold spaces, at which the stored vocabulary is split.
    return "_".join(token[:LONGEST_WORD].lower().split())


@dataclass(frozen=True)
class Vocabulary:
    """Which id each word has, and how texts become ids [N, L, K]."""

    words: tuple[str, ...]
    rows: int
    buckets: int
    length: int

    @classmethod
    def of(
        cls, tokens: Iterable[str], *, rows: int, buckets: int, length: int, least: int = 2
    ) -> "Vocabulary":
        """The most frequent of the words that occur `least` times; rarer ones train the unknown word's id."""
        counts = Counter(map(normalised, tokens))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked[: rows - FIRST_WORD] if word and counts[word] >= least]
        return cls(tuple(kept), rows, buckets, length)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        return {word: id_ for id_, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """The ids [N, L, K] of texts of tokens; what goes beyond L tokens is cut."""
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
        hashed = [
            self.rows + zlib.crc32(feature.encode(errors="replace")) % self.buckets for feature in spelling
        ]
        return [self.ids.get(word, UNKNOWN), *hashed]

    def describe(self) -> dict[str, Any]:
        """What a model's file must hold, so that it reads texts without the training data."""
        return {
            "words": " ".join(self.words),
            "rows": self.rows,
            "buckets": self.buckets,
            "length": self.length,
        }

    @classmethod
    def described(cls, about: Mapping[str, Any]) -> "Vocabulary":
        return cls(tuple(about["words"].split()), about["rows"], about["buckets"], about["length"])


def shape_of(token: str) -> str:
    """How a token is spelled: "McDonald's" is XxXx'x; every run of a kind counts once."""
    token = token[:LONGEST_WORD]
    for run, sign in _SHAPES:
        token = run.sub(sign, token)
    return token[:6]


@dataclass(frozen=True)
class Corpus:
    """Several sets of labelled texts, each the source of one task, with one vocabulary of all their training texts.

    `readers` are callables from the data directory to `Texts`, by name. A word has one of `words` ids, its spelling
    one of `buckets`. Texts are cut at `length` tokens; tagged ones go on in a further row instead.
    """

    readers: Mapping[str, Reader]
    words: int = 8000
    buckets: int = 4000
    length: int = 40

    def __post_init__(self) -> None:
        for name, least in (("words", FIRST_WORD + 1), ("buckets", 1), ("length", 1)):
            if getattr(self, name) < least:
                raise StudyError(f"{name} must be {least} or more, but got {getattr(self, name)}")

    @property
    def rows(self) -> int:
        """The rows of the embedding that a model needs, whatever the texts are."""
        return self.words + self.buckets

    def source(self, name: str) -> "CorpusSource":
        """The texts of reader `name` as a task's data."""
        if name not in self.readers:
            raise StudyError(f"the corpus has no texts {name!r}; it has {', '.join(self.readers)}")
        return CorpusSource(self, name)

    def vocabulary(self, texts: Iterable[Texts]) -> Vocabulary:
        """The vocabulary of the training parts of `texts`, and of nothing else."""
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
        parts = {where: self._part(where, rows, vocabulary) for where, rows in texts.parts.items()}
        return Data(
            parts["train"],
            parts["test"],
            validation=parts["validation"],
            classes=texts.classes,
            text=vocabulary.describe(),
        )

    def _part(self, where: str, rows: Sequence[Row], vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
        tokens, labels = [], []
        for number, (text, label) in enumerate(rows, 1):
            found = _tokens(text, label, vocabulary.length)
            if not found:
                raise DataError(f"{self.name}: text {number} of the {where} part is empty: drop it")
            if isinstance(label, Sequence) and len(label) != len(found):
                raise DataError(
                    f"{self.name}: text {number} of the {where} part needs a tag for each token, but got"
                    f" {len(found)} tokens and {len(label)} tags"
                )
            for start, tags in _chunks(label, vocabulary.length):
                tokens.append(found[start : start + vocabulary.length])
                labels.append(tags)
        return vocabulary.encode(tokens), torch.tensor(labels)


def _tokens(text: str | Sequence[str], label: int | Sequence[int], length: int) -> Sequence[str]:
    """The tokens that are learned from: of a text with one class the first `length`."""
    most = None if isinstance(label, Sequence) else length
    return tokens_of(text, most) if isinstance(text, str) else text[:most]


def _chunks(label: int | Sequence[int], length: int) -> Iterable[tuple[int, int | list[int]]]:
    """A class as it is, for the text's first tokens; tags in rows of `length`, filled up as missing."""
    if not isinstance(label, Sequence):
        yield 0, label
        return
    for start in range(0, len(label), length):
        tags = list(label[start : start + length])
        yield start, tags + [MISSING] * (length - len(tags))
