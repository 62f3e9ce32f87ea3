"""The live line of a remote search, as `run` shows that of a local one: live on a terminal, else a line at times."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mtlsearch.service.remote.client import RemoteSearch
from mtlsearch.wording import visible

LOG_S = 8.0  # between two lines of a log, while the state is the same


def shown(search: RemoteSearch) -> Mapping[str, Any]:
    """Show a search until its end; how it stands then."""
    console = Console(stderr=True)
    last: Mapping[str, Any] = {}
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            for last in search.follow():
                live.update(Text(line_of(last), no_wrap=True, overflow="ellipsis"))
        return last
    told, state = 0.0, None
    for last in search.follow():
        if last["state"] != state or time.monotonic() - told > LOG_S:
            told, state = time.monotonic(), last["state"]
            print(line_of(last), file=sys.stderr, flush=True)
    return last


def line_of(now: Mapping[str, Any]) -> str:
    """The line of a search: what its process shows, else its state."""
    waits = f"search {now['id']} is {now['state']}"
    return visible(f"{now['line']}" if now["state"] == "running" and now["line"] else waits)
