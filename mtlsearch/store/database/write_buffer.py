"""Changes on their way to the database: committed together, and never lost while the process lives."""

import threading
import time
import weakref
from collections.abc import Callable

from mtlsearch.errors import StoreError
from mtlsearch.store.database.rows import Changes

FLUSH_S = 0.5  # how long a change waits at most for its commit to begin


class WriteBuffer:
    """Collects changes; `flush` hands them to `write`, and a background thread does so every FLUSH_S seconds.

    `write` commits all of them or raises; then they stay in the buffer.
    """

    def __init__(self, write: Callable[[Changes], None]) -> None:
        self._write = write
        self._changes: Changes = {}
        self._lock = threading.Lock()  # guards the changes; never held while the database is waited for
        self._flushing = threading.Lock()  # one flush at a time: a later one must not overtake
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def add(self, changes: Changes) -> None:
        """Add changes; each replaces an earlier change of the same thing."""
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
        """Flush, and end the thread; wait for it up to `timeout` seconds."""
        self._closed.set()
        try:
            self.flush()
        finally:
            if self._thread is not None:
                self._thread.join(timeout)


def _flush_again_and_again(buffer: weakref.ref[WriteBuffer], closed: threading.Event) -> None:
    """Flush until the buffer is closed or forgotten."""
    while not closed.wait(FLUSH_S):
        living = buffer()
        if living is None:
            return
        try:
            living.flush()
        except StoreError:
            time.sleep(FLUSH_S)  # the changes are kept; the search's next call tries again, and raises
        del living
