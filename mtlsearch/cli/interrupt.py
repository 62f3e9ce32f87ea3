"""Interruption of long work: the first Ctrl-C or SIGTERM stops it in order, the second at once.

While data are read and nothing is in training, the first one stops it at once too: by an exception, or, where
the main thread does not come back from C, by the end of the process.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from mtlsearch.activity import Interrupted, current, is_stoppable

if TYPE_CHECKING:
    from mtlsearch.tuning.progress import Progress

INTERRUPTED = 130
LOADING = "loading PyTorch"
PATIENCE_S = 1.0  # for the main thread to come back from C


class Stopped(KeyboardInterrupt):
    """The work was stopped where it is `stoppable`.

    After a plain KeyboardInterrupt that has passed through C code, as an import of torch runs some, Python would end
    by the signal, whatever status is asked for.
    """


def interruptible(work: Callable[["Progress", Event], Mapping[str, Any]], total: int, quiet: bool) -> Mapping[str, Any]:
    """Do `work`; the first Ctrl-C or SIGTERM stops it in order, the second at once."""
    from mtlsearch.tuning.progress import Progress

    if "@" in os.environ.get("MTLSEARCH_STORAGE", ""):
        # Compilers and workers that torch starts must not inherit the password.
        del os.environ["MTLSEARCH_STORAGE"]
    stop = Event()
    progress = Progress(total, quiet=quiet)

    def end() -> None:
        progress.notice(_early())
        progress.close()
        os._exit(INTERRUPTED)

    with watched_signals(stop, end), progress:
        try:
            return work(progress, stop)
        except Interrupted:
            progress.notice("interrupted; finished trials are in the store, the same command goes on")
            sys.exit(INTERRUPTED)
        except Stopped as stopped:
            progress.notice(str(stopped))
            sys.exit(INTERRUPTED)


def _early() -> str:
    """The line for an interruption before anything is in training."""
    activity = current()
    during = "" if activity is None else f" while {activity.text}"
    return f"interrupted{during}: nothing was in training, the same command goes on"


@contextmanager
def watched_signals(stop: Event, end: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Inside, the first Ctrl-C or SIGTERM sets `stop`, the second ends the process.

    The first one raises Stopped where the work is `stoppable`; `end` ends the process where that fails.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    left = Event()

    def watch() -> None:
        while told := os.read(reader, 1):
            if told[0] in signals and stop.is_set():
                os._exit(128 + told[0])
            if told[0] in signals:
                stop.set()
                if is_stoppable() and not left.wait(PATIENCE_S) and is_stoppable():
                    end()

    def handle(number: int, frame: object) -> None:
        if is_stoppable():
            raise Stopped(_early())

    thread = Thread(target=watch, name="mtlsearch-signals", daemon=True)
    thread.start()
    # Python runs a signal's handler when the main thread is back from C, where SQLite waits for a lock for up
    # to 30 s; so a thread reads the number that C writes at once.
    handlers = {number: signal.signal(number, handle) for number in signals}
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)
        thread.join()
        os.close(reader)
