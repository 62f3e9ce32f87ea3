"""The command line: parse, call the library, print. Heavy imports happen inside the command that needs them."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mtlsearch import __version__
from mtlsearch.errors import MtlsearchError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.progress import Progress
    from mtlsearch.store import Record

T = TypeVar("T")
PATH = click.Path(path_type=Path)
INTERRUPTED = 130
HELP_WIDTH = 110

storage_option = click.option(
    "--storage",
    default="sqlite:///mtlsearch.db",
    envvar="MTLSEARCH_STORAGE",
    show_default=True,
    show_envvar=True,
    help="The store's URL.",
)
name_option = click.option(
    "--name", help="The study's name in the store. [default: the shipped name or the file's stem]"
)
data_option = click.option(
    "--data",
    type=PATH,
    envvar="MTLSEARCH_DATA",
    show_envvar=True,
    help="The data directory. [default: the user's cache]",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
threads_option = click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: the cores]")
study_option = click.option(
    "--study", "study_path", help="The study file of a user's config or model; its code runs."
)
artifacts_option = click.option(
    "--artifacts", type=PATH, help="Where parameters are kept. [default: beside a SQLite store]"
)
seeds_option = click.option(
    "--seeds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Fresh seeds with which each confirmed config is trained again.",
)
top_option = click.option(
    "--top",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many of the best configs are confirmed.",
)
single_option = click.option(
    "--single/--no-single",
    default=None,
    help="Train each task alone too. [default: where there are at most 8 tasks]",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of matrix products.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


class Commands(click.Group):
    """Prints errors that a user can mend as one line, and ends with their status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MtlsearchError as error:
            click.echo(f"mtlsearch: {' '.join(str(error).split())}", err=True)
            sys.exit(error.exit_status)
        except BrokenPipeError:
            # The reader (head, say) has seen enough; writing the rest at exit would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("mtlsearch: interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH}
)
@click.version_option(__version__, prog_name="mtlsearch")
def main() -> None:
    """Find the task weights and hyperparameters of a multi-task PyTorch model, with evidence."""


def total_trials(context: click.Context, parameter: click.Parameter, value: int) -> int:
    if value < 1:
        raise click.BadParameter(f"a search needs 1 trial or more, but got {value}")
    return value


def assignments(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=") for value in values]
    for value, (name, equals, text) in zip(values, pairs, strict=True):
        if not (name and equals and text):
            raise click.BadParameter(f"it must be NAME=VALUE, but got {value!r}")
    return tuple((name, text) for name, _, text in pairs)


@main.command()
@click.argument("study", required=False)
@click.option(
    "--trials",
    type=int,
    default=100,
    show_default=True,
    callback=total_trials,
    help="The total of the study's trials, earlier runs included.",
)
@storage_option
@name_option
@data_option
@device_option
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of initialisation, batches, noise and sampler. [default: 0]"
)
@click.option("--sampler", default="tpe", show_default=True, help="tpe, random, gp, or an import path.")
@click.option(
    "--pruner",
    default="hyperband",
    show_default=True,
    help="hyperband, median, halving, none, or an import path.",
)
@click.option("--score", help="mean or min over the tasks. [default: the study's]")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of a trial. [default: the study's]")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), help="Seconds after which nothing new is trained."
)
@click.option(
    "--population",
    type=click.IntRange(1),
    help="Trials in training at once; 1 trains them solo. [default: what fits, at most 16 on a CPU]",
)
@threads_option
@precision_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=assignments,
    metavar="NAME=VALUE",
    help="Fix a dimension of the space.",
)
@artifacts_option
@click.option("--no-confirm", is_flag=True, help="Do not train the best configs again after the search.")
@seeds_option
@top_option
@single_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def run(
    as_json: bool,
    quiet: bool,
    no_confirm: bool,
    seeds: int,
    top: int,
    single: bool | None,
    data: Path | None,
    **values: Any,
) -> None:
    """Search STUDY (a shipped name or a file) until it has --trials trials; the same command goes on.

    Then the best configs are trained again with fresh seeds, and a verdict is given on their task weights.
    """
    from mtlsearch.confirm import Confirming
    from mtlsearch.run import RunOptions, run_search

    confirming = None if no_confirm else Confirming(seeds, top, single)
    options = RunOptions(data=data_directory(data), confirming=confirming, **values)
    config = interruptible(lambda *told: run_search(options, *told), options.trials, quiet)
    print_result(config, as_json)


@main.command()
@click.argument("study", required=False)
@storage_option
@name_option
@data_option
@device_option
@threads_option
@precision_option
@artifacts_option
@study_option
@seeds_option
@top_option
@single_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def confirm(
    as_json: bool, quiet: bool, seeds: int, top: int, single: bool | None, data: Path | None, **values: Any
) -> None:
    """Train the best configs of STUDY again with fresh seeds, and give a verdict; the same command goes on.

    Each is held against its twin of equal task weights, and against single-task training. A user's study is
    named by the path of its file, or with --study.
    """
    from mtlsearch.confirm import Confirming
    from mtlsearch.run import ConfirmOptions, confirm_command

    options = ConfirmOptions(data=data_directory(data), confirming=Confirming(seeds, top, single), **values)
    print_result(interruptible(lambda *told: confirm_command(options, *told), 0, quiet), as_json)


def interruptible(
    work: Callable[["Progress", Event], Mapping[str, Any]], total: int, quiet: bool
) -> Mapping[str, Any]:
    """Do `work`; the first Ctrl-C or SIGTERM stops it in order, the second at once."""
    from mtlsearch.progress import Progress
    from mtlsearch.trainer import Interrupted

    if "@" in os.environ.get("MTLSEARCH_STORAGE", ""):
        del os.environ[
            "MTLSEARCH_STORAGE"
        ]  # its password is not for the compilers and workers that torch starts
    stop = Event()
    with watched_signals(stop), Progress(total, quiet=quiet) as progress:
        try:
            return work(progress, stop)
        except Interrupted:
            progress.notice("interrupted; finished trials are in the store, the same command goes on")
            sys.exit(INTERRUPTED)


@contextmanager
def watched_signals(stop: Event) -> Iterator[None]:
    """Inside, the first Ctrl-C or SIGTERM sets `stop`, the second ends the process."""
    signals = (signal.SIGINT, signal.SIGTERM)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while told := os.read(reader, 1):
            if told[0] in signals and stop.is_set():
                os._exit(128 + told[0])
            if told[0] in signals:
                stop.set()

    thread = Thread(target=watch, name="mtlsearch-signals", daemon=True)
    thread.start()
    # Python runs a signal's handler when the main thread is back from C, where SQLite waits for a lock for up
    # to 30 s; so a thread reads the number that C writes at once, and the handler has nothing left to do.
    handlers = {number: signal.signal(number, lambda *_: None) for number in signals}
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)
        thread.join()
        os.close(reader)


@main.command()
@json_option
def studies(as_json: bool) -> None:
    """List the shipped studies, with what each needs."""
    from mtlsearch.show import show_rows
    from mtlsearch.study import load_study, shipped_studies

    found = {name: load_study(name) for name in shipped_studies()}
    rows = [(name, ", ".join(s.task_names), s.needs, s.description) for name, s in found.items()]
    columns = ["study", "tasks", "needs", "description"]
    if as_json:
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        show_rows(columns, rows)


@main.command()
@click.argument("study", required=False)
@storage_option
@name_option
@artifacts_option
@click.option("--search", "from_search", is_flag=True, help="Optuna's best trial, before confirmation.")
@json_option
def best(
    study: str | None,
    storage: str,
    name: str | None,
    artifacts: Path | None,
    from_search: bool,
    as_json: bool,
) -> None:
    """Show the best config of STUDY: task weights, hyperparameters, per-task metrics, and the verdict."""
    config = with_record(study, storage, name, artifacts, lambda record: best_config(record, from_search)[0])
    print_result(config, as_json)


@main.command()
@click.argument("study", required=False)
@storage_option
@name_option
@artifacts_option
@click.option("-o", "--output", type=PATH, help="The JSON file. [default: stdout]")
@click.option("--checkpoint", type=PATH, help="Write the trained parameters too (safetensors).")
@click.option("--search", "from_search", is_flag=True, help="Optuna's best trial, before confirmation.")
def export(
    study: str | None,
    storage: str,
    name: str | None,
    artifacts: Path | None,
    output: Path | None,
    checkpoint: Path | None,
    from_search: bool,
) -> None:
    """Export the best config of STUDY as JSON, and its trained parameters."""
    from mtlsearch.export import check_writable, write_text

    check_writable(output, checkpoint)

    def work(record: "Record") -> Mapping[str, Any]:
        config, holder, trial = best_config(record, from_search)
        if checkpoint is not None:
            from mtlsearch.models import read_model, save_model
            from mtlsearch.store import best_artifact

            state, _ = read_model(best_artifact(holder, trial))
            save_model(checkpoint, state, config)
        return config

    text = json.dumps(with_record(study, storage, name, artifacts, work), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)


@main.command()
@click.argument("study", required=False)
@storage_option
@name_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
)
@click.option("-o", "--output", type=PATH, help="The file. [default: stdout]")
def trials(study: str | None, storage: str, name: str | None, kind: str, output: Path | None) -> None:
    """Every trial of STUDY."""
    from mtlsearch.store import trials_frame
    from mtlsearch.tables import write_frame

    write_frame(with_record(study, storage, name, None, trials_frame), kind, output)


@main.command()
@click.argument("what", metavar="CONFIG.json|STUDY")
@click.option("-o", "--output", type=PATH, help="Write the trained parameters (safetensors).")
@data_option
@device_option
@click.option("--seed", type=click.IntRange(0), help="[default: the config's, or 0]")
@click.option("--epochs", type=click.IntRange(1), help="[default: the config's, or the study's]")
@threads_option
@study_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def train(
    what: str, output: Path | None, data: Path | None, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Train an exported config, or a study's default config; validation and test metrics."""
    from mtlsearch.export import check_writable
    from mtlsearch.models import save_model
    from mtlsearch.progress import described, notice
    from mtlsearch.retrain import train_command

    check_writable(output)

    def on_epoch(result: Any) -> None:
        if not quiet:
            notice(f"epoch {result.epoch + 1}: {described(result.validation)}")

    config, state = train_command(what, data_directory(data), on_epoch=on_epoch, **values)
    if output is not None:
        save_model(output, state, config)
    print_result(config, as_json)


@main.command()
@click.argument("config", type=PATH)
@data_option
@device_option
@threads_option
@study_option
@json_option
def verify(config: Path, data: Path | None, as_json: bool, **values: Any) -> None:
    """Train an exported config again and hold the result against its recorded metrics."""
    from mtlsearch.retrain import verify_command
    from mtlsearch.show import show_verification

    result = verify_command(config, data_directory(data), **values)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_verification(result)
    if not result["agrees"]:
        sys.exit(1)


@main.command()
@click.argument("model", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@study_option
@json_option
def predict(model: Path, inputs: tuple[Path, ...], study_path: str | None, as_json: bool) -> None:
    """Every task's prediction for INPUTS: pictures, .npy arrays, .csv tables."""
    from mtlsearch.models import read_model, restore, study_of
    from mtlsearch.predict import predict_files
    from mtlsearch.show import show_predictions

    state, config = read_model(model)
    module = restore(study_of(config, study_path), config, state, str(model))
    predictions = list(predict_files(module, config, inputs))
    if as_json:
        click.echo(json.dumps({"predictions": predictions}))
    else:
        show_predictions(predictions)


@main.command()
@storage_option
@artifacts_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def dashboard(storage: str, artifacts: Path | None, host: str, port: int) -> None:
    """Browse the store with optuna-dashboard."""
    from mtlsearch.dashboard import serve

    serve(storage, artifacts, host, port)


def best_config(record: "Record", from_search: bool) -> "tuple[Mapping[str, Any], Record, FrozenTrial]":
    """The best config of a record, and the record and trial that hold its parameters."""
    from mtlsearch.evidence import best_answer, outdated
    from mtlsearch.progress import notice

    answer = best_answer(record, from_search)
    told = None if from_search else outdated(record, answer[0])
    if told:
        notice(told)
    return answer


def with_record(
    study: str | None, storage: str, name: str | None, artifacts: Path | None, work: Callable[["Record"], T]
) -> T:
    """Do `work` on the record of a study, read-only; a study that was not named is told on stderr."""
    from mtlsearch.storage import open_storage
    from mtlsearch.store import artifacts_folder, find_record

    wanted = name or (None if study is None else Path(study).stem if study.endswith(".py") else study)
    with open_storage(storage, create=False) as store:
        record = find_record(store, wanted, artifacts_folder(storage, artifacts))
        if wanted is None:
            from mtlsearch.progress import notice

            notice(f"study {record.name}")
        return work(record)


def data_directory(chosen: Path | None) -> Path:
    """The data directory: the one that was named, else `mtlsearch` in the user's cache."""
    if chosen is not None:
        return chosen
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtlsearch"


def print_result(config: Mapping[str, Any], as_json: bool) -> None:
    """A config as JSON or as a table, on stdout."""
    if as_json:
        click.echo(json.dumps(config))
    else:
        from mtlsearch.show import show_config

        show_config(config)
