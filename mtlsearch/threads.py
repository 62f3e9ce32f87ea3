"""Whether fewer CPU threads would be faster now, as on a machine that others keep busy."""

import statistics
import time

import torch

WORTH_TELLING = 1.3
ROUNDS = 5


def fewer_are_faster(threads: int) -> float | None:
    """How many times one thread is faster than `threads` at products like a step's, None where it hardly is.

    Takes about a quarter of a second; the two are timed in turn, and the number of threads is left as it was.
    """
    if threads == 1:
        return None
    x, w = torch.randn(128, 784), torch.randn(8, 784, 128)
    seconds: dict[int, list[float]] = {1: [], threads: []}
    for _ in range(ROUNDS):
        for count, times in seconds.items():
            torch.set_num_threads(count)
            begun = time.perf_counter()
            for _ in range(3):
                torch.relu(x @ w).sum()
            times.append(time.perf_counter() - begun)
    torch.set_num_threads(threads)
    ratio = statistics.median(seconds[threads]) / statistics.median(seconds[1])
    return ratio if ratio > WORTH_TELLING else None
