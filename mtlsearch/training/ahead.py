"""Work ahead in a thread: the next batches are read while the device trains on this one."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
AHEAD = 4  # batches that are read before they are needed


@contextmanager
def read_ahead(read: Callable[[int], T], count: int) -> Iterator[Iterator[T]]:
    """Yield `read(0)` … `read(count - 1)` in order, read in a thread that ends with the context.

    On leaving, the context waits for a read that is under way, and cancels all others.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="mtlsearch-reader")
    try:
        yield _in_order(pool, read, count)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ThreadPoolExecutor, read: Callable[[int], T], count: int) -> Iterator[T]:
    waiting: deque[Future[T]] = deque()
    for number in range(count):
        waiting.append(pool.submit(read, number))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def paced(steps: Iterator[T], device: torch.device) -> Iterator[T]:
    """The same steps, at most a few ahead of CUDA.

    Otherwise the host would run far ahead, and hold the memory of every batch that waits to be copied.
    """
    if device.type != "cuda":
        yield from steps
        return
    given: deque[torch.cuda.Event] = deque()
    for step in steps:
        yield step
        done: torch.cuda.Event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record()
        given.append(done)
        if len(given) > AHEAD:
            given.popleft().synchronize()


def in_a_thread(do: Callable[..., T], *given: object) -> "Future[T]":
    """Start `do` in a thread of its own."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="mtlsearch-ahead")
    begun = pool.submit(do, *given)
    pool.shutdown(wait=False)
    return begun
