"""The trackers that options name, opened before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

from mtlsearch.report.tracking.tracker import Tracker

DEFAULT_FOLDER = Path("runs")  # where `tensorboard --logdir runs` looks


def trackers(mlflow: str | None, tensorboard: Path | None, study: str) -> Sequence[Tracker]:
    """The trackers of a study. Raises UsageError where one is not installed, or cannot be reached."""
    made: list[Tracker] = []
    if mlflow is not None:
        from mtlsearch.report.tracking.to_mlflow import MlflowTracker

        made.append(MlflowTracker(mlflow or None, study))
    if tensorboard is not None:
        from mtlsearch.report.tracking.to_tensorboard import TensorboardTracker

        made.append(TensorboardTracker(tensorboard, study))
    return made
