"""The scheduler: begins queued searches, watches their processes, and writes down how they end.

It is one thread that looks at the queue twice a second. What it knows is in the store and in the searches' processes;
a server that is killed at any point is followed by one that goes on from there.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mtlsearch.errors import MtlsearchError, StoreError, UsageError
from mtlsearch.processes import Owner, is_alive, is_here, this_process
from mtlsearch.service.folder import Folder
from mtlsearch.service.launch import NOT_BEGUN
from mtlsearch.service.logs import log
from mtlsearch.service.machine import ANY_DEVICE, Machine
from mtlsearch.service.queue import (
    DONE,
    FAILED,
    PAUSE,
    QUEUED,
    RUNNING,
    STARTING,
    STOP,
    STOPPED,
    Queue,
    Search,
)
from mtlsearch.store.ownership import BEAT_S, EXPIRY_S
from mtlsearch.store.standing import Standing, standing
from mtlsearch.wording import message_line

LOOK_S = 0.5
MOST_TRIES = 8  # processes of a search that die without a new trial
INTERRUPTED = 130  # the status of an interrupted command

Tell = Callable[[Search, Mapping[str, Any]], None]


class Scheduler:
    """Begins and watches searches until it is stopped; `tell` hears how each one stands."""

    def __init__(self, queue: Queue, folder: Folder, machine: Machine, storage: str, tell: Tell) -> None:
        self.queue, self.folder, self.machine, self.storage, self.tell = queue, folder, machine, storage, tell
        self.children: dict[int, subprocess.Popen[bytes]] = {}  # by search
        self.signalled: set[str] = set()  # launches that were told to stop
        self.known: dict[int, tuple[object, Standing | None]] = {}  # by search, with what it was read for
        self.signs: dict[int, tuple[object, float]] = {}  # the last sign of life of searches elsewhere, and when
        self.beaten = 0.0
        self.trouble: str | None = None  # what keeps it from working now
        self.is_leaving = False
        self.running_here = 0
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mtlsearch-scheduler", daemon=True)

    def start(self) -> None:
        """Begin to look at the queue."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now."""
        self._woken.set()

    def is_alive(self) -> bool:
        """Whether it looks at the queue."""
        return self._thread.is_alive()

    def oldest_lease(self) -> float:
        """Seconds since the sign of life that is the oldest of all running searches."""
        now = time.monotonic()
        here = [now - self.beaten] if self.running_here else []
        return max([*here, *(now - since for _, since in list(self.signs.values()))], default=0.0)

    def leave(self, patience: float) -> None:
        """Pause the searches and begin no others; those that do not end in `patience` seconds go on by themselves."""
        self.is_leaving = True
        deadline = time.monotonic() + patience
        self.wake()
        while time.monotonic() < deadline and self.running_here:
            time.sleep(0.1)
        self._stopped.set()
        self.wake()
        self._thread.join(max(1.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while True:
            is_last = self._stopped.is_set()
            try:
                self.look()
                self._recovered()
            except MtlsearchError as error:
                self._troubled(str(error))
            if is_last:
                return
            self._woken.wait(LOOK_S)
            self._woken.clear()

    def _troubled(self, why: str) -> None:
        if self.trouble != why:
            log.error("the queue cannot be worked on: %s", why)
        self.trouble = why

    def _recovered(self) -> None:
        if self.trouble is not None:
            log.info("the queue can be worked on again")
        self.trouble = None

    def look(self) -> None:
        """Look at every search that has not ended, once."""
        active = self.queue.find(states=(QUEUED, STARTING, RUNNING))
        beats = time.monotonic() - self.beaten > BEAT_S
        for search in active:
            if search.state == QUEUED:
                self.tell(search, search.progress)
            elif search.state == STARTING:
                self._watch_start(search)
            else:
                self._watch(search, beats)
        self.running_here = sum(s.state != QUEUED and s.owner is not None and is_here(s.owner) for s in active)
        if beats:
            self.beaten = time.monotonic()
        for search_id in self.children.keys() - {search.id for search in active}:
            if self.children[search_id].poll() is not None:  # a launch that found its search stopped
                del self.children[search_id]
        for kept in (self.known, self.signs):
            for search_id in kept.keys() - {search.id for search in active}:
                kept.pop(search_id, None)
        if not self.is_leaving:
            self._begin(active)

    # Begin.

    def _begin(self, active: Sequence[Search]) -> None:
        """Begin queued searches where there is room, by priority, then first come first served."""
        busy = [search for search in active if search.state != QUEUED]
        here = [search for search in busy if search.owner is not None and is_here(search.owner)]
        room = {each: self.machine.at_once - sum(s.device == each for s in here) for each in self.machine.devices}
        names = {search.name for search in busy}  # two processes would share the study's total
        waiting = sorted((s for s in active if s.state == QUEUED), key=lambda s: (-s.priority, s.id))
        for search in waiting:
            free = [
                each for each in self.machine.slots(str(search.options.get("device", ANY_DEVICE))) if room[each] > 0
            ]
            if not free or search.name in names:
                continue
            device = max(free, key=lambda each: room[each])
            if self._launch(search, device):
                room[device] -= 1
                names.add(search.name)

    def _launch(self, search: Search, device: str) -> bool:
        """Start the process of a queued search; False where another server has just done so."""
        self.folder.make(search.id)
        found = self._standing(search, None)
        secret = self.queue.take(search, this_process(), device, 0 if found is None else found.counted)
        if secret is None:
            return False
        taken = self.queue.get(search.id)
        assert taken is not None
        try:
            command = self.machine.command(taken, device)
            log.info("search %d (%s) begins on %s", search.id, search.name, device)
            self.children[search.id] = self._start(search.id, secret, command)
        except UsageError as error:  # its study file is gone
            self._end(taken, FAILED, str(error))
        except OSError as error:
            self.queue.end(taken, QUEUED, None, search.progress)
            raise StoreError(f"search {search.id} cannot be started: {error.strerror or error}") from error
        return True

    def _start(self, search_id: int, secret: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        return self.machine.start(self.storage, self.folder, search_id, secret, command)

    # Watch.

    def _watch_start(self, search: Search) -> None:
        """Put a search that was taken, and whose process did not begin it, back into the queue."""
        child = self.children.get(search.id)
        is_mine = child is not None and search.owner == this_process()
        if is_mine and child is not None and child.poll() is None:
            self.tell(search, search.progress)
            return
        if is_mine or (search.owner is not None and not self._lives(search)):
            now = self.queue.get(search.id)
            if now is None or now.state != STARTING:
                return  # it began, and ended, since the queue was read
            self.children.pop(search.id, None)
            if now.wanted == STOP:
                self._end(now, STOPPED, None)
            elif now.tries >= MOST_TRIES:
                self._end(now, FAILED, f"its process did not begin, {now.tries} times: {self._reason(now, NOT_BEGUN)}")
            else:
                self._end(now, QUEUED, "its process did not begin; it is started again")

    def _watch(self, search: Search, beats: bool) -> None:
        """Look after a search that runs: its signs of life, what is wanted of it, its end."""
        if not self._lives(search):
            self._conclude(search)
            return
        here = search.owner is not None and is_here(search.owner)
        if here and beats:
            self.queue.beat(search)
        wanted = PAUSE if self.is_leaving and search.wanted is None else search.wanted
        # A server that was not patient enough has told it to pause already; a second signal would cut it off.
        is_told = wanted == PAUSE and not self.is_leaving
        if here and wanted is not None and not is_told and str(search.launch) not in self.signalled:
            if search.wanted is None:
                self.queue.want(search.id, PAUSE)
            self._signal(search)
        self.tell(search, self._progress(search))

    def _lives(self, search: Search) -> bool:
        """Whether the owner of a search lives, as far as this process can know; see `store.ownership`."""
        owner = search.owner
        if owner is not None and is_here(owner):
            child = self.children.get(search.id)
            return is_alive(owner) and (child is None or child.pid != owner["pid"] or child.poll() is None)
        sign = search.launch, search.beat
        before, since = self.signs.get(search.id, (None, 0.0))
        if before != sign:
            self.signs[search.id] = sign, time.monotonic()
            return True
        return time.monotonic() - since <= EXPIRY_S

    def _signal(self, search: Search) -> None:
        """Ask a search's process to end in order."""
        owner: Owner = search.owner or {}
        self.signalled.add(str(search.launch))
        if is_alive(owner):
            with suppress(ProcessLookupError):
                os.kill(int(owner["pid"]), signal.SIGTERM)

    def stop_at_once(self, search: Search) -> None:
        """Tell a process that was asked to end, and has not, to end now."""
        if str(search.launch) in self.signalled and search.owner is not None and is_here(search.owner):
            self._signal(search)

    # End.

    def _conclude(self, search: Search) -> None:
        """Write down how a search whose process has ended has ended."""
        child = self.children.pop(search.id, None)
        status = None if child is None else child.poll()
        result = self.folder.read_result(search.id)
        why = self._reason(search, status)
        if result is not None and status in (0, None):
            self._end(search, DONE, None, result)
        elif search.wanted == PAUSE:
            self._end(search, QUEUED, None)
        elif search.wanted == STOP or status == INTERRUPTED:
            by = None if search.wanted == STOP else "its process was interrupted on the server"
            self._end(search, STOPPED, by)
        elif status is None or status < 0 or status > 128 or status == NOT_BEGUN:
            self._died(search, why)
        else:
            self._end(search, FAILED, why)

    def _died(self, search: Search, why: str) -> None:
        """Let a search whose process died go on, unless it dies again and again without a new trial."""
        found = self._standing(search, None)
        stuck = search.tries >= MOST_TRIES and (found is None or found.counted <= search.trials_before)
        log.warning("search %d (%s): %s", search.id, search.name, why)
        if stuck:
            self._end(search, FAILED, f"{why}, {search.tries} times without a new trial in between")
        else:
            self._end(search, QUEUED, f"{why}; it goes on")

    def _reason(self, search: Search, status: int | None) -> str:
        """Why a search's process has ended, in one line."""
        if status is not None and status < 0:
            with suppress(ValueError):
                return f"its process was ended by {signal.Signals(-status).name}"
            return f"its process was ended by signal {-status}"
        if status is None:
            return "its process ended while no server watched it"
        own = [line for line in self.folder.last_lines(search.id, 50) if line.startswith("mtlsearch: ")]
        last = own or self.folder.last_lines(search.id, 1)
        return message_line(last[-1].removeprefix("mtlsearch: ")) if last else f"its process ended with status {status}"

    def _end(self, search: Search, state: str, reason: str | None, result: Mapping[str, Any] | None = None) -> None:
        progress = dict(self._progress(search, result))
        if self.queue.end(search, state, reason, progress):
            log.info("search %d (%s) is %s%s", search.id, search.name, state, f": {reason}" if reason else "")
        ended = self.queue.get(search.id)
        if ended is not None:
            self.tell(ended, progress)
        self.known.pop(search.id, None)
        self.signs.pop(search.id, None)

    # Progress.

    def _progress(self, search: Search, result: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """How far a search has come: its process's live line, and what the store holds."""
        line = self.folder.read_progress(search.id) or {}
        found = self._standing(search, result if result is not None else line.get("line"))
        kept = (
            {"trials": found.counted, "best": found.best, "curve": found.curve, "verdict": found.verdict}
            if found
            else {}
        )
        told = {name: line[name] for name in ("line", "rate", "seconds_left") if name in line}
        return {**search.progress, **kept, **told, **({} if result is None else _summary(search.kind, result))}

    def _standing(self, search: Search, key: object) -> Standing | None:
        """What the store holds of a search's study, read again where the `key` is another one or None."""
        before = self.known.get(search.id)
        if before is None or key is None or before[0] != key:
            with self.queue.connection() as connection:
                self.known[search.id] = key, standing(connection, search.name)
        return self.known[search.id][1]


def _summary(kind: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the result of a command says in a list."""
    lines = result.get("lines") if kind == "compare" else (result.get("verdict") or {}).get("lines")
    return {"verdict": str(lines[0])} if lines else {}
