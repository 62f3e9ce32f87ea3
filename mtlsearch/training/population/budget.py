"""The time that compiling may take, so that a run on a busy machine does not wait for it without end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mtlsearch.wording import duration

PATIENCE = 3.0  # times the expected seconds


class Budget:
    """The seconds that compiling the steps of a run may take: `PATIENCE` times the `expected` ones.

    A step whose compiling has begun is compiled to its end.
    """

    def __init__(self, expected: float, notice: Callable[[str], None]) -> None:
        self.expected, self.notice, self.spent, self.is_told = expected, notice, 0.0, False

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Inside, the time counts."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.spent += time.monotonic() - begun

    def allows_more(self) -> bool:
        """Whether another step may be compiled; the first time that none may, a notice says so."""
        if self.spent <= PATIENCE * self.expected:
            return True
        if not self.is_told:
            self.is_told = True
            self.notice(
                f"compiling has taken {duration(self.spent)} and was expected to take {duration(self.expected)}:"
                " steps of other lane widths run uncompiled"
            )
        return False
