"""The README is run: its blocks in its order, its commands and options held against the command line."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import mtlsearch
from mtlsearch.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MTLSEARCH = Path(sys.executable).with_name("mtlsearch")
# So that a search costs seconds; the last of repeated options counts.
SHORT = ("--trials", "2", "--epochs", "1", "--threads", "1")


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
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
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


class Reader:
    """Does what the README says, in a folder of its own, with searches made short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.environment.pop("MTLSEARCH_STORAGE", None)

    def follow(self, block: Block) -> None:
        match block.words:
            case ("python", "notebook"):
                pass  # test_api runs it as one
            case ("python", name):
                (self.folder / name).write_text(block.text)
            case ("python",):
                self.run(sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", block.text)
            case ("console",):
                for command in block.commands:
                    self.command(command)

    def command(self, words: list[str]) -> None:
        if words[0] == "predict":
            self.make_picture(words[2])
        if words[0] == "run":
            # `digits` under the default study's name: neither downloads nor minutes.
            named = [] if words[1].endswith(".py") else ["digits", "--name", "mnist-fashion"]
            words = ["run", *named, *words[1:], *SHORT]
        self.run(MTLSEARCH, *words)

    def run(self, *words: str | Path) -> None:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}"
        assert "Traceback" not in done.stderr

    def make_picture(self, name: str) -> None:
        tasks = json.loads((self.folder / "best.json").read_text())["tasks"]
        shape = next(iter(tasks.values()))["input_shape"]
        Image.fromarray(np.zeros(shape, np.uint8)).save(self.folder / name)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has done everything that the README shows."""
    folder = tmp_path_factory.mktemp("reader")
    reader = Reader(folder)
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
        if before in ("-o", "--checkpoint")
    }
    assert named >= {"best.json", "best.safetensors"}
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
}


@pytest.mark.parametrize("name", CONTRACT)
def test_options_of_the_contract_are_accepted(name: str) -> None:
    assert set(CONTRACT[name].split()) <= command_options(main.commands[name])


def test_modules_and_test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"\b(?:\w+/)?\w+\.py\b", README)) - {"wine.py"}
    folders = (ROOT, ROOT / "mtlsearch")
    assert [name for name in sorted(named) if not any((folder / name).is_file() for folder in folders)] == []
    assert len(named) > 10


def test_shipped_studies_that_are_named_exist() -> None:
    from mtlsearch.study import shipped_studies

    assert {"mnist-fashion", "digits"} <= set(re.findall(r"`([a-z-]+)`", README)) & set(shipped_studies())


def test_changelog_tells_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(mtlsearch.__version__)}\b", changelog, re.MULTILINE)
