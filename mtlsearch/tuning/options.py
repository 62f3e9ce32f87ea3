"""The options of every command: name, type, default, bounds and help, in one place each.

A command's options are one frozen dataclass, put together from groups that commands share. The command line makes
its flags from these fields (`cli/options.py`), and `mtlsearch.search` takes its arguments from `RunOptions`. Importing
this module is cheap: no torch, no Optuna.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, dataclass_transform

from mtlsearch.errors import UsageError
from mtlsearch.files import DEFAULT_STORAGE, check_path, data_directory
from mtlsearch.limits import (
    CORES,
    LARGEST_SEED,
    MOST_EPOCHS,
    MOST_FOLDS,
    MOST_MEMBERS,
    MOST_SEARCHES,
    MOST_SEEDS,
    MOST_TRIALS,
    MOST_WORKERS,
)
from mtlsearch.wording import WEIGHT_CHOICES, shortened

if TYPE_CHECKING:
    from mtlsearch.study.study import Study

T = TypeVar("T")

LONGEST_S = 10**9
LARGEST_TRIAL = 10**9
LONGEST_TEXT = 1000  # letters of a list of devices, or of an address
LONGEST_NAME = 200  # letters: with what is added to it, a file's name and Optuna's column hold it

PRECISIONS = ("fp32", "tf32", "bf16")
MODEL_FORMATS = ("torch-export", "onnx")
SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("peers", "median", "hyperband", "halving", "none")
DEFAULT_METHODS = ("equal", "tuned", "uncertainty", "rlw", "dwa", "famo", "geometric")


class Flag(NamedTuple):
    """An option on the command line.

    `names` are its flags. `low` and `high` bound the value; with `above`, `low` itself is excluded. `choices` are all
    values. A `listed` option takes names separated by commas. One of `pairs` takes NAME=VALUE and may be repeated.
    `default` says in words what None stands for. A text has at most `longest` letters. `here` tells that `high`
    depends on the machine. With `auto`, that word stands for None. A `local` option is a matter of the machine that the
    command runs on, so that no client of a server can give it. A `repeated` option may be given several times.
    """

    names: tuple[str, ...]
    help: str
    low: float | None = None
    high: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    envvar: str | None = None
    metavar: str | None = None
    listed: bool = False
    pairs: bool = False
    default: str | None = None
    longest: int | None = None
    here: bool = False
    auto: bool = False
    local: bool = False
    repeated: bool = False


def option(value: Any, *names: str, **about: Any) -> Any:
    """A field of an options class: its default `value`, and the `Flag` that gives it another one."""
    return field(default=value, metadata={"flag": Flag(names, **about)})


@dataclass_transform(kw_only_default=True, field_specifiers=(option, field))
def options(kind: type[T]) -> type[T]:
    """Make a dataclass of a command's options with a constructor alone: each other method would slow `--help` down."""
    return dataclass(kw_only=True, repr=False, eq=False, match_args=False)(kind)


@dataclass_transform(kw_only_default=True, field_specifiers=(option, field))
def group(kind: type[T]) -> type[T]:
    """Make a dataclass of options that several commands share; it needs not even a constructor."""
    return dataclass(kw_only=True, repr=False, eq=False, match_args=False, init=False)(kind)


@group
class Options:
    """Checks every value against the bounds of its flag."""

    def __post_init__(self) -> None:
        for each in fields(self):
            flag: Flag | None = each.metadata.get("flag")
            if flag is not None and flag.auto and getattr(self, each.name) == "auto":
                setattr(self, each.name, None)
            value = getattr(self, each.name)
            if flag is not None:
                check(each.name, flag, value)
            if isinstance(value, Path):
                check_path(value)


def check(name: str, flag: Flag, value: Any) -> None:
    """Raise UsageError where the value of option `name` lies outside its bounds."""
    if value is None:
        return
    if flag.longest is not None and not (0 < len(value) <= flag.longest and is_text(value)):
        rule = f"{name} must be 1 to {flag.longest} letters of Unicode"
        raise UsageError(f"{rule}, but got {len(value)} letters: {shortened(value, 60)!r}")
    if flag.choices and value not in flag.choices:
        raise UsageError(f"{name} must be {', '.join(flag.choices)}, but got {value!r}")
    if flag.low is not None and not (value > flag.low if flag.above else value >= flag.low):
        rule = f"above {flag.low}" if flag.above else f"{flag.low} or more"
        raise UsageError(f"{name} must be {rule}, but got {shortened(value, 60)}")
    if flag.high is not None and not value <= flag.high:
        here = " on this machine" if flag.here else ""
        raise UsageError(f"{name} must be {flag.high} or less{here}, but got {shortened(value, 60)}")


def is_text(text: str) -> bool:
    """Whether a text can be stored: a null cannot, nor a lone surrogate, as of an argument that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


@group
class StoreOptions(Options):
    """The store to use."""

    storage: str = option(DEFAULT_STORAGE, "--storage", help="The store's URL.", envvar="MTLSEARCH_STORAGE", local=True)


@group
class RecordOptions(StoreOptions):
    """One study of a store."""

    name: str | None = option(
        None,
        "--name",
        help="The study's name in the store.",
        longest=LONGEST_NAME,
        default="the shipped name or the file's stem",
    )


@group
class StudyOptions(RecordOptions):
    """A study of a store by its name there, by its shipped name, or by its file."""

    study: str | None = None

    @property
    def wanted(self) -> str | None:
        """The study's name in the store, None for the latest study there."""
        if self.name or self.study is None:
            return self.name
        return Path(self.study).stem if self.study.endswith(".py") else self.study


@group
class ArtifactOptions(Options):
    """The folder of trained parameters."""

    artifacts: str | Path | None = option(
        None, "--artifacts", help="The folder of trained parameters.", default="beside a SQLite store", local=True
    )

    @property
    def artifacts_path(self) -> Path | None:
        return None if self.artifacts is None else Path(self.artifacts)


@group
class DataOptions(Options):
    """Where the data lie."""

    data: str | Path | None = option(
        None, "--data", help="The data directory.", envvar="MTLSEARCH_DATA", default="the user's cache", local=True
    )

    @property
    def directory(self) -> Path:
        """The data directory."""
        return data_directory(None if self.data is None else Path(self.data))


@group
class DeviceOptions(DataOptions):
    """The data, the device and the CPU threads of a command that trains."""

    device: str = option("auto", "--device", help="auto, cpu, cuda or cuda:N.")
    threads: int | None = option(
        None,
        "--threads",
        help="CPU threads, up to the cores. auto: what a study's first run measured to be fastest.",
        low=1,
        high=CORES,
        here=True,
        auto=True,
        default="auto",
    )


@group
class WorkerOptions(DeviceOptions):
    """Workers that train instead of this process: on several devices of this machine, or on a Ray cluster."""

    devices: str | None = option(
        None,
        "--devices",
        help="Train in a process for each device of this machine: all, cuda:0,cuda:1, or cpu*2.",
        longest=LONGEST_TEXT,
        default="train in this process",
        local=True,
    )
    ray: str | None = option(
        None,
        "--ray",
        help="Train on a Ray cluster: local starts one here, auto takes the running one, or ray://HOST:10001.",
        longest=LONGEST_TEXT,
        default="no cluster",
        local=True,
    )
    workers: int | None = option(
        None,
        "--workers",
        help="Workers on the Ray cluster.",
        low=1,
        high=MOST_WORKERS,
        default="as many as it has room for",
        local=True,
    )
    resources: Mapping[str, object] | None = option(
        None,
        "--resources",
        help="What each Ray worker takes, such as gpu=1 or cpu=2.",
        pairs=True,
        metavar="NAME=AMOUNT",
        local=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices is not None and self.ray is not None:
            raise UsageError("--devices is for this machine and --ray for a cluster: give one of them")
        if self.devices is not None and self.device != "auto":
            raise UsageError(f"--devices names all devices, but got --device {self.device} too: give one of them")
        for name in ("workers", "resources"):
            if getattr(self, name) is not None and self.ray is None:
                raise UsageError(f"--{name} is for the workers of a Ray cluster: name it with --ray")


@group
class PrecisionOptions(Options):
    """The precision of matrix products."""

    precision: str = option("fp32", "--precision", help="Precision of matrix products.", choices=PRECISIONS)


@group
class AskOptions(Options):
    """Which configs a search asks for, which trials it ends early, and how many it trains at once."""

    sampler: str = option("tpe", "--sampler", help=f"{', '.join(SAMPLERS)}, or an import path.")
    pruner: str = option("peers", "--pruner", help=f"{', '.join(PRUNERS)}, or an import path.")
    population: int | None = option(
        None,
        "--population",
        help="Trials in training at once; 1 trains them solo.",
        low=1,
        high=MOST_MEMBERS,
        default="what is measured to be faster: 16 or 1; on CUDA 16 or more",
    )


@group
class SeedsOptions(Options):
    """How often a config is trained again."""

    seeds: int = option(5, "--seeds", help="Fresh seeds for each config that is trained again.", low=1, high=MOST_SEEDS)


@group
class ResplitOptions(Options):
    """The divisions of the data that are trained on again."""

    resplit: int | None = option(
        None,
        "--resplit",
        help="New divisions of the data to train on, each with a fresh seed, instead of --seeds on one; 0 for none.",
        low=0,
        high=MOST_SEEDS,
        default="as many as --seeds, where a task has under 2,000 labelled rows whose test part was drawn; else 0",
    )


@options
class AgainOptions(ResplitOptions, SeedsOptions):
    """The configs and tasks that a confirmation trains again."""

    top: int = option(2, "--top", help="How many of the best configs are confirmed.", low=1, high=MOST_SEEDS)
    single: bool | None = option(
        None,
        "--single/--no-single",
        help="Train each task alone too.",
        default="up to 8 tasks",
    )

    @property
    def trainings(self) -> int:
        """Trainings of all tasks together: each config and its twin, with each seed."""
        return 2 * self.top * self.seeds


@group
class QuietOptions(Options):
    """How much is told."""

    quiet: bool = option(False, "--quiet", help="No progress on stderr.", local=True)


@options
class StudyPathOptions(Options):
    """The file of a user's study."""

    study_path: str | None = option(
        None, "--study", help="The study file of a user's config or model; its code runs.", local=True
    )


@group
class TrackingOptions(Options):
    """Where trials are told too."""

    mlflow: str | None = option(
        None, "--mlflow", help="Tell the trials to this MLflow tracking URI too.", metavar="URI", local=True
    )
    tensorboard: Path | None = option(
        None, "--tensorboard", help="Write the trials into this folder for TensorBoard too.", metavar="DIR", local=True
    )


@options
class RunOptions(
    TrackingOptions,
    QuietOptions,
    AgainOptions,
    ArtifactOptions,
    PrecisionOptions,
    AskOptions,
    WorkerOptions,
    RecordOptions,
):
    """Options of `mtlsearch run` and of `mtlsearch.search`."""

    study: "Study | str | Path | None" = field(default=None, kw_only=False)
    trials: int = option(
        100,
        "--trials",
        help="The total of the study's trials, earlier runs included.",
        low=1,
        high=MOST_TRIALS,
    )
    searches: int = option(
        1,
        "--searches",
        help="Searches of so many trials each, with seeds of their own: how much of the gain is one search's luck.",
        low=1,
        high=MOST_SEARCHES,
    )
    seed: int | None = option(
        None,
        "--seed",
        help="Seed of initialisation, batches, noise and sampler.",
        low=0,
        high=LARGEST_SEED,
        default="0",
    )
    score: str | Mapping[str, float] | None = option(
        None,
        "--score",
        help="mean or min over the tasks, pareto (each task by itself), a main task, or TASK=WEIGHT,TASK=WEIGHT.",
        default="the study's",
    )
    at_least: Mapping[str, object] | None = option(
        None,
        "--at-least",
        help="The metric that the best trial must reach in a task (at most that, where lower is better).",
        pairs=True,
        metavar="TASK=VALUE",
    )
    epochs: int | None = option(
        None, "--epochs", help="Epochs of a trial.", low=1, high=MOST_EPOCHS, default="the study's"
    )
    folds: int | None = option(
        None,
        "--folds",
        help="Cross-validate each trial on so many folds of train and validation.",
        low=2,
        high=MOST_FOLDS,
        default="the study's; without folds, one validation part",
    )
    weights: str | None = option(
        None,
        "--weights",
        help="How the task weights are searched: each, equal, labels (their number to a power), groups (by it).",
        choices=WEIGHT_CHOICES,
        default="the study's",
    )
    timeout: float | None = option(
        None, "--timeout", help="Seconds after which nothing new is trained.", low=0, high=LONGEST_S, above=True
    )
    fixed: Mapping[str, object] | None = option(
        None, "--set", help="Fix a dimension of the space.", pairs=True, metavar="NAME=VALUE"
    )
    asked_first: "Sequence[str | Path]" = option(
        (),
        "--from",
        help="An exported config to ask first; repeatable.",
        repeated=True,
        metavar="CONFIG.json",
        local=True,
    )
    narrow: str | None = option(
        None, "--narrow", help="Search the region of the best tenth of this study of the store.", metavar="STUDY"
    )
    confirm: bool = option(True, "--no-confirm", help="Do not train the best configs again after the search.")


@options
class ConfirmOptions(
    QuietOptions,
    AgainOptions,
    StudyPathOptions,
    ArtifactOptions,
    PrecisionOptions,
    WorkerOptions,
    StudyOptions,
):
    """Options of `mtlsearch confirm`."""

    settings: Mapping[str, object] | None = option(
        None,
        "--set",
        help="Confirm at another value of a hyperparameter, or of epochs, which the search need not have had.",
        pairs=True,
        metavar="NAME=VALUE",
    )
    trial: int | None = option(
        None,
        "--trial",
        help="Confirm this trial, as a question chose it, instead of the best ones.",
        low=0,
        high=LARGEST_TRIAL,
    )


@options
class CompareOptions(
    QuietOptions, ArtifactOptions, AskOptions, SeedsOptions, PrecisionOptions, WorkerOptions, StudyOptions
):
    """Options of `mtlsearch compare`."""

    methods: tuple[str, ...] = option(
        DEFAULT_METHODS,
        "--methods",
        help="Also: scale-invariant; and with mtlsearch[jd] upgrad, mgda, pcgrad, cagrad, nashmtl, imtlg,"
        " aligned-mtl, dualproj.",
        listed=True,
    )
    trials: int = option(
        50,
        "--trials",
        help="The total of each method's trials, earlier runs included.",
        low=1,
        high=MOST_TRIALS,
    )


@options
class GroupOptions(
    QuietOptions, ArtifactOptions, ResplitOptions, SeedsOptions, PrecisionOptions, DeviceOptions, StudyOptions
):
    """Options of `mtlsearch group`."""

    top: int = option(
        2, "--top", help="How many groupings are confirmed beside all together and all alone.", low=0, high=MOST_SEEDS
    )


@options
class TrainOptions(QuietOptions, StudyPathOptions, DeviceOptions):
    """Options of `mtlsearch train`."""

    what: str
    output: Path | None = option(None, "-o", "--output", help="The file for the trained parameters (safetensors).")
    seed: int | None = option(
        None, "--seed", help="Seed of the training.", low=0, high=LARGEST_SEED, default="the config's, or 0"
    )
    epochs: int | None = option(
        None, "--epochs", help="Epochs to train.", low=1, high=MOST_EPOCHS, default="the config's, or the study's"
    )


@group
class FormatOptions(Options):
    """The format of a table, and the file that it is written to."""

    format: str = option("table", "--format", help="Format of the output.", choices=("table", "csv", "json", "parquet"))
    output: Path | None = option(None, "-o", "--output", help="The file.", default="stdout")
    raw: bool = option(False, "--raw", help="CSV texts as they are stored; a spreadsheet may run one as a formula.")


@options
class PredictOptions(FormatOptions, StudyPathOptions):
    """Options of `mtlsearch predict`."""

    sort: str | None = option(
        None,
        "--sort",
        help="Sort the rows by this column, the largest first; not for tables on the screen.",
        metavar="COLUMN",
    )


@options
class ExplainOptions(StudyPathOptions):
    """Options of `mtlsearch explain`."""

    output: Path = option(Path("explained.html"), "-o", "--output", help="The HTML file, or for pictures a .png.")


@options
class VerifyOptions(StudyPathOptions, DeviceOptions):
    """Options of `mtlsearch verify`."""

    config: Path


@group
class SearchedOptions(Options):
    """Which best trial is meant."""

    search: bool = option(False, "--search", help="Optuna's best trial, before confirmation.")


@group
class QuestionOptions(SearchedOptions):
    """Which trial is asked for."""

    at_least: Mapping[str, object] | None = option(
        None,
        "--at-least",
        help="What the trial must reach in a task (at most that, where lower is better).",
        pairs=True,
        metavar="TASK=VALUE",
    )
    maximize: str | None = option(None, "--maximize", help="The trial that is best in this task.", metavar="TASK")
    prefer: str | Mapping[str, float] | None = option(
        None, "--prefer", help="The trade-off in which tasks weigh so much: TASK=WEIGHT,TASK=WEIGHT."
    )
    knee: bool = option(False, "--knee", help="The trial beyond which a task gains little for what others lose.")
    trial: int | None = option(None, "--trial", help="This trial.", low=0, high=LARGEST_TRIAL)


@options
class BestOptions(QuestionOptions, ArtifactOptions, StudyOptions):
    """Options of `mtlsearch best`."""

    every: bool = option(False, "--all", help="Show every task, where they are many.")


@options
class ExportOptions(QuestionOptions, StudyPathOptions, ArtifactOptions, StudyOptions):
    """Options of `mtlsearch export`."""

    output: Path | None = option(None, "-o", "--output", help="The JSON file.", default="stdout")
    grouping: bool = option(
        False, "--grouping", help="Write a study file for each group that `group` recommends, into the folder of -o."
    )
    checkpoint: Path | None = option(None, "--checkpoint", help="Write the trained parameters too (safetensors).")
    model: Path | None = option(
        None,
        "--model",
        help="Write the best model for use without mtlsearch: its parameters, and plain PyTorch for a shipped trunk.",
        metavar="DIR",
    )
    format: str | None = option(
        None, "--format", help="The program that --model adds.", choices=MODEL_FORMATS, default="none"
    )

    @property
    def definition(self) -> str | None:
        """The study file whose code may run, as it was named."""
        named = self.study is not None and self.study.endswith(".py")
        return self.study if self.study_path is None and named else self.study_path


@options
class TrialsOptions(TrackingOptions, FormatOptions, StudyOptions):
    """Options of `mtlsearch trials`."""

    to: str | None = option(
        None,
        "--to",
        help="Tell the trials to MLflow or TensorBoard instead: at --mlflow or --tensorboard, else where these look.",
        choices=("mlflow", "tensorboard"),
    )


@options
class ReportOptions(StudyOptions):
    """Options of `mtlsearch report`."""

    output: Path = option(Path("report.html"), "-o", "--output", help="The HTML file.")
    png: Path | None = option(None, "--png", help="Write every figure as a PNG too.", metavar="DIR")


@group
class AddressOptions(Options):
    """Where a server listens."""

    host: str = option("127.0.0.1", "--host", help="The address to listen on.", longest=253)
    port: int = option(8080, "--port", help="The port to listen on.", low=1, high=65535)


@options
class DashboardOptions(AddressOptions, ArtifactOptions, StoreOptions):
    """Options of `mtlsearch dashboard`."""
