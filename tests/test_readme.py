"""The README is run: its blocks in its order, its commands and options held against the command line."""

import json
import re
import shlex
import tomllib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pytest
import texts
import xrays
from commands import done, stored
from PIL import Image
from population_asserts import assert_population_equals_solo, config

import mtlsearch
from mtlsearch import Data
from mtlsearch.cli.main import main
from mtlsearch.study.study_file import load_study, shipped_studies

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# So that a command costs seconds; the last of repeated options counts.
FEW = ("--trials", "2", "--threads", "1", "--seeds", "2")
SHORT = {"run": (*FEW, "--epochs", "1", "--top", "1"), "compare": FEW}
DOWNLOADED = ("mnist-fashion", "mnist-fashion-separate")
# A reader does some thirty things, a minute or two on an idle core; a busy machine is no hang.
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


BLOCKS = [
    Block(tuple(words.split()), text)
    for words, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
]


def blocks(*words: str) -> list[Block]:
    return [block for block in BLOCKS if block.words == words]


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed `heading`."""
    found = re.search(rf"^\| {heading} \|.*\n\|[-|:]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found is not None
    rows = found[1].replace(r"\|", " ").splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def command_options(command: click.Command) -> set[str]:
    """The long names of a command's own options."""
    names = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    return names - {"--help"}


def documented_options() -> dict[str, set[str]]:
    """The options of each command by the README's table."""
    found: dict[str, set[str]] = {name: set() for name in main.commands}
    for options, commands, _ in table("option"):
        for command in commands.split(", "):
            found[command] |= set(re.findall(r"`(--[a-z-]+)", options))
    return found


def printed(text: str) -> set[str]:
    """The lines that a console block shows, without the commands and without what is left out."""
    lines = (line.rstrip() for line in text.splitlines())
    return {line for line in lines if line and line != "…" and not line.startswith("$ ")}


class Reader:
    """Does what the README says, in a folder of its own, with searches made short and small data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data").mkdir()
        xrays.write(folder / "data" / "chestmnist.npz")
        texts.write_tweets(folder / "data" / "tweets")

    def follow(self, block: Block) -> None:
        match block.words:
            case ("python", "notebook"):
                pass  # test_api runs it as one
            case ("python", name):
                (self.folder / name).write_text(block.text)
            case ("python",):
                exec(compile(block.text, "README.md", "exec"), {"__name__": "__main__"})
            case ("console",):
                said = "".join(self.command(command) for command in block.commands)
                if block.commands[0][0] == "init":  # tells nothing that changes from run to run
                    assert printed(block.text) <= printed(said)

    def command(self, words: list[str]) -> str:
        """Do a command; what it said."""
        name, *rest = words
        if name == "predict" and rest[1].endswith(".png"):
            self.make_picture(rest[1])
        if name in SHORT:
            if not rest or rest[0].startswith("--") or rest[0] in DOWNLOADED:
                # `digits` under the default study's name: neither downloads nor minutes.
                rest = ["digits", "--name", "mnist-fashion", *(rest[1:] if rest[0] in DOWNLOADED else rest)]
            rest[1:1] = (
                "--population",
                "2",
            )  # more slots than trials would be empty, and computed all the same
            rest += SHORT[name]
        outcome = done(name, *rest)
        return outcome.out + outcome.err

    def make_picture(self, name: str) -> None:
        tasks = json.loads((self.folder / "best.json").read_text())["tasks"]
        shape = next(iter(tasks.values()))["input_shape"]
        Image.fromarray(np.zeros(shape, np.uint8)).save(self.folder / name)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has done everything that the README shows."""
    folder = tmp_path_factory.mktemp("reader")
    reader = Reader(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MTLSEARCH_DATA", str(folder / "data"))
        patch.delenv("MTLSEARCH_STORAGE", raising=False)
        for block in BLOCKS:
            reader.follow(block)
    return folder


@pytest.mark.slow
def test_blocks_run_in_the_readmes_order_and_leave_the_files_they_name(followed: Path) -> None:
    named = {
        word
        for block in blocks("console")
        for command in block.commands
        for before, word in pairwise(command)
        if before in ("-o", "--checkpoint", "--out")
    }
    assert named >= {"best.json", "best.safetensors", "report.html", "wine_table.py", "why.png", "why.html"}
    assert [name for name in sorted(named) if not (followed / name).stat().st_size] == []


@pytest.mark.slow
def test_exported_files_are_of_the_study_that_the_readme_searched(followed: Path) -> None:
    assert json.loads((followed / "best.json").read_text())["study"]["name"] == "mnist-fashion"
    assert json.loads((followed / "wine.json").read_text())["study"]["source"].endswith("wine.py")


def test_two_commands_do_their_own_setup() -> None:
    (run,), (test,) = blocks("sh", "run"), blocks("sh", "test")
    assert run.text == "pip install . && mtlsearch run --trials 100\n"
    assert test.text == "pip install '.[test]' && pytest\n"


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    documented = [re.match(r"`mtlsearch (\w+)", row[0]) for row in table("command")]
    assert [found and found[1] for found in documented] == list(dict.fromkeys(f and f[1] for f in documented))
    assert {found[1] for found in documented if found} == set(main.commands)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_options_are_those_that_the_readme_lists(name: str) -> None:
    assert documented_options()[name] == command_options(main.commands[name])


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
}


@pytest.mark.parametrize("name", CONTRACT)
def test_options_of_the_contract_are_accepted(name: str) -> None:
    assert set(CONTRACT[name].split()) <= command_options(main.commands[name])


def test_modules_and_test_files_that_are_named_exist() -> None:
    written = {block.words[1] for block in BLOCKS if block.words[:1] == ("python",) and len(block.words) > 1}
    written |= set(re.findall(r"--out ([\w.]+)", README))
    named = set(re.findall(r"\b(?:\w+/)?\w+\.py\b", README)) - written
    there = {path.name for folder in ("mtlsearch", "studies") for path in (ROOT / folder).rglob("*.py")}
    assert [name for name in sorted(named) if not ((ROOT / name).is_file() or name in there)] == []
    assert len(named) > 10


def test_shipped_studies_are_those_that_the_readme_lists_and_the_command_prints() -> None:
    listed = [[name.strip("`"), *about] for name, *about in table("study")]
    assert listed == [
        [name, s.description, s.needs] for name in shipped_studies() for s in [load_study(name)]
    ]
    lines = done("studies").out.splitlines()
    assert all(any(name in line and needs in line for line in lines) for name, _, needs in listed)


def test_extras_are_those_that_the_readme_lists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [row[0].strip("`") for row in table("extra")] == list(project["optional-dependencies"])


def test_weighting_methods_are_those_that_the_readme_lists() -> None:
    from mtlsearch.tuning.compare import KNOWN

    assert [name for row in table("methods") for name in re.findall(r"`([a-z-]+)`", row[0])] == list(KNOWN)


@pytest.mark.slow
def test_readers_own_cnn_trains_in_the_population_as_alone(followed: Path) -> None:
    (block,) = blocks("python", "cnn.py")
    assert len(block.text.splitlines()) < 40
    study = load_study(str(followed / "cnn.py"))
    read = study.tasks[0].data(followed)

    def pictures(directory: Path) -> Data:
        return read

    tasks = [replace(task, data=pictures) for task in study.tasks]
    study = replace(study, epochs=2, tasks=tasks)
    members = [config(study, [0.2, 0.8], dropout=0.4, channels=8), config(study, dropout=0.0, channels=8)]
    assert_population_equals_solo(study, members)


@pytest.mark.slow
def test_what_the_reader_brings_trains_in_the_population(followed: Path) -> None:
    for name in ("wine_table", "cnn", "sharing", "series", "tweets", "chest", "scenes"):
        trials = stored(followed / "mtlsearch.db", name)
        assert {trial.user_attrs["trained_on"]["trainer"] for trial in trials} == {"population"}, name


def test_changelog_tells_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(mtlsearch.__version__)}\b", changelog, re.MULTILINE)
