"""The options of commands that train: `run`, `confirm`, `compare`, `group`, `train` and `verify`."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from mtlsearch.limits import LARGEST_SEED, MOST_EPOCHS, MOST_FOLDS, MOST_SEARCHES, MOST_SEEDS, MOST_TRIALS
from mtlsearch.tuning.options.flags import option, options
from mtlsearch.tuning.options.groups import (
    LARGEST_TRIAL,
    AgainOptions,
    ArtifactOptions,
    AskOptions,
    DeviceOptions,
    PrecisionOptions,
    QuietOptions,
    RecordOptions,
    ResplitOptions,
    SeedsOptions,
    StudyOptions,
    StudyPathOptions,
    TrackingOptions,
    WorkerOptions,
)
from mtlsearch.wording import WEIGHT_CHOICES

if TYPE_CHECKING:
    from mtlsearch.study.study import Study

LONGEST_S = 10**9
DEFAULT_METHODS = ("equal", "tuned", "uncertainty", "rlw", "dwa", "famo", "geometric")


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
        help=(
            "mean, min or log_error over the tasks, pareto (each task by itself), a main task, or"
            " TASK=WEIGHT,TASK=WEIGHT."
        ),
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


@options
class VerifyOptions(StudyPathOptions, DeviceOptions):
    """Options of `mtlsearch verify`."""

    config: Path
