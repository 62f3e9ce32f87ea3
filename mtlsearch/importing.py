"""Large packages are imported without looking for garbage in between.

torch, scikit-learn and what they need make half a million objects, which all live on. Python looks through them for
garbage again and again while they come, and once more at exit. For a command that trains, leaving that out saves
about a second and a half (benchmarks/RESULTS.md).
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Inside, Python does not look for garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def exit_soon() -> None:
    """Let this process end without looking for garbage: the system takes all of it back."""
    atexit.register(gc.freeze)
