"""Changes on their way to the database: kept together, committed together, never lost while the process lives."""

import threading
import time
import weakref
from collections.abc import Callable

from mtlsearch.errors import StoreError
from mtlsearch.store.database.rows import Changes

FLUSH_S = 0.5  # how long a change waits at most, but for the time of the commit


class WriteBuffer:
    """Collects changes; `flush` gives them to `write` at once, a background thread every FLUSH_S seconds.

    `write` commits all of them or raises, and then they are kept for the next time.
    """

    def __init__(self, write: Callable[[Changes], None]) -> None:
        self._write = write
        self._changes: Changes = {}
        self._lock = threading.Lock()  # the changes; never held while the database is waited for
        self._flushing = threading.Lock()  # one flush at a time, so that two cannot overtake each other
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def add(self, changes: Changes) -> None:
        """Later changes of the same things take the place of earlier ones."""
        with self._lock:
            self._changes |= changes
            if self._thread is None:
                arguments = (weakref.ref(self), self._closed)
                self._thread = threading.Thread(
                    target=_flush_again_and_again, args=arguments, name="mtlsearch-store", daemon=True
                )
                self._thread.start()

    def flush(self) -> None:
        with self._flushing:
            with self._lock:
                changes, self._changes = self._changes, {}
            if not changes:
                return
            try:
                self._write(changes)
            except BaseException:
                with self._lock:
                    self._changes = changes | self._changes
                raise

    def close(self, timeout: float) -> None:
        """Flushes, and ends the thread, for which it waits up to `timeout` seconds."""
        self._closed.set()
        try:
            self.flush()
        finally:
            if self._thread is not None:
                self._thread.join(timeout)


def _flush_again_and_again(buffer: weakref.ref[WriteBuffer], closed: threading.Event) -> None:
    """Commits what is buffered until the buffer is closed or forgotten."""
    while not closed.wait(FLUSH_S):
        living = buffer()
        if living is None:
            return
        try:
            living.flush()
        except StoreError:
            time.sleep(FLUSH_S)  # the changes are kept: the next call of the search tries again, and raises
        del living
