"""Workers that do their calls in this process, and seem to end them in any order, or to be lost."""

from collections.abc import Sequence
from random import Random
from typing import Any

from mtlsearch.training.remote.parcel import Packed, Parcel
from mtlsearch.training.remote.shared_file import SharedFile
from mtlsearch.training.remote.transport import Signs, WorkerDied
from mtlsearch.training.remote.worker import Worker


class InlineLine:
    """Leads to a worker here; an answer is seen after some looks at it."""

    def __init__(self, transport: "InlineWorkers", name: str) -> None:
        self.transport, self.name, self.device = transport, name, "cpu"
        self.signs = Signs(is_ready=True)
        self.worker: Worker | None = None
        self.outcome: Any = None
        self.looks = 0

    def call(self, method: str, *arguments: Any) -> None:
        self.looks = self.transport.random.randrange(4)
        try:
            if method == "advance":
                self.transport.lose_if_due(self)
            if self.worker is None:
                self.worker = Worker(*arguments)
                self.outcome = self.worker.about()
            else:
                self.outcome = getattr(self.worker, method)(*arguments)
        except Exception as error:
            self.outcome = error

    def answer(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def stop(self) -> None:
        """What is called here has ended already."""

    def kill(self) -> None:
        """There is no process."""


class InlineWorkers:
    """A transport of `count` workers, of which those that begin the epochs `lost` of all are lost in them."""

    threads = 1

    def __init__(self, count: int, random: Random, lost: Sequence[int] = ()) -> None:
        self.names, self.random, self.lost, self.epochs = [f"cpu #{i + 1}" for i in range(count)], random, set(lost), 0
        self.files: dict[str, SharedFile] = {}

    def places(self) -> Sequence[str]:
        return self.names

    def start(self, place: str) -> InlineLine:
        line = InlineLine(self, place)
        line.call("about", "cpu", 1, "fp32")
        return line

    def lose_if_due(self, line: InlineLine) -> None:
        self.epochs += 1
        if self.epochs in self.lost:
            raise WorkerDied("it was lost")

    def wait(self, lines: Sequence[Any], seconds: float) -> list[Any]:
        for line in lines:
            line.looks -= 1
        ended = [line for line in lines if line.looks < 0]
        self.random.shuffle(ended)
        return ended

    def gone(self, line: Any) -> None:
        """Nothing is left of it."""

    def parcel(self, packed: Packed) -> Parcel:
        file = SharedFile(packed)
        self.files[file.parcel.key] = file
        return file.parcel

    def discard(self, parcel: Parcel) -> None:
        self.files.pop(parcel.key).close()

    def close(self) -> None:
        assert not self.files, "the memory of a parcel was not freed"
