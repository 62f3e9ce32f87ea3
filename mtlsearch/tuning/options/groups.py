"""Options that several commands share."""

from collections.abc import Mapping
from pathlib import Path

from mtlsearch.errors import UsageError
from mtlsearch.files import DEFAULT_STORAGE, data_directory
from mtlsearch.limits import CORES, MOST_MEMBERS, MOST_SEEDS, MOST_WORKERS
from mtlsearch.tuning.options.flags import Options, group, option, options

LARGEST_TRIAL = 10**9
LONGEST_TEXT = 1000  # letters of a list of devices, or of an address
LONGEST_NAME = 200  # letters: with what is added to it, a file's name and Optuna's column hold it
PRECISIONS = ("fp32", "tf32", "bf16")
SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("peers", "median", "hyperband", "halving", "none")


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
        default="train in this process; a long run on a CPU starts workers where that is faster",
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
        None, "--mlflow", help="Send the trials to this MLflow tracking URI too.", metavar="URI", local=True
    )
    tensorboard: Path | None = option(
        None, "--tensorboard", help="Write the trials into this folder for TensorBoard too.", metavar="DIR", local=True
    )


@group
class FormatOptions(Options):
    """The format of a table, and the file that it is written to."""

    format: str = option("table", "--format", help="Format of the output.", choices=("table", "csv", "json", "parquet"))
    output: Path | None = option(None, "-o", "--output", help="The file.", default="stdout")
    raw: bool = option(False, "--raw", help="CSV texts as they are stored; a spreadsheet may run one as a formula.")


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


@group
class AddressOptions(Options):
    """Where a server listens."""

    host: str = option("127.0.0.1", "--host", help="The address to listen on.", longest=253)
    port: int = option(8080, "--port", help="The port to listen on.", low=1, high=65535)
