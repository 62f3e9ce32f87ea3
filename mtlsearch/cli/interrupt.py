"""Interruption of long work: the first Ctrl-C or SIGTERM stops it in order, the second at once."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from mtlsearch.activity import Interrupted

if TYPE_CHECKING:
    from mtlsearch.tuning.progress import Progress

INTERRUPTED = 130
LOADING = "loading PyTorch"


def interruptible(work: Callable[["Progress", Event], Mapping[str, Any]], total: int, quiet: bool) -> Mapping[str, Any]:
    """Do `work`; the first Ctrl-C or SIGTERM stops it in order, the second at once."""
    from mtlsearch.tuning.progress import Progress

    if "@" in os.environ.get("MTLSEARCH_STORAGE", ""):
        # Compilers and workers that torch starts must not inherit the password.
        del os.environ["MTLSEARCH_STORAGE"]
    stop = Event()
    with watched_signals(stop), Progress(total, quiet=quiet) as progress:
        try:
            return work(progress, stop)
        except Interrupted:
            progress.notice("interrupted; finished trials are in the store, the same command goes on")
            sys.exit(INTERRUPTED)


@contextmanager
def watched_signals(stop: Event) -> Iterator[None]:
    """Inside, the first Ctrl-C or SIGTERM sets `stop`, the second ends the process."""
    signals = (signal.SIGINT, signal.SIGTERM)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while told := os.read(reader, 1):
            if told[0] in signals and stop.is_set():
                os._exit(128 + told[0])
            if told[0] in signals:
                stop.set()

    thread = Thread(target=watch, name="mtlsearch-signals", daemon=True)
    thread.start()
    # Python runs a signal's handler when the main thread is back from C, where SQLite waits for a lock for up
    # to 30 s; so a thread reads the number that C writes at once, and the handler has nothing left to do.
    handlers = {number: signal.signal(number, lambda *_: None) for number in signals}
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)
        thread.join()
        os.close(reader)
