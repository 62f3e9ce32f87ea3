"""Optuna's trials as rows of Optuna 5's own tables, and back.

`TABLES_REVISION` is the schema that this module knows; with another schema the store uses Optuna's public API.
Source: optuna/storages/_rdb/models.py of Optuna 5.0.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import postgresql, sqlite

from mtlsearch.errors import one_line
from mtlsearch.store.database.damage import damage

TABLES_REVISION = "v3.2.0.a"

_TRIALS, _PARAMS = models.TrialModel.__table__, models.TrialParamModel.__table__
_VALUES, _REPORTS = models.TrialValueModel.__table__, models.TrialIntermediateValueModel.__table__
_USER, _SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__
_STUDIES = models.StudyModel.__table__
# By table: the column that is unique within a trial, and the columns that a second write replaces.
_KEYS = {
    _PARAMS: ("param_name", ("param_value", "distribution_json")),
    _VALUES: ("objective", ("value", "value_type")),
    _REPORTS: ("step", ("intermediate_value", "intermediate_value_type")),
    _USER: ("key", ("value_json",)),
    _SYSTEM: ("key", ("value_json",)),
}
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_IDS_AT_ONCE = 500  # far below SQLite's limit of variables in a statement

Row = dict[str, Any]
# (table, trial id, key) -> row: a later write replaces an earlier write of the same thing.
Changes = dict[tuple[sa.Table, int, str | int], Row]


def tables_are_known(revision: str) -> bool:
    """Whether the store and the installed Optuna use the tables as this module writes them (times in UTC)."""
    return revision == TABLES_REVISION and hasattr(models.TrialModel, "_datetime_start_utc")


def _change(table: sa.Table, trial_id: int, key: str | int, *values: Any) -> Changes:
    column, columns = _KEYS[table]
    row = dict(zip(columns, values, strict=True))
    return {(table, trial_id, key): {"trial_id": trial_id, column: key, **row}}


def param_change(trial_id: int, name: str, value: float, distribution: BaseDistribution) -> Changes:
    return _change(_PARAMS, trial_id, name, value, distribution_to_json(distribution))


def report_change(trial_id: int, step: int, value: float) -> Changes:
    stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return _change(_REPORTS, trial_id, step, *stored)


def attr_change(trial_id: int, key: str, value: Any, *, system: bool = False) -> Changes:
    return _change(_SYSTEM if system else _USER, trial_id, key, json.dumps(value))


def state_change(trial: FrozenTrial) -> Changes:
    """The trial's state, times and values."""
    times = {"start": _to_utc(trial.datetime_start), "end": _to_utc(trial.datetime_complete)}
    row = {"id": trial._trial_id, "state": trial.state, **times}
    changes: Changes = {(_TRIALS, trial._trial_id, "state"): row}
    for objective, value in enumerate(trial.values or ()):
        changes |= _change(_VALUES, trial._trial_id, objective, *models.TrialValueModel.value_to_stored_repr(value))
    return changes


def write(connection: sa.Connection, changes: Changes) -> set[int]:
    """Write the changes of unfinished trials; the ids of the trials that have finished meanwhile.

    A finished trial is never changed: another process may have ended it because its owner seemed dead.
    """
    ids = {trial_id for _, trial_id, _ in changes}
    unfinished = _unfinished(connection, ids)
    _write_rows(connection, {key: row for key, row in changes.items() if key[1] in unfinished})
    return ids - unfinished


def _unfinished(connection: sa.Connection, ids: Iterable[int]) -> set[int]:
    query = sa.select(_TRIALS.c.trial_id).where(
        _TRIALS.c.trial_id.in_(sorted(ids)), _TRIALS.c.state.in_((TrialState.RUNNING, TrialState.WAITING))
    )
    # In SQLite the whole file is locked already; the order keeps PostgreSQL's sessions from a deadlock.
    return set(connection.scalars(query.order_by(_TRIALS.c.trial_id).with_for_update()))


def _write_rows(connection: sa.Connection, changes: Changes) -> None:
    tables: dict[sa.Table, list[Row]] = defaultdict(list)
    for (table, _, _), row in changes.items():
        tables[table].append(row)
    states = tables.pop(_TRIALS, None)
    for table, rows in tables.items():
        connection.execute(_upsert(table, connection.dialect.name), rows)
    if states:
        connection.execute(_UPDATE_STATE, states)


@lru_cache
def _upsert(table: sa.Table, dialect: str) -> Any:
    key, values = _KEYS[table]
    insert = _INSERT[dialect](table)
    insert = insert.values({name: sa.bindparam(name) for name in ("trial_id", key, *values)})
    replace = {name: insert.excluded[name] for name in values}
    return insert.on_conflict_do_update(index_elements=["trial_id", key], set_=replace)


_UPDATE_STATE = (
    sa.update(_TRIALS)
    .where(_TRIALS.c.trial_id == sa.bindparam("id"))
    .values(
        state=sa.bindparam("state"),
        datetime_start=sa.bindparam("start"),
        datetime_complete=sa.bindparam("end"),
    )
)


class Standing(NamedTuple):
    """How many trials there are, how many of them count or run, and the id of the first that waits."""

    trials: int
    reserved: int
    waiting: int | None


def lock_study(connection: sa.Connection, study_id: int, above: int, waiting: Iterable[int]) -> Standing:
    """Lock the study for this transaction: no other process numbers a trial. Raises KeyError for no study.

    The standing is that of the trials above an id, and of others that were `waiting` when they were read.
    """
    query = sa.select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id).with_for_update()
    if connection.execute(query).first() is None:
        raise KeyError(f"No study with study_id {study_id} exists.")
    # A second statement, so that PostgreSQL sees the commits that came while this one waited for the lock.
    trials, reserved, first = connection.execute(_STANDING, {"study": study_id, "above": above}).one()
    states = states_of(connection, waiting)
    reserved += sum(state is not TrialState.WAITING for state in states.values())
    return Standing(trials, reserved, min((i for i, s in states.items() if s is TrialState.WAITING), default=first))


def _standing() -> Any:
    """One pass over the study's trials; an interrupted trial does not count."""
    interrupted = sa.exists().where(
        _USER.c.trial_id == _TRIALS.c.trial_id, _USER.c.key == "interrupted", _USER.c.value_json == "true"
    )
    state, id_ = _TRIALS.c.state, _TRIALS.c.trial_id
    failed = sa.and_(state == TrialState.FAIL, ~interrupted)
    reserved = sa.or_(state.in_((TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)), failed)
    count = sa.func.count
    query = sa.select(count(), count(sa.case((reserved, 1))), sa.func.min(sa.case((state == TrialState.WAITING, id_))))
    return query.where(_TRIALS.c.study_id == sa.bindparam("study"), id_ > sa.bindparam("above"))


_STANDING = _standing()


def insert_trial(connection: sa.Connection, study_id: int, number: int, trial: FrozenTrial) -> None:
    """Add the trial to the locked study, and give it its number and its id."""
    trial.number = number
    row = {
        "study_id": study_id,
        "number": number,
        "state": trial.state,
        "datetime_start": _to_utc(trial.datetime_start),
        "datetime_complete": _to_utc(trial.datetime_complete),
    }
    key = connection.execute(sa.insert(_TRIALS), row).inserted_primary_key
    assert key is not None
    trial._trial_id = key[0]
    _write_rows(connection, _content(trial))


def _content(trial: FrozenTrial) -> Changes:
    number, changes = trial._trial_id, state_change(trial)
    del changes[_TRIALS, number, "state"]
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        changes |= param_change(number, name, distribution.to_internal_repr(value), distribution)
    for step, value in trial.intermediate_values.items():
        changes |= report_change(number, step, value)
    for attrs, system in ((trial.user_attrs, False), (trial.system_attrs, True)):
        for key, value in attrs.items():
            changes |= attr_change(number, key, value, system=system)
    return changes


def start_waiting(connection: sa.Connection, trial_id: int, start: FrozenTrial) -> FrozenTrial | None:
    """Start a waiting trial with the start time and the user attributes of `start`; None if it no longer waits."""
    taken = sa.update(_TRIALS).where(_TRIALS.c.trial_id == trial_id, _TRIALS.c.state == TrialState.WAITING)
    values = {"state": TrialState.RUNNING, "datetime_start": _to_utc(start.datetime_start)}
    if connection.execute(taken.values(values)).rowcount == 0:
        return None
    attrs: Changes = {}
    for key, value in start.user_attrs.items():
        attrs |= attr_change(trial_id, key, value)
    _write_rows(connection, attrs)
    (trial,) = read_trials(connection, [trial_id])
    return trial


def states_after(connection: sa.Connection, study_id: int, newest: int) -> dict[int, TrialState]:
    """The states of the study's trials whose id is above `newest`, by id."""
    query = _STATES.where(_TRIALS.c.study_id == study_id, _TRIALS.c.trial_id > newest)
    return {row[0]: _state(row[1]) for row in connection.execute(query)}


def states_of(connection: sa.Connection, ids: Iterable[int]) -> dict[int, TrialState]:
    """The states of these trials by id, without the deleted ones."""
    states: dict[int, TrialState] = {}
    for chunk in _chunks(sorted(ids)):
        found = connection.execute(_STATES.where(_TRIALS.c.trial_id.in_(chunk)))
        states |= {row[0]: _state(row[1]) for row in found}
    return states


# A state as text: SQLAlchemy would refuse the whole answer for one that it does not know.
_STATES = sa.select(_TRIALS.c.trial_id, sa.cast(_TRIALS.c.state, sa.String))


def _state(name: str) -> TrialState:
    """The state of that name; an odd one is of a damaged trial, which is read as failed."""
    return TrialState.__members__.get(name, TrialState.FAIL)


def study_of(connection: sa.Connection, trial_id: int) -> int | None:
    return connection.scalar(sa.select(_TRIALS.c.study_id).where(_TRIALS.c.trial_id == trial_id))


def read_trials(connection: sa.Connection, ids: Iterable[int]) -> list[FrozenTrial]:
    """The trials with these ids, in the order of the ids. A finished trial is whole: one commit finished it."""
    return [trial for chunk in _chunks(sorted(ids)) for trial in _read(connection, chunk)]


def _chunks(ids: list[int]) -> Iterable[list[int]]:
    return (ids[i : i + _IDS_AT_ONCE] for i in range(0, len(ids), _IDS_AT_ONCE))


def _read(connection: sa.Connection, ids: list[int]) -> list[FrozenTrial]:
    """The trials, one by one where a value of any cannot be read."""
    try:
        return list(_read_whole(connection, ids))
    except (ValueError, TypeError, LookupError, AssertionError) as error:  # Optuna asserts on odd values
        if len(ids) > 1:
            return [trial for number in ids for trial in _read(connection, [number])]
        return _unreadable(connection, ids[0], error)


def _unreadable(connection: sa.Connection, trial_id: int, error: Exception) -> list[FrozenTrial]:
    """A trial of which a value cannot be read, as a failed one that says so."""
    number = connection.scalar(sa.select(_TRIALS.c.number).where(_TRIALS.c.trial_id == trial_id))
    trial = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"reason": damage(one_line(error))})
    trial._trial_id, trial.number = trial_id, number if isinstance(number, int) else -trial_id
    return [trial]


def _read_whole(connection: sa.Connection, ids: list[int]) -> Iterable[FrozenTrial]:
    heads = connection.execute(sa.select(_TRIALS).where(_TRIALS.c.trial_id.in_(ids))).all()
    rows = {table: _children(connection, table, ids) for table in _KEYS}
    if not all(isinstance(head.number, int) for head in heads):
        raise ValueError("its number is no whole number")
    for head in sorted(heads, key=lambda h: int(h.trial_id)):
        yield _trial(head, {table: children[head.trial_id] for table, children in rows.items()})


def _children(connection: sa.Connection, table: sa.Table, ids: list[int]) -> dict[int, list[Any]]:
    key, values = _KEYS[table]
    query = sa.select(table.c.trial_id, table.c[key], *(table.c[v] for v in values))
    children: dict[int, list[Any]] = defaultdict(list)
    # In the order of the primary key: params stay in the order in which they were suggested.
    for row in connection.execute(query.where(table.c.trial_id.in_(ids)).order_by(*table.primary_key)):
        children[row[0]].append(row[1:])
    return children


def _trial(head: Any, rows: dict[sa.Table, list[Any]]) -> FrozenTrial:
    odd = next((row[0] for table in (_PARAMS, _USER, _SYSTEM) for row in rows[table] if type(row[0]) is not str), "")
    if type(odd) is not str:
        raise ValueError(f"the name {odd!r} is no text")
    params = [(name, value, _distribution(text)) for name, value, text in rows[_PARAMS]]
    to_report = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    to_value = models.TrialValueModel.stored_repr_to_value
    return FrozenTrial(
        number=head.number,
        state=head.state,
        value=None,
        values=[to_value(value, kind) for _, value, kind in sorted(rows[_VALUES])] or None,
        datetime_start=_to_local(head.datetime_start),
        datetime_complete=_to_local(head.datetime_complete),
        params={name: distribution.to_external_repr(value) for name, value, distribution in params},
        distributions={name: distribution for name, _, distribution in params},
        user_attrs={key: json.loads(text) for key, text in rows[_USER]},
        system_attrs={key: json.loads(text) for key, text in rows[_SYSTEM]},
        intermediate_values={step: to_report(value, kind) for step, value, kind in rows[_REPORTS]},
        trial_id=head.trial_id,
    )


# A study has few distributions and thousands of params, and Optuna never changes a distribution. The other way is
# not cached: the choices (True, False) and (1, 0) are equal in Python, not in JSON.
@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _to_utc(time: datetime | None) -> datetime | None:
    return time.astimezone(UTC).replace(tzinfo=None) if time else None


def _to_local(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None) if time else None
