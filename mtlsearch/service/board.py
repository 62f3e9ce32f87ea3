"""The board: how each search that has not ended stands now. One thread writes it; all clients read the same texts.

A client that reads slowly holds nobody up: it is sent the latest state when it is ready, and nothing is kept for it.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mtlsearch.service.queue import Search
from mtlsearch.service.views import SearchView, view

MOST_KEPT = 2000  # searches that have ended
WINDOW_S = 60.0  # over which trials are counted


class Board:
    """The latest state of searches by id, as JSON; `tell` is called by the scheduler's thread."""

    def __init__(self) -> None:
        self.views: dict[int, SearchView] = {}
        self.texts: dict[int, str] = {}
        self.rates: dict[int, float] = {}  # trial-epochs per second, of those that run
        self.news: deque[tuple[float, int]] = deque()  # when trials ended, and how many
        self.loop: asyncio.AbstractEventLoop | None = None
        self.changed = asyncio.Event()
        self.is_closed = False

    def tell(self, search: Search, progress: Mapping[str, Any]) -> None:
        """Take in how a search stands."""
        now = view(search, progress)
        if search.state == "running":
            self.rates[search.id] = float(progress.get("rate") or 0.0)
        else:
            self.rates.pop(search.id, None)
        before = self.views.get(search.id)
        if before == now:
            return
        if before is not None and now.trials > before.trials:
            self.news.append((time.monotonic(), now.trials - before.trials))
        self.views[search.id], self.texts[search.id] = now, json.dumps(now.model_dump())
        ended = [each for each, shown in list(self.views.items()) if shown.ended is not None]
        for each in ended[:-MOST_KEPT]:
            self.forget(each)
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._ring)

    def trials_per_second(self) -> float:
        """Trials that ended in the last minute, a second."""
        while self.news and time.monotonic() - self.news[0][0] > WINDOW_S:
            self.news.popleft()
        return sum(number for _, number in list(self.news)) / WINDOW_S

    def forget(self, search_id: int) -> None:
        """Keep no state of a search: the queue has it."""
        self.views.pop(search_id, None)
        self.texts.pop(search_id, None)

    def close(self) -> None:
        """End every stream."""
        self.is_closed = True
        self._ring()

    def _ring(self) -> None:
        """Wake all who wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def follow(self, search_id: int) -> AsyncIterator[str]:
        """The states of a search as JSON as they change, up to its end; nothing where the board does not know it."""
        seen = None
        while not self.is_closed:
            changed = self.changed  # before the look, so that no change is missed
            now, shown = self.texts.get(search_id), self.views.get(search_id)
            if now is None or shown is None:
                return
            if now != seen:
                seen = now
                yield now
            elif shown.ended is not None:
                return
            else:
                await changed.wait()

    async def follow_all(self) -> AsyncIterator[int]:
        """The ids of searches that change; first of all those that the board knows."""
        seen: dict[int, str] = {}
        while not self.is_closed:
            changed = self.changed
            news = {each: text for each, text in list(self.texts.items()) if seen.get(each) != text}
            seen |= news
            for search_id in news:
                yield search_id
            if not news:
                await changed.wait()
