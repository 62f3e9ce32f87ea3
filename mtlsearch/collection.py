"""Garbage collection, switched off where it costs more than it frees.

torch, scikit-learn and their dependencies create half a million objects that live until exit. Python's collector
searches them again and again during the imports, and once more at exit. Switching it off saves a command that trains
about a second and a half (benchmarks/RESULTS.md). A finaliser that runs at the limit of recursion fails on stderr, so
deep JSON is read without it too.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Switch the garbage collector off inside."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def exit_soon() -> None:
    """Let this process end without a last garbage collection."""
    atexit.register(gc.freeze)
