"""Workers that are actors of a Ray cluster, and the data in its object store.

A Ray actor is the right part of Ray for this: a process that is placed by what it needs, lives as long as the search,
and holds its members' state. The driver alone asks, tells and stores.
"""

import contextlib
import logging
import math
import os
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from mtlsearch.errors import UsageError, WorkerError, one_line
from mtlsearch.training.remote.parcel import Packed, Parcel
from mtlsearch.training.remote.transport import Line, RemoteTraceback, Signs, WorkerDied

CONNECT_S = 30.0  # for a cluster to answer
PULSE_S = 5.0  # between two questions for a sign of life
SPARE_S = 1.0  # for which the answer about a cluster's resources is taken again
PLACE = "ray"


@dataclass(frozen=True)
class RayParcel:
    """A parcel in the object store, of which each node has one copy."""

    key: str
    content: Any  # a reference

    def open(self) -> Packed:
        import ray

        structure, arrays = ray.get(self.content)
        with warnings.catch_warnings():
            # The object store's memory is read-only, and training does not write to its data.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return Packed(structure, [torch.from_numpy(array) for array in arrays])


class RayLine:
    """Leads to an actor."""

    def __init__(self, ray: Any, actor: Any, device: str, threads: int, precision: str) -> None:
        self.ray, self.actor, self.device, self.name, self.signs = ray, actor, device, "of Ray", Signs()
        self.asked: Any = None  # a reference to the next pulse
        self.call("about", device, threads, precision)

    def call(self, method: str, *arguments: Any) -> None:
        self.signs.begin()
        self.work = self.actor.call.remote(method, arguments)

    def answer(self) -> Any:
        try:
            kind, value = self.ray.get(self.work)
        except self.ray.exceptions.RayError as died:
            raise WorkerDied(one_line(died)) from None
        self.signs.take(self.signs.pulse)
        if kind == "failed":
            error, trace = value
            raise error from RemoteTraceback(trace)
        if not self.signs.is_ready:
            self.signs.is_ready, self.name = True, value["name"]
        return value

    def look(self) -> None:
        """Take in a pulse that has come, and ask for the next one, where it is time."""
        if self.asked is None:
            if time.monotonic() - self.signs.seen > PULSE_S:
                # Silence counts from the question: the driver may have been away for long.
                self.asked, self.signs.seen = self.actor.pulse.remote(), time.monotonic()
            return
        ended, _ = self.ray.wait([self.asked], timeout=0)
        if ended:
            with contextlib.suppress(self.ray.exceptions.RayError):  # the call that is under way tells it
                self.signs.take(self.ray.get(self.asked))
            self.asked = None

    def stop(self) -> None:
        self.actor.stop.remote()

    def kill(self) -> None:
        self.ray.kill(self.actor, no_restart=True)


class RayActors:
    """Starts actors on the cluster at `address`: `workers` of them, or as many as there is room for.

    Each takes `resources`, such as {"gpu": 1}. The cluster may grow and shrink.
    """

    def __init__(
        self,
        address: str,
        workers: int | None,
        resources: Mapping[str, object] | None,
        threads: int,
        precision: str,
    ) -> None:
        self.ray = connected(address)
        self.workers, self.threads, self.precision = workers, threads, precision
        self.needs = needs_of(resources) if resources else self._usual()
        self.lines: list[RayLine] = []
        self.counted: tuple[float, int] = -math.inf, 0
        if not self._room_when_empty():
            told = ", ".join(f"{name}={amount:g}" for name, amount in self.needs.items())
            self.close()
            raise WorkerError(
                f"no node of the Ray cluster has the resources of one worker ({told}): ask for less with --resources"
            )

    @property
    def device(self) -> str:
        return "cuda:0" if self.needs.get("GPU") else "cpu"

    def _usual(self) -> dict[str, float]:
        return {"GPU": 1.0} if self.ray.cluster_resources().get("GPU") else {"CPU": 1.0}

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _room_when_empty(self) -> int:
        """How many workers fit on the nodes that are alive."""
        return sum(fits(node, self.needs) for node in self._nodes())

    def places(self) -> Sequence[str]:
        when, count = self.counted
        if time.monotonic() - when > SPARE_S:
            spare = fits(self.ray.available_resources(), self.needs)
            most = math.inf if self.workers is None else self.workers
            count = int(min(most, self._room_when_empty(), len(self.lines) + spare))
            self.counted = time.monotonic(), count
        return [PLACE] * count

    def start(self, place: str) -> RayLine:
        amounts = {"num_cpus": self.needs.get("CPU", 0.0), "num_gpus": self.needs.get("GPU", 0.0)}
        others = {name: amount for name, amount in self.needs.items() if name not in ("CPU", "GPU")}
        from mtlsearch.training.remote.ray_worker import SIGNS, RayWorker  # imports Ray, which may not be there

        actors = self.ray.remote(concurrency_groups={SIGNS: 1}, max_restarts=0)(RayWorker)
        actor = actors.options(**amounts, resources=others).remote()
        line = RayLine(self.ray, actor, self.device, self.threads, self.precision)
        self.lines.append(line)
        return line

    def wait(self, lines: Sequence[Line], seconds: float) -> list[Line]:
        own = {line.work: line for line in lines if isinstance(line, RayLine)}
        for line in own.values():
            line.look()
        if not own:
            time.sleep(seconds)
            return []
        ended, _ = self.ray.wait([*own], num_returns=1, timeout=seconds)
        if ended:
            ended, _ = self.ray.wait([*own], num_returns=len(own), timeout=0)
        return [own[reference] for reference in ended]

    def parcel(self, packed: Packed) -> Parcel:
        arrays = [np.asarray(memory.numpy()) for memory in packed.memories]
        return RayParcel(uuid.uuid4().hex, self.ray.put((packed.structure, arrays)))

    def discard(self, parcel: Parcel) -> None:
        """The store frees it once nothing refers to it."""

    def gone(self, line: Line) -> None:
        """Count a line no more, whose worker has ended."""
        self.lines = [other for other in self.lines if other is not line]
        self.counted = -math.inf, 0

    def close(self) -> None:
        for line in self.lines:
            with contextlib.suppress(Exception):
                line.kill()
        self.ray.shutdown()


def check_cluster(address: str, resources: Mapping[str, object] | None) -> None:
    """Raise UsageError for an address or resources that cannot be, and where Ray is not installed."""
    if address not in ("local", "auto") and not address.startswith("ray://"):
        raise UsageError(f"--ray must be local, auto or ray://HOST:PORT, but got {address!r}")
    needs_of(resources or {})
    if find_spec("ray") is None:
        raise UsageError("--ray needs Ray: pip install 'mtlsearch[ray]'")


def connected(address: str) -> Any:
    """Ray, connected to the cluster. Raises WorkerError where none answers within CONNECT_S seconds."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"address": address, "logging_level": "error", "log_to_driver": False}
    if address == "local":
        # In this thread: what Ray starts ends with the thread that started it.
        with own_signals():
            ray.init(**quiet, include_dashboard=False)
        return ray
    failed = within(CONNECT_S, lambda: ray.init(**quiet))
    if failed is None:
        return ray
    hint = "`ray start --head` starts one, and --ray local one of its own" if address == "auto" else "is it running?"
    raise WorkerError(f"--ray {address}: no cluster answers ({failed}): {hint}")


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Keep the handlers of Ctrl-C and SIGTERM, which Ray replaces in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def within(seconds: float, work: Callable[[], object]) -> str | None:
    """Do work in a thread, where Ray sets no signal handlers; why it failed, None where it did not."""
    why: list[str] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            why.append(one_line(error))

    thread = threading.Thread(target=attempt, name="mtlsearch-ray", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return f"within {seconds:.0f} s"
    return why[0] if why else None


def needs_of(resources: Mapping[str, object]) -> dict[str, float]:
    """What a worker takes, by Ray's names: cpu and gpu are its own. Raises UsageError."""
    found = {}
    for name, text in resources.items():
        try:
            amount = float(str(text))
        except ValueError:
            amount = math.nan
        if not 0 < amount < math.inf:
            raise UsageError(f"--resources {name}={text}: it must be a number above 0, such as gpu=1")
        found[name.upper() if name.lower() in ("cpu", "gpu") else name] = amount
    return found


def fits(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """How many workers these resources suffice for."""
    return int(min(resources.get(name, 0.0) // amount for name, amount in needs.items()))
