"""The queue: a table of searches in the same store as their trials, on SQLite and on PostgreSQL.

Each change is one statement that names the state it expects, so that of two processes which want the same search one
gets it. A search that was taken is begun only by the process that knows the secret of its launch.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mtlsearch.errors import StoreError, UsageError
from mtlsearch.processes import Owner
from mtlsearch.store.database.errors import DATABASE_ERRORS, parse_url, store_error
from mtlsearch.store.database.opening import TIMEOUT_S, open_engine, open_storage

QUEUED, STARTING, RUNNING = "queued", "starting", "running"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
ACTIVE, ENDED = (QUEUED, STARTING, RUNNING), (DONE, FAILED, STOPPED)
STATES = (*ACTIVE, *ENDED)
STOP, PAUSE = "stop", "pause"  # what is wanted of a search that runs

_TABLES = sa.MetaData()
_SEARCHES = sa.Table(
    "mtlsearch_searches",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("study", sa.Text, nullable=False),
    sa.Column("name", sa.String(250), nullable=False, index=True),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, default=0),
    sa.Column("key", sa.String(250), unique=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("wanted", sa.String(16)),
    sa.Column("device", sa.String(32)),
    sa.Column("launch", sa.String(36)),
    sa.Column("owner", sa.Text),
    sa.Column("beat", sa.Integer, nullable=False, default=0),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("trials_before", sa.Integer, nullable=False, default=0),
    sa.Column("reason", sa.Text),
    sa.Column("progress", sa.Text),
    sa.Column("submitted", sa.Float, nullable=False),
    sa.Column("began", sa.Float),
    sa.Column("ended", sa.Float),
    sqlite_autoincrement=True,  # an id is never given twice
)


@dataclass(frozen=True)
class Search:
    """A search of the queue; times are seconds since 1970, UTC.

    `tries` counts its processes that died since it last had a new trial; it had `trials_before` at its last launch.
    """

    id: int
    kind: str
    study: str
    name: str
    options: Mapping[str, Any]
    priority: int
    key: str | None
    state: str
    wanted: str | None
    device: str | None
    launch: str | None
    owner: Owner | None
    beat: int
    tries: int
    trials_before: int
    reason: str | None
    told: str | None = field(repr=False)  # its progress, as JSON
    submitted: float
    began: float | None
    ended: float | None

    @cached_property
    def progress(self) -> Mapping[str, Any]:
        """How far it had come when its last process ended."""
        found: Mapping[str, Any] = {} if self.told is None else json.loads(self.told)
        return found

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE


class Conflict(UsageError):
    """A search is not in the state that a request needs."""


class Queue:
    """The table of searches in the store at `url`; `create` makes the store and the table where they are missing."""

    def __init__(self, url: str, *, create: bool = False, timeout: float = TIMEOUT_S) -> None:
        self.url, self.timeout = parse_url(url), timeout
        if create:
            open_storage(url, create=True).close()  # also refuses a file of another program
        with self._telling():
            self.engine = open_engine(url, timeout)
            if create:
                _TABLES.create_all(self.engine)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Inside, an error of the database becomes a StoreError."""
        try:
            yield
        except IntegrityError:
            raise
        except DATABASE_ERRORS as error:
            raise store_error(self.url, error, self.timeout) from error

    @contextmanager
    def connection(self) -> Iterator[sa.Connection]:
        """A connection whose changes are committed at the end. Raises StoreError."""
        with self._telling(), self.engine.begin() as connection:
            yield connection

    # Read.

    def find(
        self,
        *,
        ids: Sequence[int] | None = None,
        states: Sequence[str] | None = None,
        name: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[Search]:
        """The searches, the newest first: those with an id below `before`, at most `limit`."""
        query = sa.select(_SEARCHES).order_by(_SEARCHES.c.id.desc())
        if ids is not None:
            query = query.where(_SEARCHES.c.id.in_(ids))
        if states is not None:
            query = query.where(_SEARCHES.c.state.in_(states))
        if name is not None:
            query = query.where(_SEARCHES.c.name == name)
        if before is not None:
            query = query.where(_SEARCHES.c.id < before)
        with self.connection() as connection:
            return [_search(row) for row in connection.execute(query.limit(limit))]

    def get(self, search_id: int) -> Search | None:
        """The search with that id."""
        return next(iter(self.find(ids=[search_id])), None)

    def counts(self) -> dict[str, int]:
        """How many searches there are in each state."""
        query = sa.select(_SEARCHES.c.state, sa.func.count()).group_by(_SEARCHES.c.state)
        with self.connection() as connection:
            found = {row.state: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    # Change.

    def submit(
        self,
        kind: str,
        study: str,
        name: str,
        options: Mapping[str, Any],
        priority: int = 0,
        key: str | None = None,
    ) -> tuple[Search, bool]:
        """Queue a search; with whether it is new. The same `key` twice is one search.

        Raises Conflict where the key came with another submission before.
        """
        text = json.dumps(options, sort_keys=True)
        given = {"kind": kind, "study": study, "name": name, "options": text, "priority": priority, "key": key}
        insert = sa.insert(_SEARCHES).values(**given, state=QUEUED, submitted=time.time())
        try:
            with self.connection() as connection:
                made = connection.execute(insert).inserted_primary_key
            assert made is not None
            found = self.get(int(made[0]))
            assert found is not None
            return found, True
        except IntegrityError:
            found = self.by_key(key)
            if found is None:
                raise
        same = (found.kind, found.study, found.name, json.dumps(found.options, sort_keys=True), found.priority)
        if same != (kind, study, name, text, priority):
            raise Conflict(f"the idempotency key {key!r} came before with another submission: give this one its own")
        return found, False

    def by_key(self, key: str | None) -> Search | None:
        """The search that was submitted with that idempotency key."""
        with self.connection() as connection:
            row = connection.execute(sa.select(_SEARCHES).where(_SEARCHES.c.key == key)).one_or_none()
        return None if row is None else _search(row)

    def take(self, search: Search, server: Owner, device: str, trials: int) -> str | None:
        """Take a queued search for a launch by `server`; the secret of the launch, None where it was taken before."""
        secret = str(uuid.uuid4())
        values = {"state": STARTING, "owner": json.dumps(server), "device": device, "launch": secret, "beat": 0}
        values |= {"tries": search.tries + 1 if trials <= search.trials_before else 1, "trials_before": trials}
        values |= {"began": search.began or time.time(), "ended": None, "wanted": None}
        return secret if self._change(search.id, [QUEUED], values) else None

    def begin(self, search_id: int, secret: str, owner: Owner) -> bool:
        """Let `owner` run the search that was taken with this secret; False where it is not to be begun any more."""
        return self._change(search_id, [STARTING], {"state": RUNNING, "owner": json.dumps(owner)}, secret)

    def want(self, search_id: int, wanted: str) -> bool:
        """Note what is wanted of a search that starts or runs."""
        return self._change(search_id, [STARTING, RUNNING], {"wanted": wanted})

    def stop_queued(self, search_id: int) -> bool:
        """Stop a search that has not begun."""
        return self._change(search_id, [QUEUED], {"state": STOPPED, "ended": time.time(), "reason": None})

    def beat(self, search: Search) -> None:
        """Renew the lease of a running search."""
        self._change(search.id, [RUNNING], {"beat": search.beat + 1}, search.launch)

    def end(self, search: Search, state: str, reason: str | None, progress: Mapping[str, Any]) -> bool:
        """End a search that this launch began, or put it back into the queue."""
        values: dict[str, Any] = {
            "state": state,
            "reason": reason,
            "progress": json.dumps(progress),
            "owner": None,
            "wanted": None,
        }
        values |= {"launch": None, "device": None, "ended": time.time() if state in ENDED else None}
        if state == QUEUED and reason is None:  # a pause is no death
            values["tries"] = 0
        return self._change(search.id, [STARTING, RUNNING], values, search.launch)

    def queue_again(self, search_id: int, options: Mapping[str, Any]) -> bool:
        """Let a search that has ended go on with these options."""
        values = {"state": QUEUED, "reason": None, "ended": None, "wanted": None, "tries": 0}
        return self._change(search_id, ENDED, {**values, "options": json.dumps(options, sort_keys=True)})

    def delete(self, search_id: int) -> bool:
        """Remove a search that has ended from the table."""
        gone = sa.delete(_SEARCHES).where(_SEARCHES.c.id == search_id, _SEARCHES.c.state.in_(ENDED))
        with self.connection() as connection:
            return connection.execute(gone).rowcount == 1

    def _change(
        self, search_id: int, states: Sequence[str], values: Mapping[str, Any], launch: str | None = None
    ) -> bool:
        """Change a search in one of these `states`, and of that `launch` where one is named; False where none is."""
        where = [_SEARCHES.c.id == search_id, _SEARCHES.c.state.in_(states)]
        if launch is not None:
            where.append(_SEARCHES.c.launch == launch)
        with self.connection() as connection:
            return connection.execute(sa.update(_SEARCHES).where(*where).values(**values)).rowcount == 1


def _search(row: sa.Row[Any]) -> Search:
    values = dict(row._mapping)
    try:
        for name in ("options", "owner"):
            values[name] = json.loads(values[name]) if values[name] is not None else None
    except ValueError as error:
        raise StoreError(
            f"search {values['id']} of the queue is damaged ({error}): restore a copy of the store"
        ) from error
    return Search(told=values.pop("progress"), **values)
