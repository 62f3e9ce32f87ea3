"""The actor of a Ray cluster that hosts a worker."""

import os
import traceback
from typing import Any

import ray

from mtlsearch.training.remote.messages import portable

SIGNS = "signs"  # the group of calls that run beside the work


class RayWorker:
    """The actor: it hosts a `Worker`. Its groups of calls run beside each other: the work, and the signs."""

    def __init__(self) -> None:
        self.worker: Any = None
        self.stopped = False

    def call(self, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """Do a call, and give its value or its error; the first one makes the worker."""
        try:
            if self.worker is None:
                return "done", self._begin(*arguments)
            return "done", getattr(self.worker, method)(*arguments)
        except Exception as error:
            return "failed", (portable(error), traceback.format_exc())

    def _begin(self, device: str, threads: int, precision: str) -> dict[str, str]:
        from mtlsearch.training.remote.worker import Worker

        self.worker = Worker(device, threads, precision)
        if self.stopped:
            self.worker.stop()
        about: dict[str, str] = self.worker.about()
        gpus = ray.get_gpu_ids()
        where = f"cuda:{gpus[0]}" if gpus else f"cpu {os.getpid()}"
        return {**about, "name": f"{about['host']} {where}"}

    @ray.method(concurrency_group=SIGNS)
    def pulse(self) -> tuple[str, int, int]:
        """A sign of what the worker is doing."""
        from mtlsearch.training.remote.worker import pulse

        return pulse()

    @ray.method(concurrency_group=SIGNS)
    def stop(self) -> None:
        """Let training end at its next step."""
        self.stopped = True
        if self.worker is not None:
            self.worker.stop()
