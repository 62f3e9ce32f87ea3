"""Texts: tokens, a vocabulary of training texts alone, files and their errors, the trunk, the study."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from commands import done, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from population_asserts import assert_population_equals_solo, config
from texts import write_tweets
from torch import Tensor

from mtlsearch import (
    Classification,
    Corpus,
    Study,
    TaggedFiles,
    TextFiles,
    TextTrunk,
    TokenTagging,
    choice,
    load_study,
)
from mtlsearch.data.text import FIRST_WORD, IDS, UNKNOWN, Texts, Vocabulary, normalised, shape_of, tokens_of
from mtlsearch.errors import DataError, MtlsearchError, StudyError
from mtlsearch.study.loaded import load_data

LENGTH = 8
TAGS = ("O", "B-place", "I-place")
PLACES = (["Paris"], ["New", "York"], ["Rio"], ["Los", "Angeles"])
MOODS = ("good", "bad")


def tagged(count: int, seed: int) -> list[tuple[list[str], list[int]]]:
    """Sentences "we saw <place> today" of several lengths."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        place = PLACES[random.integers(len(PLACES))]
        before = ["we", "all", "saw"][: random.integers(1, 4)]
        rows.append(([*before, *place, "today"], [0] * len(before) + [1] + [2] * (len(place) - 1) + [0]))
    return rows


def moods(count: int, seed: int) -> list[tuple[str, int]]:
    """Texts of a mood, among words of no mood."""
    random = np.random.default_rng(seed)
    words = (("great", "fine", "lovely"), ("awful", "sad", "broken"))
    labels = random.integers(2, size=count).tolist()
    return [(f"@joe the day {'was ' * random.integers(1, 3)}{random.choice(words[y])}!", y) for y in labels]


def places(directory: Path) -> Texts:
    return Texts(tagged(48, 0), tagged(24, 1), tagged(24, 2), TAGS)


def days(directory: Path) -> Texts:
    return Texts(moods(80, 3), moods(32, 4), moods(32, 5), MOODS)


CORPUS = Corpus({"places": places, "days": days}, words=40, buckets=30, length=LENGTH)


def tiny(**changes: Any) -> Study:
    """A tagging and a classification task on texts of their own."""

    def model(config: Any) -> TextTrunk:
        return TextTrunk(
            CORPUS.rows,
            {"places": ("tokens", 3), "days": 2},
            hidden=config["hidden"],
            depth=config["depth"],
            dropout=config["dropout"],
        )

    return Study(
        tasks=[
            TokenTagging("places", CORPUS.source("places")),
            Classification("days", CORPUS.source("days"), metric_name="macro_f1"),
        ],
        model=model,
        space={"hidden": choice(8, 12)},
        default={"hidden": 8, "depth": 1, "dropout": 0.0, "learning_rate": 1e-2},
        epochs=3,
        batch_size=16,
        **changes,
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("@user it's GREAT!! :) #fun", ["@user", "it's", "GREAT", "!!", ":)", "#fun"]),
        ("see https://a.example/b?c=1 and www.x.example", ["see", "https://a.example/b?c=1", "and", "www.x.example"]),
        ("Don\\u2019t say &amp; \\ud83d", ["Don’t", "say", "&", "\\", "ud83d"]),
        ("  two\u2028lines\x85here\t", ["two", "lines", "here"]),
        ("schön 日本 3,5", ["schön", "日本", "3", ",", "5"]),
        (" \t\u00a0", []),
    ],
)  # fmt: skip
def test_texts_are_cut_into_tokens(text: str, tokens: list[str]) -> None:
    assert tokens_of(text) == tokens


def test_users_addresses_and_case_are_one_word() -> None:
    assert {normalised(token) for token in ("@a", "@User_1")} == {"@user"}
    assert {normalised(token) for token in ("http://a", "https://b/c", "www.d")} == {"http"}
    assert normalised("GREAT") == "great"
    assert normalised("@") == "@"
    assert [shape_of(token) for token in ("iPhone", "NASA", "3rd", "McDonald's", "#Go")] == [
        "xXx", "X", "dx", "XxXx'x", "#Xx",
    ]  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tokens=st.lists(st.text(max_size=8) | st.characters(codec=None), max_size=12))
def test_any_tokens_have_ids_and_the_stored_vocabulary_gives_the_same(tokens: list[str]) -> None:
    vocabulary = Vocabulary.of(tokens * 2, rows=20, buckets=10, length=LENGTH)
    encoded = vocabulary.encode([tokens])
    assert encoded.shape == (1, LENGTH, IDS)
    count = min(len(tokens), LENGTH)
    words, spelling = encoded[0, :count, 0], encoded[0, :count, 1:]
    assert ((words >= UNKNOWN) & (words < 20)).all()
    assert ((spelling >= 20) & (spelling < 30)).all()
    assert (encoded[0, count:] == 0).all()
    read = Vocabulary.from_dict(vocabulary.to_dict())
    assert read == vocabulary
    assert torch.equal(read.encode([tokens]), encoded)


def test_the_vocabulary_holds_the_frequent_words_of_training_texts_alone() -> None:
    def reader(where: str, count: int) -> Any:
        return lambda directory: Texts(
            train=[(f"both {where} once{where}", 0), (f"both {where}", 1)] * count,
            validation=[("secret secret secret both", 0)],
            test=[("hidden hidden hidden both", 1)],
            classes=MOODS,
        )

    corpus = Corpus({"a": reader("apple", 1), "b": reader("berry", 3)}, words=30, buckets=5, length=LENGTH)
    sources = {name: corpus.source(name)(Path()) for name in ("a", "b")}
    for data in sources.values():
        assert data.fitted["text"]["words"].split() == ["both", "berry", "onceberry", "apple"]
    validation = sources["a"].validation
    assert not isinstance(validation, int | float)
    assert validation.inputs[0, :4, 0].tolist() == [UNKNOWN, UNKNOWN, UNKNOWN, FIRST_WORD]


def test_a_word_is_known_by_its_spelling_where_the_vocabulary_lacks_it() -> None:
    vocabulary = Vocabulary.of(["running"] * 2, rows=5, buckets=10_000, length=LENGTH)
    running, jumping, jumped = (vocabulary.token_ids(word) for word in ("running", "jumping", "jumped"))
    assert (running[0], jumping[0]) == (FIRST_WORD, UNKNOWN)
    assert jumping[1] == jumped[1] != running[1]
    assert jumping[2] == running[2] != jumped[2]


def test_long_texts_are_cut_and_long_tagged_sentences_go_on_in_a_further_row() -> None:
    words = [f"w{i}" for i in range(2 * LENGTH + 3)]
    tags = [i % 3 for i in range(len(words))]
    texts = Texts([(words, tags)], [(words, tags)], [(words, tags)], TAGS)
    long = Texts([(" ".join(words), 0), ("w1", 1)], [("w1", 0)], [("w1", 1)], MOODS)
    corpus = Corpus({"tags": lambda d: texts, "long": lambda d: long}, words=30, buckets=5, length=LENGTH)
    data = corpus.source("tags")(Path())
    assert data.train.inputs.shape == (3, LENGTH, IDS)
    labels = data.train.labels["label"]
    assert labels[labels >= 0].tolist() == tags
    assert ((labels >= 0) == (data.train.inputs[..., 0] > 0)).all()
    cut = corpus.source("long")(Path()).train
    assert torch.equal(cut.inputs[0], data.train.inputs[0])
    assert cut.labels["label"].tolist() == [0, 1]


def test_a_text_of_a_hundred_thousand_characters_costs_next_to_nothing() -> None:
    vocabulary = Vocabulary.of(["a", "a"], rows=5, buckets=5, length=LENGTH)
    for text in (
        "a" * 100_000,
        "a " * 50_000,
        " " * 100_000 + "a",
        "@" * 100_000,
        "a'" * 50_000,
        "http://" * 14_000,
    ):
        start = time.process_time()
        tokens = tokens_of(text, LENGTH)
        encoded = vocabulary.encode([tokens])
        assert 0 < len(tokens) <= LENGTH
        assert encoded.shape == (1, LENGTH, IDS)
        assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([("fine", 0), (" ", 1)], "days: text 2 of the train part is empty: drop it"),
        ([([], [])], "days: text 1 of the train part is empty: drop it"),
        (
            [(["a", "b"], [0])],
            "days: text 1 of the train part needs a tag for each token, but got 2 tokens and 1 tags",
        ),
    ],
)
def test_texts_that_cannot_be_learned_are_refused(texts: Sequence[Any], message: str) -> None:
    corpus = Corpus({"days": lambda directory: Texts(texts, texts, texts, MOODS)})
    with pytest.raises(DataError) as error:
        corpus.source("days")(Path())
    assert str(error.value) == message


def test_a_corpus_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(StudyError, match=r"^the corpus has no texts 'other'; it has places, days$"):
        CORPUS.source("other")
    with pytest.raises(StudyError, match=r"^words must be 3 or more, but got 2$"):
        Corpus({}, words=2)
    with pytest.raises(
        StudyError, match=r"^hidden and depth must be 1 or more and vocabulary 2 or more, but got 8, 0 and 5$"
    ):
        TextTrunk(5, {"a": 2}, hidden=8, depth=0)
    for sizes, options, message in (
        ({"words": 10**8 + 1}, {"hidden": 2**17 + 1}, "hidden must be 131072 or less"),
        ({"buckets": 10**9}, {"depth": 10**9}, "depth must be 1000 or less"),
        ({"length": 10**5}, {"vocabulary": 10**9}, "vocabulary must be 100000000 or less"),
    ):
        with pytest.raises(StudyError, match=r"must be 100000000 or less, but got|must be 10000 or less, but got"):
            Corpus({}, **sizes)
        with pytest.raises(StudyError, match=message):
            TextTrunk(**{"vocabulary": 5, "heads": {"a": 2, "b": ("tokens", 3)}, **options})
    with pytest.raises(
        StudyError,
        match=r"""^the head of 'a' must be a number or \("tokens", number\), but got \('token', 2\)$""",
    ):
        TextTrunk(5, {"a": ("token", 2)})


# Files.


def write_conll(path: Path, rows: Sequence[tuple[Sequence[str], Sequence[int]]]) -> None:
    sentences = ["\n".join(f"{t}\t{TAGS[y]}" for t, y in zip(tokens, tags, strict=True)) for tokens, tags in rows]
    path.write_text("\n\n".join(sentences) + "\n")


def write_texts(folder: Path, part: str, rows: Sequence[tuple[str, int]]) -> None:
    (folder / f"mood-{part}_text.txt").write_text("".join(f"{text}\n" for text, _ in rows))
    (folder / f"mood-{part}_labels.txt").write_text("".join(f"{label}\n" for _, label in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small files in the formats of WNUT 2017 and TweetEval."""
    for part, count in (("train", 30), ("dev", 12), ("test", 13)):
        write_conll(tmp_path / f"{part}.conll", tagged(count, count))
    for part, count in (("train", 30), ("val", 12), ("test", 13)):
        write_texts(tmp_path, part, moods(count, count))
    (tmp_path / "mood-mapping.txt").write_text("0\tgood\n1\tbad\n")
    return tmp_path


TAGGED = TaggedFiles("train.conll", "dev.conll", "test.conll", hub="tags")
TEXTS = TextFiles("mood", hub="set/mood")


def test_files_are_read_as_they_were_written(folder: Path) -> None:
    read = TAGGED(folder)
    # Classes are sorted behind "O", which is the order of TAGS.
    assert read.classes == TAGS
    assert [read.train, read.validation, read.test] == [tagged(n, n) for n in (30, 12, 13)]
    texts = TEXTS(folder)
    assert texts.classes == MOODS
    assert [texts.train, texts.validation, texts.test] == [moods(n, n) for n in (30, 12, 13)]
    (folder / "mood-mapping.txt").unlink()
    assert TEXTS(folder).classes == ("0", "1")


def test_without_a_training_file_five_sixths_of_the_test_file_train(folder: Path) -> None:
    (folder / "mood-train_text.txt").unlink()
    texts, pool = TEXTS(folder), moods(13, 13)
    assert texts.test == [pool[0], pool[6], pool[12]]
    assert texts.train == [row for i, row in enumerate(pool) if i % 6]
    assert texts.validation == moods(12, 12)


def test_line_ends_marks_and_spaces_of_other_systems_are_read(folder: Path) -> None:
    due = TAGGED(folder)
    for part in ("train", "dev", "test"):
        path = folder / f"{part}.conll"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").replace(b"\t", b" "))
    assert TAGGED(folder) == due
    (folder / "mood-val_text.txt").write_bytes(b"one\xe2\x80\xa8line\r\nanother\n")
    (folder / "mood-val_labels.txt").write_bytes(b"1\r\n0\r\n")
    assert list(TEXTS(folder).validation) == [("one\u2028line", 1), ("another", 0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dev.conll", None, "{} cannot be read: No such file or directory"),
        ("dev.conll", b"we\tO\nsaw\n", "{}, line 2: it must be a token and its BIO tag, but got 'saw'"),
        ("dev.conll", b"we\tX\n", "{}, line 1: it must be a token and its BIO tag, but got 'we\\tX'"),
        ("dev.conll", b"we\tB-thing\n", "{}: the tag 'B-thing' is not in the training file, which has O, B-place, I-place"),
        ("dev.conll", b"we\tO\n\xff\tO\n", "{}, line 2: the text must be UTF-8: save it so"),
        ("mood-val_labels.txt", None, "{} cannot be read: No such file or directory"),
        ("mood-val_labels.txt", b"1\n", "mood-val_text.txt must have a label for each text, but got 12 texts and 1"),
        ("mood-val_labels.txt", b"1\n" * 11 + b"x\n", "{}, line 12: it must be a class number below 1000000, but got 'x'"),
        ("mood-val_text.txt", b"a\n" * 11 + b" \n", "{}, line 12: the text is empty: drop it and its label"),
        ("mood-val_text.txt", b"a\n\xe4\n", "{}, line 2: the text must be UTF-8: save it so"),
        ("mood-mapping.txt", b"good\n", "{} must have a class number from 0 on and its name on each line"),
        ("mood-mapping.txt", b"0\tgood\n2\tbad\n", "{} must have a class number from 0 on and its name on each line"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_its_line(folder: Path, name: str, content: bytes | None, message: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        (TAGGED if name.endswith(".conll") else TEXTS)(folder)
    said = str(error.value)
    assert said.replace(f"{folder}/", "") == message.format(name)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60) | st.text("O\tB-place \n\r", max_size=40).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("train.conll", "dev.conll", "test.conll", "mood-train_text.txt", "mood-train_labels.txt"):
        (folder / name).write_bytes(content)
    for reader in (TAGGED, TEXTS):
        try:
            read, said = reader(folder), ""
        except MtlsearchError as error:
            read, said = None, str(error)
        assert isinstance(read, Texts) != (len(said.splitlines()) == 1)


class Column:
    """A column's description in the way of `datasets`."""

    def __init__(self, names: Sequence[str] = (), feature: "Column | None" = None) -> None:
        self.names = list(names)
        if feature is not None:
            self.feature = feature


class Split(dict[str, list[Any]]):
    """A part of a data set in the way of `datasets`."""

    features: Mapping[str, Column] = {
        "ner_tags": Column(feature=Column(TAGS)), "tokens": Column(), "text": Column(), "label": Column(MOODS)
    }  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `datasets` that holds the two sets of the tests, and no other."""

    def load_dataset(name: str, config: str | None = None) -> dict[str, Split]:
        sets = {("tags", None): (tagged, ("tokens", "ner_tags")), ("set", "mood"): (moods, ("text", "label"))}
        if (name, config) not in sets:
            raise ConnectionError("no route\nto the hub")
        make, columns = sets[name, config]
        parts = {
            part: list(zip(*make(n, n), strict=True)) for part, n in (("train", 30), ("validation", 12), ("test", 13))
        }
        return {part: Split(zip(columns, map(list, rows), strict=True)) for part, rows in parts.items()}

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.usefixtures("hub")
def test_the_hub_gives_what_the_files_give(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    nothing = tmp_path_factory.mktemp("nothing")
    for reader in (TAGGED, TEXTS):
        assert reader(nothing) == reader(folder)
    with pytest.raises(DataError, match=r"train.conll is not there, and other cannot be downloaded \(no route\)$"):
        TaggedFiles("train.conll", "b", "c", hub="other")(nothing)


def test_absent_texts_give_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # what an absent package looks like
    with pytest.raises(DataError) as error:
        TEXTS(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/mood-train_text.txt is not there, and `datasets` is not installed to download set:"
        " put the files there, or `pip install 'mtlsearch[text]'`"
    )
    with pytest.raises(DataError, match=r"mood-train_text.txt is not there: put the files there, or name another"):
        TextFiles("mood")(tmp_path)


# The trunk.


def inputs(rows: int, length: int, seed: int) -> Tensor:
    """Ids of texts of 1 to `length` tokens."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, CORPUS.rows, (rows, length, IDS), generator=random)
    lengths = torch.randint(1, length + 1, (rows, 1, 1), generator=random)
    return torch.where(torch.arange(length).view(1, -1, 1) < lengths, ids, 0)


def trunk(depth: int = 2, dropout: float = 0.3) -> TextTrunk:
    torch.manual_seed(0)
    heads: dict[str, int | tuple[str, int]] = {"tags": ("tokens", 3), "mood": 2}
    return TextTrunk(CORPUS.rows, heads, hidden=10, depth=depth, dropout=dropout).double()


@pytest.mark.parametrize("training", [False, True])
def test_padded_positions_change_nothing(training: bool) -> None:
    model = trunk().train(training)
    short = {"tags": inputs(5, 6, 0), "mood": inputs(5, 6, 1)}
    long = {task: torch.nn.functional.pad(x, (0, 0, 0, 7)) for task, x in short.items()}
    given, padded = model(short), model(long)
    torch.testing.assert_close(padded["mood"], given["mood"], rtol=0, atol=1e-12)
    present = short["tags"][..., 0] > 0
    torch.testing.assert_close(padded["tags"][:, :6][present], given["tags"][present], rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(out["mood"].square().sum(), model.embedding.weight)[0] for out in (given, padded)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-12)
    assert gradients[0].abs().max() > 0
    # No example has its gradient from padding: the padding id's own row stays as it is.
    assert (gradients[0][0] == 0).all()


def test_a_token_sees_its_neighbours_as_far_as_there_are_layers() -> None:
    model = trunk(depth=2).eval()
    ids = torch.randint(1, CORPUS.rows, (1, 12, IDS), generator=torch.Generator().manual_seed(2))
    changed = ids.clone()
    changed[0, 6] = ids[0, 0]
    moved = (model({"tags": ids})["tags"] != model({"tags": changed})["tags"]).any(-1)[0]
    # Two shared layers and the head's own.
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_members_of_a_population_equal_their_solo_training() -> None:
    study = tiny()
    members = [
        config(study, [0.5, 0.5], dropout=0.4, optimizer="adam"),
        config(study, [0.9, 0.1], optimizer="sgd", learning_rate=0.05),
        config(study, [0.2, 0.8], hidden=12, dropout=0.2, optimizer="adamw", weight_decay=0.01),
        config(study, [1.0, 0.0], depth=2, optimizer="rmsprop"),
    ]
    assert_population_equals_solo(study, members)


def test_what_texts_say_is_learned() -> None:
    from mtlsearch.training.solo import SoloTrainer
    from mtlsearch.training.trainer import Training

    study = tiny()
    trainer = SoloTrainer(Training(load_data(study, Path())))
    trainer.add(0, config(study, [0.5, 0.5], learning_rate=0.03))
    results = [trainer.advance()[0] for _ in range(study.epochs)]
    assert results[-1].validation["places"]["span_f1"] > 0.95
    assert results[-1].validation["days"]["macro_f1"] > 0.95


def test_the_description_holds_the_vocabulary_once() -> None:
    from mtlsearch.study.describe import describe

    loaded = load_data(tiny(), Path())
    about = describe(loaded)
    assert Vocabulary.from_dict(about["text"]).ids["today"] >= FIRST_WORD
    assert about["tasks"]["places"]["output_shape"] == [LENGTH, 3]
    assert about["tasks"]["places"]["classes"] == list(TAGS)
    assert describe(loaded.only("days"))["text"] == about["text"]


# The shipped study on small files.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with small files under the names of the real ones."""
    directory = tmp_path_factory.mktemp("data")
    write_tweets(directory / "tweets")
    return directory


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model of `tweets` on the small files."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    done("train", "tweets", "--epochs", "6", "--threads", "1", "--data", data, "--quiet", "-o", path)
    return path


def test_some_trials_of_tweets_run_in_the_population_and_the_best_reads_texts(data: Path, tmp_path: Path) -> None:
    store = ("--storage", f"sqlite:///{tmp_path}/store.db")
    options = ("--trials", "2", "--epochs", "1", "--threads", "1", "--population", "2", "--no-confirm")
    outcome = done("run", "tweets", *options, *store, "--data", data, "--json")
    assert "one at a time" not in outcome.err
    assert {task: list(values) for task, values in outcome.json["validation"].items()} == {
        "entities": ["span_f1"], "sentiment": ["macro_f1"], "emotion": ["macro_f1"],
    }  # fmt: skip
    files = ("-o", tmp_path / "best.json", "--checkpoint", tmp_path / "best.safetensors")
    done("export", "tweets", *store, *files)
    (tmp_path / "a.txt").write_text("so lovely\n")
    (found,) = done("predict", tmp_path / "best.safetensors", tmp_path / "a.txt", "--json").json["predictions"]
    assert found["tasks"]["entities"]["tokens"] == ["so", "lovely"]


def test_predict_reads_a_text_a_line(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("so lovely today\nthe AP5 AP5 is\n" + "so furious " * 20_000 + "\n")
    outcome = done("predict", model, "lines.txt", "--json")
    assert outcome.err == "mtlsearch: lines.txt, line 3: only the first 40 tokens are read\n"
    one, two, three = outcome.json["predictions"]
    assert one["input"] == "lines.txt, line 1"
    assert one["tasks"]["sentiment"]["label"] == "lovely"
    assert three["tasks"]["emotion"]["label"] == "furious"
    tokens = ["the", "AP5", "AP5", "is"]
    assert two["tasks"]["entities"] == {
        "tokens": tokens,
        "tags": ["O", "B-product", "I-product", "O"],
        "spans": [{"type": "product", "text": "AP5 AP5", "start": 1, "end": 3}],
    }
    assert len(three["tasks"]["entities"]["tags"]) == 40
    table = done("predict", model, "lines.txt").out
    assert "AP5 AP5 (product)" in table


def test_predict_says_what_is_wrong_with_a_text(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("")
    Path("gap.txt").write_text("fine\n \nfine\n")
    Path("latin.txt").write_bytes("fine\nschön\n".encode("latin-1"))
    np.save("far.npy", np.full((1, 40, IDS), 10**6))
    assert refused("predict", model, "none.txt") == "no input file none.txt"
    assert refused("predict", model, "empty.txt") == "empty.txt is empty: it must hold a text on each line"
    assert refused("predict", model, "gap.txt") == (
        "gap.txt, line 2: the text is empty: drop the line, or write a text there"
    )
    assert refused("predict", model, "latin.txt") == "latin.txt, line 2: the text must be UTF-8: save it so"
    assert refused("predict", model, "far.npy").startswith("the inputs hold an id that the model does not know")


def test_the_real_tweets_are_whole(data_directory: Path) -> None:
    if not (data_directory / "tweets").is_dir():
        pytest.skip("the tweets are absent: set MTLSEARCH_DATA to a folder that holds tweets")
    loaded = load_data(load_study("tweets"), data_directory)
    sizes = {s.tasks[0]: [len(s.train), len(s.validation), len(s.test)] for s in loaded.splits}
    # One training sentence is longer than 40 tokens, and 36 and 86 of the others'.
    assert sizes == {
        "entities": [3395, 1045, 1373],
        "sentiment": [10_236, 2000, 2048],
        "emotion": [3257, 374, 1421],
    }
    spans = sum(int((s.labels["entities"] == i).sum()) for s in [loaded.splits[0].train] for i in range(1, 7))
    assert spans == 1975
