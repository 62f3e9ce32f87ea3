"""The process of a worker that a driver has started on its machine: `main`.

Three threads share the pipe to the driver: the main one does the calls, one reads, and one tells each second that the
process lives. Where the driver is gone, the pipe ends, and so does the process.
"""

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from mtlsearch.training.remote.messages import decoded, encoded, portable

BEAT_S = 1.0
Call = tuple[str, tuple[Any, ...]]


def main(descriptor: int) -> None:
    """Serve the driver at the other end of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the driver prints is its own
    host = Host(Connection(descriptor))
    host.serve()


class Host:
    """Carries calls from a pipe to a `Worker`, and its answers back."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.lock, self.ready = pipe, Lock(), Event()
        self.calls: SimpleQueue[Call] = SimpleQueue()
        self.worker: Any = None
        self.stopped = False
        Thread(target=self._read, name="mtlsearch-calls", daemon=True).start()

    def serve(self) -> None:
        """Do the calls in their order; the first one makes the worker."""
        while True:
            method, arguments = self.calls.get()
            try:
                self._answer("done", self._do(method, arguments))
            except Exception as error:
                self._answer("failed", (portable(error), traceback.format_exc()))

    def _do(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if self.worker is None:
            from mtlsearch.training.remote.worker import Worker  # imports torch, which takes seconds

            self.worker = Worker(*arguments)
            if self.stopped:
                self.worker.stop()
            Thread(target=self._beat, name="mtlsearch-beat", daemon=True).start()
            return self.worker.about()
        return getattr(self.worker, method)(*arguments)

    def _answer(self, kind: str, value: Any) -> None:
        content = encoded((kind, value))
        with self.lock:
            self.pipe.send_bytes(content)

    def _read(self) -> None:
        try:
            while True:
                method, arguments = decoded(self.pipe.recv_bytes())
                if method != "stop":
                    self.calls.put((method, arguments))
                else:
                    self.stopped = True
                    if self.worker is not None:
                        self.worker.stop()
        except (EOFError, OSError):
            os._exit(1)

    def _beat(self) -> None:
        from mtlsearch.training.remote.worker import pulse

        waited = Event()
        while not waited.wait(BEAT_S):
            try:
                self._answer("beat", pulse())
            except OSError:
                os._exit(1)
