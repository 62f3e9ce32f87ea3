"""The options of commands that train nothing: `best`, `export`, `predict` and others."""

from pathlib import Path

from mtlsearch.tuning.options.flags import option, options
from mtlsearch.tuning.options.groups import (
    AddressOptions,
    ArtifactOptions,
    FormatOptions,
    QuestionOptions,
    StoreOptions,
    StudyOptions,
    StudyPathOptions,
    TrackingOptions,
)

MODEL_FORMATS = ("torch-export", "onnx")


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
        help="Send the trials to MLflow or TensorBoard instead: at --mlflow or --tensorboard, else where these look.",
        choices=("mlflow", "tensorboard"),
    )


@options
class ReportOptions(StudyOptions):
    """Options of `mtlsearch report`."""

    output: Path = option(Path("report.html"), "-o", "--output", help="The HTML file.")
    png: Path | None = option(None, "--png", help="Write every figure as a PNG too.", metavar="DIR")


@options
class DashboardOptions(AddressOptions, ArtifactOptions, StoreOptions):
    """Options of `mtlsearch dashboard`."""
