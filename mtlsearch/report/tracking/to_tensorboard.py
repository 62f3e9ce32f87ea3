"""TensorBoard: a folder of events for each trial, below one for the study."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlsearch.errors import UsageError
from mtlsearch.report.tracking.tracker import Values

PLAIN = (bool, int, float, str)


class TensorboardTracker:
    """Events below `folder`/STUDY: `trial-0007` for a trial, and the verdict beside them."""

    def __init__(self, folder: Path, study: str) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise UsageError("TensorBoard is not installed: pip install 'mtlsearch[tensorboard]'") from error
        self.event, self.summary, self.writer = Event, Summary, EventFileWriter
        self.folder = folder / study.replace("/", "-").lstrip(".")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--tensorboard {folder} cannot be written: {error.strerror or error}") from error
        self.writers: dict[int, Any] = {}

    def begun(self, number: int, params: Mapping[str, Any], weights: Mapping[str, float]) -> None:
        from tensorboard.plugins.hparams import summary_v2

        self.writers[number] = self.writer(str(self.folder / f"trial-{number:04d}"))
        known = {name: value if isinstance(value, PLAIN) else str(value) for name, value in params.items()}
        self._add(number, self.event(wall_time=time.time(), summary=summary_v2.hparams_pb(known)))
        self._values(number, {f"weight/{task}": weight for task, weight in weights.items()}, 0)

    def epoch(self, number: int, epoch: int, values: Values) -> None:
        self._values(number, values, epoch)

    def ended(self, number: int, state: str, values: Values, reason: str | None) -> None:
        self._values(number, {f"best/{name}": value for name, value in values.items()}, 0)
        told = state if reason is None else f"{state}: {reason}"
        self._add(number, self._text("state", told))
        self.writers.pop(number).close()

    def concluded(self, verdict: Mapping[str, Any]) -> None:
        writer = self.writer(str(self.folder))
        writer.add_event(self._text("verdict", "\n\n".join(map(str, verdict["lines"]))))
        writer.close()

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def _values(self, number: int, values: Values, step: int) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        shown = [self.summary.Value(tag=name, simple_value=value) for name, value in finite.items()]
        summary = self.summary(value=shown)
        self._add(number, self.event(wall_time=time.time(), step=step, summary=summary))

    def _text(self, tag: str, text: str) -> Any:
        from tensorboard.plugins.text import metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        about = metadata.create_summary_metadata(display_name=tag, description="")
        value = self.summary.Value(tag=tag, metadata=about, tensor=make_tensor_proto([text]))
        return self.event(wall_time=time.time(), summary=self.summary(value=[value]))

    def _add(self, number: int, event: Any) -> None:
        self.writers[number].add_event(event)
