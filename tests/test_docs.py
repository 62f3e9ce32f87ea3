"""Each page of the documentation is run block by block; its tables, paths and links are held to the code."""

import importlib.util
import json
import os
import re
import runpy
import shlex
import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import numpy as np
import pytest
import texts
import torch
import xrays
from commands import done, stored
from PIL import Image
from population_asserts import assert_as_alone, assert_population_equals_solo, config, double
from serving import Served

import mtlsearch
from mtlsearch import Data
from mtlsearch.cli.main import main
from mtlsearch.data.splits import divide
from mtlsearch.evidence.arms import Confirmed
from mtlsearch.evidence.judge import judge
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.service.views import SearchView
from mtlsearch.store.config_file import schema
from mtlsearch.study.loaded import load_data
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.study.study_file import load_study
from mtlsearch.training.losses import task_losses
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = {str(path.relative_to(ROOT)): path for path in (*sorted(ROOT.glob("*.md")), *DOCS)}
# So that a command costs seconds; the last of repeated options counts.
FEW = ("--trials", "2", "--threads", "1", "--seeds", "2")
SHORT = {
    "run": (*FEW, "--epochs", "1", "--top", "1"),
    "confirm": ("--threads", "1", "--seeds", "2", "--top", "1"),
    "compare": FEW,
    "group": ("--threads", "1", "--seeds", "2"),
    "submit": ("--trials", "2", "--threads", "1", "--epochs", "1", "--population", "1"),
    "train": ("--threads", "1"),
}
# A reader does some forty things, a minute or two on an idle core; a busy machine is no hang.
pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after its fence, and its text."""

    words: tuple[str, ...]
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The `$ mtlsearch …` lines of a console block."""
        lines = re.findall(r"^\$ mtlsearch (.*)$", self.text, re.MULTILINE)
        return [shlex.split(line) for line in lines]


@cache
def text_of(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def blocks(page: str, *words: str) -> list[Block]:
    """The blocks of a page in its order: those with these words, or all."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    every = [Block(tuple(after.split()), text) for after, text in found]
    return [block for block in every if not words or block.words == words]


RUN = [page for page in PAGES if blocks(page, "console")]


def tables(page: str, heading: str) -> list[list[list[str]]]:
    """The rows of each table of a page whose first column is headed `heading`."""
    found = re.findall(rf"^\| {heading} \|.*\n\|[-|: ]+\n((?:\|.*\n)+)", text_of(page), re.MULTILINE)
    assert found
    rows = [table.replace(r"\|", "¦").splitlines() for table in found]
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in each] for each in rows]


def table(page: str, heading: str) -> list[list[str]]:
    (rows,) = tables(page, heading)
    return rows


def printed(text: str) -> set[str]:
    """The lines that a console block shows, without the commands and without what is left out."""
    lines = (line.rstrip() for line in text.splitlines())
    return {line for line in lines if line and line != "…" and not line.startswith("$ ")}


class Reader:
    """Does what a page says, in a folder of its own, with searches made short and small data."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder = folder
        # One page is enough for the searches of tasks alone, which take as long as all else.
        self.shorter = () if page == "README.md" else ("--no-single",)
        self.server: Served | None = None
        (folder / "data").mkdir()
        xrays.write(folder / "data" / "chestmnist.npz")
        texts.write_tweets(folder / "data" / "tweets")

    def follow(self, block: Block) -> None:
        match block.words:
            case ("python", "notebook"):
                pass  # test_api runs it as one
            case ("python", name, "run"):  # a script of the reader's own
                (self.folder / name).write_text(block.text, encoding="utf-8")
                runpy.run_path(name, run_name="__main__")
            case ("python", name):
                (self.folder / name).write_text(block.text, encoding="utf-8")
            case ("python",):
                exec(compile(block.text, "a page's block", "exec"), {"__name__": "__main__"})
            case ("console",):
                said = "".join(self.command(command) for command in block.commands)
                if block.commands[0][0] == "init":  # its output is the same in every run
                    assert printed(block.text) <= printed(said)
            case ("sh", *_) | ("text",) | ("ini",) | ("dockerfile",) | ():
                pass  # for a shell in a checkout; a usage line; files of other programs; a picture
            case _:
                raise AssertionError(f"nobody runs a block of {block.words}")

    def command(self, words: list[str]) -> str:
        """Run a command; its output."""
        name, *rest = words
        if name == "predict" and not Path(rest[1]).exists():
            self.make_picture(rest[1])
        if name == "run" and (not rest or rest[0].startswith("--")):
            # `digits` under the default study's name: neither downloads nor minutes.
            rest = ["digits", "--name", "mnist-fashion", *rest]
        if name == "serve":
            self.server = Served(self.folder, tuple(rest), f"sqlite:///{self.folder / 'mtlsearch.db'}").start()
            os.environ["MTLSEARCH_SERVER"] = self.server.url
            return ""
        if name in ("run", "compare"):
            # More slots than trials would be empty, and computed all the same.
            rest[1:1] = ("--population", "2")
        more = self.shorter if name in ("run", "confirm") else ()
        outcome = done(name, *rest, *SHORT.get(name, ()), *more)
        return outcome.out + outcome.err

    def make_picture(self, name: str) -> None:
        tasks = json.loads((self.folder / "best.json").read_text())["tasks"]
        shape = next(iter(tasks.values()))["input_shape"]
        Image.fromarray(np.zeros(shape, np.uint8)).save(self.folder / name)


@pytest.fixture(scope="module")
def followed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has done everything that a page, the parameter, shows."""
    folder = tmp_path_factory.mktemp("reader")
    reader = Reader(folder, request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MTLSEARCH_DATA", str(folder / "data"))
        patch.delenv("MTLSEARCH_STORAGE", raising=False)
        patch.setenv("MTLSEARCH_SERVER", "")
        try:
            for block in blocks(request.param):
                reader.follow(block)
        finally:
            if reader.server is not None:
                reader.server.stop()
    return folder


def reader_of(*pages: str) -> pytest.MarkDecorator:
    """Let a test run in the folder of the reader of each of these pages."""
    return pytest.mark.parametrize("followed", pages, indirect=True)


@pytest.mark.slow
@reader_of(*RUN)
def test_blocks_run_in_the_order_of_their_page_and_leave_the_files_they_name(
    followed: Path, request: pytest.FixtureRequest
) -> None:
    page = request.node.callspec.params["followed"]
    words = [pair for block in blocks(page, "console") for c in block.commands for pair in pairwise(c)]
    named = {after for before, after in words if before in ("-o", "--checkpoint", "--out")}
    assert [name for name in sorted(named) if not (followed / name).stat().st_size] == []
    assert all(list((followed / after).glob("*.png")) for before, after in words if before == "--png")


def test_pages_that_show_commands_are_run() -> None:
    pages = (
        "bring-your-own",
        "distributed",
        "evidence",
        "from-your-loop",
        "physics",
        "pretrained",
        "python",
        "service",
        "speed",
        "store",
        "trade-offs",
    )
    assert set(RUN) == {"README.md", *(f"docs/{name}.md" for name in pages)}


@pytest.mark.slow
@reader_of("README.md")
def test_exported_config_is_of_the_study_that_the_readme_searched(followed: Path) -> None:
    assert json.loads((followed / "best.json").read_text())["study"]["name"] == "mnist-fashion"


@pytest.mark.slow
@reader_of("docs/bring-your-own.md")
def test_exported_config_is_of_the_study_file_that_was_searched(followed: Path) -> None:
    assert json.loads((followed / "wine.json").read_text())["study"]["source"].endswith("wine.py")


@pytest.mark.slow
@reader_of("README.md")
def test_the_loop_of_ones_own_has_the_loss_that_a_search_has(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(followed)
    shown: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks("README.md", "python"):
        exec(compile(block.text, "a block of the README", "exec"), shown)
    model, study = shown["model"], load_study("wine.py")
    loaded = load_data(study, followed)
    (splits,) = loaded.splits
    rows = torch.arange(0, len(splits.train), 2)
    raw = study.tasks[0].data(followed)
    part, given = splits.train.rows(rows), divide(raw, study.tasks[0].strata(raw), study.split_seed)[0].rows(rows)
    labels = {"grower": given.labels["grower"], "alcohol": given.labels["alcohol"].float()}
    x = dict.fromkeys(model.tasks, given.inputs.float())
    weights = torch.tensor([model.config["task_weights"][task] for task in study.task_names])
    searched = (task_losses(loaded, model.model, [part], torch.float32) * weights).sum()
    assert float(shown["loss"](model.model(x), labels).detach()) == pytest.approx(float(searched.detach()), rel=1e-5)
    assert torch.allclose(shown["alcohol"].detach().mean(), raw.test.labels["alcohol"].float().mean(), atol=1.5)


def test_two_commands_do_their_own_setup() -> None:
    (run,), (test,) = blocks("README.md", "sh", "run"), blocks("README.md", "sh", "test")
    assert run.text == "pip install . && mtlsearch run --trials 100\n"
    assert test.text == "pip install '.[test]' && pytest\n"


# Commands.

COMMANDS = "docs/commands.md"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The script that writes docs/commands.md."""
    spec = importlib.util.spec_from_file_location("write_commands", ROOT / "docs" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_commands_is_what_would_be_written(writer: ModuleType) -> None:
    assert text_of(COMMANDS) == writer.page(), "write it again: python docs/commands.py"


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    listed = re.findall(r"^\|[^|]*\| \[`(\w+)`\]\(#\1\) \|", text_of(COMMANDS), re.MULTILINE)
    assert listed == list(main.commands)


def command_options(command: click.Command) -> set[str]:
    """The long names of a command's own options."""
    names = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    }
    return names - {"--help"}


def section(name: str) -> str:
    """A command's section of the page."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## )", text_of(COMMANDS), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_options_are_those_that_the_page_lists(name: str) -> None:
    assert set(re.findall(r"`(--[a-z-]+)", section(name))) == command_options(main.commands[name])


def test_shared_options_name_the_commands_that_take_them() -> None:
    *_, shared = tables(COMMANDS, "option")
    for options, _, _, takers in shared:
        for name in re.findall(r"`(\w+)`", takers):
            assert set(re.findall(r"`(--[a-z-]+)", options)) <= command_options(main.commands[name])


# DESIGN's contract, by command: what later work may add to and not take from.
CONTRACT = {
    "run": "--trials --storage --name --data --device --seed --sampler --pruner --score --epochs --timeout"
    " --threads --precision --set --no-confirm --quiet --json --artifacts",
    "studies": "",
    "best": "--storage --name --search --json",
    "export": "--storage --name --output --checkpoint --search --artifacts",
    "trials": "--storage --name --format --output",
    "train": "--data --device --seed --output --study --json",
    "verify": "--data --device --study --json",
    "predict": "--study --json",
    "dashboard": "--storage --host --port",
    "compare": "--methods --trials --seeds --json",
    "init": "--csv --targets --out",
    "group": "--seeds --top --resplit --json",
    "serve": "--storage --host --port --token-file --studies --devices --at-once --folder --log-format",
    "submit": "--server --trials --wait --priority --key --token-file --json",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_options_of_the_contract_are_accepted(name: str) -> None:
    assert set(CONTRACT[name].split()) <= command_options(main.commands[name])


def test_results_are_described_of_every_command_that_prints_json(writer: ModuleType) -> None:
    described = {name for names in writer.RESULTS for name in names}
    assert described == {name for name, c in main.commands.items() if "--json" in command_options(c)}
    assert set(writer.CONFIG) == set(schema()["properties"])


@pytest.mark.slow
@reader_of("docs/evidence.md")
def test_json_results_have_the_keys_that_the_page_lists(
    followed: Path, writer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(followed)
    Image.fromarray(np.zeros((12, 12), np.uint8)).save("picture.png")
    model = ("best.safetensors", "picture.png")
    arguments: dict[str, tuple[str, ...]] = {
        "run": ("digits", "--no-confirm", *SHORT["run"]),
        "best": ("digits",),
        "confirm": ("digits", *SHORT["confirm"]),
        "compare": ("digits", "--methods", "tuned", *SHORT["compare"]),
        "group": ("digits", *SHORT["group"]),
        "train": ("best.json", "--epochs", "1", "--threads", "1"),
        "verify": ("best.json", "--threads", "1"),
        "predict": model,
        "explain": (*model, "-o", "why.png"),
        "studies": (),
    }
    for names, (_, listed) in writer.RESULTS.items():
        if "submit" in names:
            assert set(listed) == set(SearchView.model_fields)  # what a server gives: tests/service
            continue
        for name in names:
            found = done(name, *arguments[name], "--json").json
            keys = set(found[0] if isinstance(found, list) else found)
            assert keys <= set(listed), name
            assert keys == set(listed) or listed is writer.CONFIG, name


def test_shipped_studies_are_those_that_the_page_lists_and_the_command_prints() -> None:
    listed = [[name.strip("`"), *about] for name, *about in table(COMMANDS, "study")]
    assert listed == [[name, s.description, s.needs] for name in shipped_studies() for s in [load_study(name)]]
    lines = done("studies").out.splitlines()
    assert all(any(name in line and needs in line for line in lines) for name, _, needs in listed)


def test_extras_are_those_that_the_page_lists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [row[0].strip("`") for row in table(COMMANDS, "extra")] == list(project["optional-dependencies"])


def test_metrics_of_each_kind_are_those_that_the_page_lists() -> None:
    listed = dict(table("docs/bring-your-own.md", "kind of task"))
    known = {}
    for kind in ("Classification", "Regression", "MultiLabel", "Depth"):
        task = getattr(mtlsearch, kind)
        known[f"`{kind}`"] = next(get_args(each.type) for each in fields(task) if each.name == "metric_name")
    named = {kind: tuple(re.findall(r"`(\w+)`", names)) for kind, names in listed.items()}
    assert {kind: names for kind, names in named.items() if names} == known


# Evidence.


def test_weighting_methods_are_those_that_the_page_lists() -> None:
    from mtlsearch.tuning.compare import KNOWN

    rows = table("docs/evidence.md", "methods")
    assert [name for row in rows for name in re.findall(r"`([a-z-]+)`", row[0])] == list(KNOWN)


# Tuned minus equal by seed, in the order of the rules that they fall under.
DIFFERENCES = [
    [0.01],
    [0.0002, -0.0003, 0.0004, -0.0001, 0.0001],
    [0.0101, 0.0099, 0.0103, 0.0098, 0.0100],
    [-0.0101, -0.0099, -0.0103, -0.0098, -0.0100],
    [-0.0060, 0.0010, -0.0045, -0.0005, -0.0030],
    [0.03, -0.02, 0.01, -0.01, 0.02],
]


# Shared minus alone by seed, in the order of the rules that they fall under.
ALONE = [
    [0.01],
    [0.0002, -0.0003, 0.0004, -0.0001, 0.0001],
    [0.0101, 0.0099, 0.0103, 0.0098, 0.0100],
    [-0.0101, -0.0099, -0.0103, -0.0098, -0.0100],
    [-0.0060, 0.0010, -0.0045, -0.0005, -0.0030],
    [0.0060, -0.0010, 0.0045, 0.0005, 0.0030],
    [0.03, -0.02, 0.01, -0.01, 0.02],
]


def verdict(differences: list[float], alone: float | list[float]) -> tuple[str, ...]:
    """The sentences on tuning and on sharing of two tasks whose accuracy is 0.9 at equal weights.

    `alone` is how much less it is alone, by seed.
    """
    equal = [0.9] * len(differences)
    tuned = [0.9 + difference for difference in differences]
    less = alone if isinstance(alone, list) else [alone] * len(differences)
    single = [value - by for value, by in zip(equal, less, strict=True)]
    confirmed = Confirmed(
        {"a": 0.6, "b": 0.4},
        tuned,
        tuned={"a": tuned, "b": tuned},
        twin={"a": equal, "b": equal},
        single={"a": single, "b": single},
    )
    found = judge([confirmed], {"a": TaskMetric(), "b": TaskMetric()}).to_dict()
    told = found["sentences"]
    weights = (line for line in told if "equal" in line or "tuned" in line or line.startswith("undecided:"))
    return next(weights, ""), told[0]  # a recommendation to train each task alone has no sentence on weights


def worded(sentence: str) -> str:
    """A pattern for the sentences that a row of the page stands for."""
    return re.sub(r"\\?…|\b[A-Z]\b", ".+", re.escape(sentence))


def test_words_of_the_verdict_are_those_that_the_page_lists() -> None:
    sharing, tuning = tables("docs/evidence.md", "rule")
    assert len(tuning) == len(DIFFERENCES)
    for (_, begins), differences in zip(tuning, DIFFERENCES, strict=True):
        sentence, _ = verdict(differences, alone=0.0)
        assert re.match(worded(begins), sentence), (begins, sentence)
    assert len(sharing) == len(ALONE)
    for (_, whole), alone in zip(sharing, ALONE, strict=True):
        _, sentence = verdict([0.0] * len(alone), alone)
        assert re.fullmatch(worded(whole), sentence), (whole, sentence)


# Paths and links.


def written_by_readers() -> set[str]:
    """The names of the Python files that the pages tell their reader to write."""
    named = {block.words[1] for page in PAGES for block in blocks(page) if len(block.words) > 1}
    return named | set(re.findall(r"[\w-]+\.py", " ".join(re.findall(r"--out \S+", "".join(map(text_of, PAGES))))))


@pytest.mark.parametrize("page", PAGES)
def test_files_and_folders_that_are_named_exist(page: str) -> None:
    text = text_of(page)
    named = set(re.findall(r"(?<![\w/])(?:[\w.-]+/)*[\w-]+\.py\b", text)) - written_by_readers()
    named |= set(re.findall(r"(?<=`)(?:[\w.-]+/)+(?=`)", text)) - {"mtlsearch.artifacts/", "mtlsearch.service/"}
    there = {path.name for folder in ("mtlsearch", "studies") for path in (ROOT / folder).rglob("*.py")}
    missing = [
        name
        for name in sorted(named)
        if not ((ROOT / name).exists() or (ROOT / "mtlsearch" / name).exists() or name in there)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_named_exist(page: str) -> None:
    for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text_of(page)):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text_of(page), flags=re.M | re.S)):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (PAGES[page].parent / file).resolve() if file else PAGES[page]
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_leads_to_every_page() -> None:
    links = set(re.findall(r"\]\(([^)#\s]+)\)", text_of("README.md")))
    assert set(PAGES) - {"README.md"} <= links


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_page_begins_with_what_its_reader_can_do(page: str) -> None:
    assert re.match(r"# .+\n\n(<!--.*-->\n\n)?After this page you can ", text_of(page))


# What the reader brings.


@pytest.mark.slow
@reader_of("docs/bring-your-own.md")
def test_readers_own_cnn_trains_in_the_population_as_alone(followed: Path) -> None:
    (block,) = blocks("docs/bring-your-own.md", "python", "cnn.py")
    assert len(block.text.splitlines()) < 40
    study = load_study(str(followed / "cnn.py"))
    read = study.tasks[0].data(followed)

    def pictures(directory: Path) -> Data:
        return read

    tasks = [replace(task, data=pictures) for task in study.tasks]
    study = replace(study, epochs=2, tasks=tasks)
    members = [config(study, [0.2, 0.8], dropout=0.4, channels=8), config(study, dropout=0.0, channels=8)]
    assert_population_equals_solo(study, members)


@pytest.mark.parametrize("name", ["encoder.py", "recurrent.py"])
def test_a_readers_transformer_and_lstm_are_short_and_share_a_lane(name: str, tmp_path: Path) -> None:
    (block,) = blocks("docs/bring-your-own.md", "python", name)
    assert len(block.text.splitlines()) < 40
    (tmp_path / name).write_text(block.text, encoding="utf-8")
    study = replace(load_study(str(tmp_path / name)), epochs=1)
    trainer = PopulationTrainer(double(study), 3, Eager(), pytest.fail)
    members = [config(study, dropout=rate) for rate in (0.0, 0.1, 0.5)]
    for number, member in enumerate(members):
        trainer.add(number, member)
    assert len(list(trainer.lanes)) == 1
    results = trainer.advance()
    for number, member in enumerate(members):
        assert_as_alone(trainer, number, member, results)


@pytest.mark.slow
@reader_of("docs/bring-your-own.md")
def test_what_the_reader_brings_trains_in_the_population(followed: Path) -> None:
    names = (
        "my_study",
        "wine",
        "wine_table",
        "cnn",
        "encoder",
        "recurrent",
        "sharing",
        "quantile",
        "series",
        "tweets",
        "chest",
        "scenes",
    )
    for name in names:
        trials = stored(followed / "mtlsearch.db", name)
        assert {trial.user_attrs["trained_on"]["trainer"] for trial in trials} == {"population"}, name


def test_changelog_tells_of_this_version() -> None:
    assert re.search(rf"^## {re.escape(mtlsearch.__version__)}\b", text_of("CHANGELOG.md"), re.MULTILINE)
