"""Workers that are processes of this machine, one for each device, in fresh interpreters: CUDA survives no fork."""

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from mtlsearch.training.remote.messages import decoded, encoded
from mtlsearch.training.remote.parcel import Packed, Parcel
from mtlsearch.training.remote.shared_file import SharedFile
from mtlsearch.training.remote.transport import SILENT_S, Line, RemoteTraceback, Signs, WorkerDied

PROGRAM = "import sys; from mtlsearch.training.remote.hosted import main; main(int(sys.argv[1]))"
END_S = 5.0  # for a process to end after its pipe was closed


class ProcessLine:
    """A pipe to a worker's process."""

    def __init__(self, name: str, device: str, threads: int, precision: str) -> None:
        self.name, self.device, self.signs = name, device, Signs()
        self.ended: tuple[str, Any] | None = None  # the answer that was read, and waits to be taken
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, it lasts as long as the process
        self.pipe, theirs = Pipe()
        give_up_sending(self.pipe)
        with theirs:
            descriptor = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(descriptor)],
                stdin=subprocess.DEVNULL,
                stderr=self.errors,
                pass_fds=[descriptor],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            )
        self.call("about", device, threads, precision)

    def call(self, method: str, *arguments: Any) -> None:
        self.signs.begin()
        try:
            self.pipe.send_bytes(encoded((method, arguments)))
        except OSError:
            self.ended = "died", None

    def read(self) -> bool:
        """Read what has come; whether an answer is among it, or the process has ended."""
        try:
            while self.ended is None and self.pipe.poll():
                kind, value = decoded(self.pipe.recv_bytes())
                if kind == "beat":
                    self.signs.take(value)
                else:
                    self.ended = kind, value
        except (EOFError, OSError):
            self.ended = "died", None
        return self.ended is not None

    def answer(self) -> Any:
        assert self.ended is not None, "no call has ended"
        (kind, value), self.ended = self.ended, None
        if kind == "died":
            raise WorkerDied(self._end())
        self.signs.take(self.signs.pulse)
        self.signs.is_ready = True
        if kind == "failed":
            error, trace = value
            raise error from RemoteTraceback(trace)
        return value

    def _end(self) -> str:
        """How the process has ended, with the last line that it wrote to stderr."""
        try:
            status = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            return "its pipe is closed"
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].strip()}" if lines and status >= 0 else how

    def stop(self) -> None:
        try:
            self.pipe.send_bytes(encoded(("stop", ())))
        except OSError:
            return

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()
        self.errors.close()


def give_up_sending(pipe: Connection) -> None:
    """Let a message to a process that does not read fail, rather than wait for it for ever."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SILENT_S), 0))


class Processes:
    """Starts a process for each of `devices`, with so many CPU threads each."""

    def __init__(self, devices: Sequence[str], threads: int, precision: str) -> None:
        self.devices, self.threads, self.precision = list(devices), threads, precision
        self.lines: list[ProcessLine] = []
        self.files: dict[str, SharedFile] = {}
        self.started: Counter[str] = Counter()

    def places(self) -> Sequence[str]:
        return self.devices

    def start(self, place: str) -> ProcessLine:
        line = ProcessLine(self._name(place), place, self.threads, self.precision)
        self.lines.append(line)
        return line

    def _name(self, place: str) -> str:
        """The device, with a number where several workers share it."""
        if self.devices.count(place) == 1:
            return place
        taken = {line.name for line in self.lines if line.process.poll() is None}
        return next(name for i in range(1, len(self.lines) + 2) if (name := f"{place} #{i}") not in taken)

    def wait(self, lines: Sequence[Line], seconds: float) -> list[Line]:
        own = [line for line in lines if isinstance(line, ProcessLine)]
        ready = [line for line in own if line.read()]
        if ready:
            return list(ready)
        by_pipe: dict[Connection, ProcessLine] = {line.pipe: line for line in own}
        for pipe in wait([*by_pipe], seconds):
            line = by_pipe[pipe]  # type: ignore[index]
            if line.read():
                ready.append(line)
        return list(ready)

    def gone(self, line: Line) -> None:
        self.lines = [other for other in self.lines if other is not line]

    def parcel(self, packed: Packed) -> Parcel:
        file = SharedFile(packed)
        self.files[file.parcel.key] = file
        return file.parcel

    def discard(self, parcel: Parcel) -> None:
        self.files.pop(parcel.key).close()

    def close(self) -> None:
        for line in self.lines:
            if line.process.poll() is None:
                line.kill()
        for file in self.files.values():
            file.close()
        self.files.clear()
