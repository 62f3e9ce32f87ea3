"""Write docs/commands.md from the command line itself: `python docs/commands.py`.

`page` gives the whole text; tests/test_docs.py fails where the file differs from it. A new command, option, default or
study needs nothing here. A command with `--json` needs an entry in `RESULTS`, an extra one in `EXTRAS`.
"""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from mtlsearch.cli.interrupt import INTERRUPTED
from mtlsearch.cli.main import GROUPS, main
from mtlsearch.errors import MtlsearchError, UsageError
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.study.study_file import load_study

PAGE = Path(__file__).with_suffix(".md")

Cells = tuple[str, str, str]  # an option's names, help and default
Takers = dict[Cells, list[str]]  # the commands that take an option in the same form

HEAD = f"""\
# Commands

<!-- Written by `python docs/commands.py`: edit that file, or the help texts of the commands. -->

After this page you can call every command, and read what it gives back. `mtlsearch COMMAND --help` tells the same of
one command. The pages on [your own data](bring-your-own.md), [evidence](evidence.md), [the store](store.md) and
[speed](speed.md) say when to use which.

{{commands}}

## What holds for all commands

**Results** go to stdout, progress and notices to stderr.

**Errors** are one line that begins with `mtlsearch: ` and says what to do next.

| exit status | means |
|---:|---|
| 0 | done |
| {MtlsearchError.exit_status} | failed; of `verify` also: a metric differs |
| {UsageError.exit_status} | wrong usage |
| {INTERRUPTED} | interrupted by Ctrl-C or SIGTERM; the same command goes on |

**Settings** come from the option, else from the environment variable, else from the study file, else from the default.

{{environment}}

**STUDY** is the name of a [shipped study](#shipped-studies), or the path of a study file. Commands that only read the
store also take the name that the study has there. Without STUDY, `run` takes `mnist-fashion`, or `digits` where the
pictures can be neither found nor downloaded. Other commands take the latest study of the store, and name it on stderr.

**A study file is code.** It runs only where its path is named, as STUDY or with `--study`.
"""

# The exported config, which several commands give: its keys, as in mtlsearch/store/config.schema.json.
CONFIG = {
    "format": '`"mtlsearch/config/1"`',
    "study": "its name in the store, its source, and the SHA-256 of its file",
    "trial": "the trial's number; null where no trial was stored",
    "score": "its kind, and its value on validation",
    "task_weights": "by task; their sum is 1",
    "units": "by task: the unit of its loss, by which training divides it",
    "raw_task_weights": "by task: its weight divided by its unit, for losses as they are",
    "at_least": "by task: the metric that the best trial must reach, where there is one",
    "alone": "the task, where it is trained alone: the config knows no other",
    "hyperparameters": "by name",
    "validation": "`{task: {metric: value}}` at the best epoch",
    "test": "the same on the test split, where it was scored: by `train` and by confirmation",
    "training": "epochs, seeds, batch size, device, threads, precision, trainer",
    "tasks": "by task: its kind, metric, classes, and the shapes of its input and output",
    "table": "how a row of the study's table becomes an input, where it has one",
    "text": "how a text becomes an input, where the study has texts",
    "pretrained": "the SHA-256 of the parameters that all trials share, where some are frozen or adapted",
    "provenance": "versions, time, store (its password masked), and the SHA-256 of each task's data",
    "folds": "of a cross-validated trial: its score, and each metric, on every fold at the best epoch",
    "parameters": "in a study with folds: the data and the epochs on which the exported parameters are trained",
    "confirmation": "after confirmation: which configs were trained again, with which seeds",
    "verdict": "after confirmation: its kind, sentences and intervals",
    "searches": "after `run --searches K`: the gain over searches, the share of luck, and each search's winner",
    "test_scorings": "after confirmation: how often the test split was scored",
}

# What --json prints, by command.
RESULTS = {
    ("run", "best", "confirm", "train"): ("The exported config, as `export` writes it:", CONFIG),
    ("compare",): (
        "The comparison:",
        {
            "format": '`"mtlsearch/comparison/1"`',
            "study": "its name in the store",
            "score": "the score's kind",
            "scoring": "its weights by task, and its margin",
            "trials": "of each method",
            "seeds": "with which each method's best config was trained again",
            "methods": "a list: of each method its test metrics, score, difference to equal weights, Δm and cost",
            "lines": "the sentences",
        },
    ),
    ("group",): (
        "The grouping:",
        {
            "format": '`"mtlsearch/grouping/1"`',
            "study": "its name in the store",
            "trial": "the trial whose hyperparameters were trained; null for the default ones",
            "hyperparameters": "by name",
            "seeds": "of the trainings that measure affinities, and of those of whole groupings",
            "divisions": "how many new divisions of the data each part trained on; 0 for none",
            "test_scorings": "how often the test split was scored",
            "tasks": "their names",
            "affinities": "a list: what each task gains from sharing with each other one, on validation",
            "best": "a list: the best grouping into 1, 2, … trunks, with the score that the affinities predict",
            "groupings": "a list: of each confirmed grouping its groups, test score, difference to all together, cost",
            "unit": "of the scores: a factor, and a word",
            "recommended": "the groups to train",
            "lines": "the sentences",
        },
    ),
    ("verify",): (
        "The comparison with the record:",
        {
            "agrees": "true or false",
            "rule": '`"bitwise"`, or `"tolerance"` where the machine or its settings differ',
            "metrics": "a list: of each metric the recorded value, the value now, and the difference that is allowed",
        },
    ),
    ("predict",): (
        "One object:",
        {"predictions": "a list: `input` names the example, `tasks` holds each task's label, labels or values"},
    ),
    ("explain",): (
        "The attributions:",
        {
            "study": "the study's name",
            "method": '`"integrated gradients"`',
            "inputs": "a list: of each input and task the prediction, and the attribution of each part of the input",
            "trunk": "how much of the trunk each task uses, and how alike the tasks use it; null without a trunk",
        },
    ),
    ("submit", "status", "stop"): (
        "The search as the server shows it (`status` without a SEARCH: a list of them):",
        {
            "id": "its number",
            "kind": "run, confirm or compare",
            "study": "what was submitted",
            "name": "the study's name in the store",
            "state": "queued, starting, running, stopping, done, failed or stopped",
            "reason": "why it failed, stopped or begins again",
            "options": "those that differ from the command's defaults",
            "priority": "higher ones begin first",
            "device": "the device that it runs on",
            "submitted": "when, as ISO 8601 in UTC",
            "began": "when its first process was started",
            "ended": "when it was done, failed or stopped",
            "trials": "those with an outcome of their own",
            "total": "how many it is to have; null for a confirmation",
            "best": "the best score",
            "curve": "the best score after each trial, at most 60 points; not in a list",
            "verdict": "in a sentence",
            "line": "the live line of its command",
            "seconds_left": "the time that its command expects to take",
        },
    ),
    ("studies",): (
        "A list of objects:",
        {
            "study": "the name to give to `run`",
            "tasks": "their names",
            "needs": "the data that it needs",
            "description": "in one line",
        },
    ),
}

EXTRAS = {
    "postgres": "stores in PostgreSQL, for searches by several machines",
    "jd": "the methods of `compare` that look at gradients (TorchJD)",
    "explain": "`explain` (Captum)",
    "medmnist": "the download of the data of `chest`",
    "text": "the download of the data of `tweets` from the Hugging Face hub",
    "parquet": "tables in Parquet files, `trials --format parquet`",
    "png": "`report --png` (Kaleido, which drives Chrome or Chromium)",
    "onnx": "`export --model DIR --format onnx`, and its check",
    "ray": "workers on a Ray cluster: `--ray`",
    "serve": "`serve` (FastAPI, uvicorn)",
    "mlflow": "`run --mlflow`, `trials --to mlflow`",
    "tensorboard": "`run --tensorboard`, `trials --to tensorboard`",
    "all": "all of these",
    "test": "what the tests and checks need",
}


def page() -> str:
    """The text of docs/commands.md."""
    shared = shared_options()
    parts = [
        HEAD.format(commands=command_table(), environment=environment_table()).rstrip(),
        *(section(command, shared) for command in main.commands.values()),
        shared_section(shared),
        results_section(),
        studies_section(),
        extras_section(),
    ]
    return "\n\n".join(parts) + "\n"


def command_table() -> str:
    """Every command with its first sentence, in the groups of `--help`."""
    rows = [
        (group if command is commands[0] else "", f"[`{command.name}`](#{command.name})", summary(command))
        for group, commands in GROUPS.items()
        for command in commands
    ]
    return table(("", "command", "does"), rows)


def environment_table() -> str:
    """Every environment variable with its option and the commands that read it."""
    found: dict[tuple[str, str], list[str]] = {}
    for command in main.commands.values():
        for option in options(command):
            if option.envvar:
                found.setdefault((str(option.envvar), option.opts[-1]), []).append(named(command))
    rows = [(code(variable), code(option), ", ".join(commands)) for (variable, option), commands in found.items()]
    return table(("environment variable", "in place of", "in"), rows)


def section(command: click.Command, shared: Takers) -> str:
    """One command: usage, help, its own options, and the names of those that it shares."""
    usage = " ".join(["mtlsearch", str(command.name), "[OPTIONS]", *map(argument, arguments(command))])
    parts = [f"## {command.name}", f"```text\n{usage}\n```", prose(command)]
    own = [cells for cells in map(row, options(command)) if cells not in shared]
    common = [names(option) for option in options(command) if row(option) in shared]
    if own:
        parts.append(table(("option", "does", "default"), own))
    if common:
        parts.append(f"{'Also' if own else 'It takes'} {', '.join(common)}: see [below](#shared-options).")
    return "\n\n".join(parts)


def shared_options() -> Takers:
    """The options that several commands take in the same form, and the commands of each."""
    takers: Takers = {}
    for command in main.commands.values():
        for option in options(command):
            takers.setdefault(row(option), []).append(named(command))
    return {cells: commands for cells, commands in takers.items() if len(commands) > 1}


def shared_section(shared: Takers) -> str:
    rows = [(*cells, ", ".join(commands)) for cells, commands in shared.items()]
    return "## Shared options\n\n" + table(("option", "does", "default", "taken by"), rows)


def results_section() -> str:
    parts = ["## JSON results", "With `--json` a command prints one JSON value on stdout, in one line."]
    for commands, (head, keys) in RESULTS.items():
        parts += [
            f"**{', '.join(map(code, commands))}.** {head}",
            table(("key", "holds"), [(code(key), holds) for key, holds in keys.items()]),
        ]
    return "\n\n".join(parts)


def studies_section() -> str:
    found = {name: load_study(name) for name in shipped_studies()}
    rows = [(code(name), study.description, study.needs) for name, study in found.items()]
    return "## Shipped studies\n\n" + table(("study", "is", "needs"), rows)


def extras_section() -> str:
    head = "## Extras\n\nPackages that few need come with an extra: `pip install '.[NAME]'`.\n\n"
    return head + table(("extra", "for"), [(code(name), use) for name, use in EXTRAS.items()])


def row(option: click.Option) -> Cells:
    """An option as cells: its names with what it takes, its help with its bounds, its default."""
    called = names(option)
    if not option.is_flag:
        called = called.removesuffix("`") + f" {taken(option)}`"
    told = [part.rstrip(".") for part in (option.help or "", bounds(option)) if part]
    return called, "".join(f"{part}. " for part in told).rstrip(), default(option)


def names(option: click.Option) -> str:
    return ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))


def taken(option: click.Option) -> str:
    """The word for an option's value."""
    if option.metavar:
        return option.metavar
    words = {
        click.Choice: "NAME",
        click.Path: "PATH",
        click.types.IntParamType: "N",
        click.types.FloatParamType: "X",
    }
    return next((word for kind, word in words.items() if isinstance(option.type, kind)), "TEXT")


def bounds(option: click.Option) -> str:
    """The values that an option may have, where its type says so."""
    kind = option.type
    if isinstance(kind, click.Choice):
        *first, last = map(code, kind.choices)
        return f"{', '.join(first)} or {last}"
    if isinstance(kind, click.IntRange | click.FloatRange):
        low, high = kind.min, kind.max
        if high is not None:
            return f"Above {low} to {high}" if kind.min_open else f"From {low} to {high}"
        return f"Above {low:g}" if kind.min_open else f"{low:g} or more"
    return ""


def default(option: click.Option) -> str:
    """An option's default: in words where it follows from something else, empty where there is none."""
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.to_info_dict()["default"]
    return "" if option.is_flag or option.multiple or value is None else code(str(value))


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def arguments(command: click.Command) -> list[click.Argument]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Argument)]


def argument(parameter: click.Argument) -> str:
    """An argument as a usage line shows it."""
    name = parameter.metavar or str(parameter.name).upper()
    name += "…" if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def summary(command: click.Command) -> str:
    return " ".join(prose(command).split("\n\n")[0].split())


def prose(command: click.Command) -> str:
    """A command's help text."""
    return inspect.cleandoc(command.help or "")


def named(command: click.Command) -> str:
    return code(str(command.name))


def code(text: str) -> str:
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
