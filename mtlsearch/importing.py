"""Imports of large packages without garbage collection.

torch, scikit-learn and their dependencies create half a million objects that live until exit. Python's collector
searches them again and again during the imports, and once more at exit. Switching it off saves a command that trains
about a second and a half (benchmarks/RESULTS.md).
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
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
