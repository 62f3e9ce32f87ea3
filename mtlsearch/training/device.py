"""The device, CPU threads and precision of a command."""

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from mtlsearch.errors import UsageError
from mtlsearch.limits import CORES
from mtlsearch.training.solo import SOLO_CONDITIONS

WORTH_TELLING = 1.3
ROUNDS = 5
# Of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class Conditions:
    """The device, CPU threads and precision of training; the last bits of a trial depend on them.

    `method` is the weighting method, where several are compared, and `worker` the name of the one that trains.
    """

    device: torch.device
    threads: int
    precision: str = "fp32"
    method: str | None = None
    worker: str | None = None

    def with_threads(self, threads: int) -> "Conditions":
        """The same with other CPU threads, no more than the cores; torch uses as many from here on."""
        threads = min(threads, CORES)
        torch.set_num_threads(threads)
        return replace(self, threads=threads)

    def recorded(self) -> dict[str, Any]:
        """The conditions as a trial stores them; a trainer may add its own over those of the solo trainer."""
        return {
            "device": str(self.device),
            "threads": self.threads,
            "precision": self.precision,
            **SOLO_CONDITIONS,
            **({} if self.method is None else {"method": self.method}),
        }


def fewer_are_faster(threads: int) -> float | None:
    """The factor by which one thread beats `threads` at products like a step's, None where it hardly does.

    It takes about a quarter of a second, and leaves the number of threads as it was.
    """
    if threads == 1:
        return None
    product = products()

    def take(count: int) -> None:
        torch.set_num_threads(count)
        for _ in range(3):
            product()

    ratio = _slower_by(partial(take, threads), partial(take, 1))
    torch.set_num_threads(threads)
    return ratio


def fastest_threads(step: Callable[[], object]) -> int:
    """The number of threads at which a step is fastest now: 1, 2, 4 … up to the cores. It becomes torch's number."""
    counts = [*(2**n for n in range(CORES.bit_length()) if 2**n < CORES), CORES]
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(ROUNDS if len(counts) > 1 else 0):
        for count, times in seconds.items():
            torch.set_num_threads(count)
            step()  # the first one starts the threads
            begun = time.perf_counter()
            step()
            times.append(time.perf_counter() - begun)
    best: int = min(counts, key=lambda count: statistics.median(seconds[count]) if seconds[count] else 0.0)
    torch.set_num_threads(best)
    return best


def products() -> Callable[[], object]:
    """Products like those of a step of a population."""
    x, w = torch.randn(128, 784), torch.randn(8, 784, 128)
    return lambda: torch.relu(x @ w).sum()


def bf16_slowdown() -> float | None:
    """The factor by which fp32 beats bf16 at products on this CPU, None where it hardly does.

    A CPU without bf16 instructions takes number by number, a hundred times as slowly. Measuring takes about a tenth
    of a second.
    """
    half, full = (torch.ones(256, 256, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    return _slower_by(lambda: torch.mm(half, half), lambda: torch.mm(full, full))


def _slower_by(slow: Callable[[], object], fast: Callable[[], object]) -> float | None:
    """The factor between the median times of two functions, timed in turn; None below WORTH_TELLING."""
    seconds: dict[Callable[[], object], list[float]] = {fast: [], slow: []}
    for _ in range(ROUNDS):
        for function, times in seconds.items():
            begun = time.perf_counter()
            function()
            times.append(time.perf_counter() - begun)
    ratio = statistics.median(seconds[slow]) / statistics.median(seconds[fast])
    return ratio if ratio > WORTH_TELLING else None


def with_recorded(conditions: Conditions, given: int | None, info: Mapping[str, Any]) -> Conditions:
    """The conditions with the CPU threads that a study's first run measured and recorded, unless some are `given`."""
    recorded = info.get("threads")  # of no study before there was a measurement
    return conditions if given is not None or recorded is None else conditions.with_threads(int(recorded))


def slow_choices(conditions: Conditions, given: bool = True) -> Iterator[str]:
    """Measure quickly, and yield a line for each choice that another one would beat; nothing is changed.

    Where the threads were not `given`, they are measured elsewhere.
    """
    if conditions.device.type != "cpu":
        return
    threads = conditions.threads
    if given and (ratio := fewer_are_faster(threads)) is not None:
        yield f"one thread is {ratio:.1f} times as fast as {threads} now (is the machine busy?): try --threads 1"
    if conditions.precision == "bf16" and (ratio := bf16_slowdown()) is not None:
        yield f"bf16 products take {ratio:.0f} times as long as fp32 on this CPU: try --precision fp32"


def use_device(name: str, threads: int | None, precision: str = "fp32") -> Conditions:
    """The conditions of training on the device that `name` names, which is made ready. Raises UsageError.

    With None, `threads` are the cores; more than the cores are never used.
    """
    threads = min(threads or CORES, CORES)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, but got {name!r}") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(f"--device {name}: this machine has {count} CUDA devices; use --device cpu or auto")
        torch.cuda.set_device(device.index or 0)  # where kernels of our own run
    elif device.type != "cpu" or device.index is not None:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, but got {name!r}")
    if device.type == "cpu":
        keep_freed_memory()
    return Conditions(device, threads, precision)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory, up to 2 GiB, for the next tensor; other libraries are left alone.

    By default it returns each block above 32 MiB to the system, which then clears new pages for every operator. Where
    a step's activations are that large, this costs more than the arithmetic.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
