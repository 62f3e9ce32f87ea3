"""The fast store: reads come from memory (`memory`), and writes go to Optuna's tables in few transactions.

Reports, params and attributes are buffered. A trial that ends is committed with all of them before
`set_trial_state_values` returns; a background thread commits the rest about twice a second, so that other
processes see running trials. The database numbers a trial in the transaction that makes it.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from mtlsearch.errors import StoreError
from mtlsearch.store.database import rows
from mtlsearch.store.database.errors import where
from mtlsearch.store.database.memory import RememberedStorage, StudyMemory
from mtlsearch.store.database.storage import new_running_trial, retry_of
from mtlsearch.store.database.write_buffer import WriteBuffer

T = TypeVar("T")


class BufferedStorage(RememberedStorage):
    """See `Storage`; while the process lives no write is lost, and when it dies no trial that was told."""

    def __init__(self, rdb: RDBStorage, url: URL, *, timeout: float, read_only: bool) -> None:
        super().__init__(rdb, url, timeout=timeout, read_only=read_only)
        self._buffer = WriteBuffer(self._write)
        self._ahead: deque[FrozenTrial] = deque()  # reserved, and not taken yet, for `_ahead_for`
        self._ahead_for: tuple[Any, ...] = ()
        self._ended_together: dict[int, FrozenTrial] | None = None  # inside `together`

    # Transactions.

    def _transaction(self, work: Callable[[sa.Connection], T]) -> T:
        def attempt() -> T:
            with self._engine.begin() as connection:
                self._begin(connection, "BEGIN IMMEDIATE")
                return work(connection)

        return self._guard(attempt, write=True)

    def _numbering(self, study: StudyMemory, study_id: int, work: Callable[[sa.Connection, rows.Standing], T]) -> T:
        """Do `work` in a transaction that has locked the study; `work` takes the whole study's standing."""
        with self._lock:
            newest, known, reserved, waiting = study.newest, study.known, study.reserved, set(study.waiting)

        def locked(connection: sa.Connection) -> T:
            new = rows.lock_study(connection, study_id, newest, waiting)
            return work(connection, rows.Standing(known + new.trials, reserved + new.reserved, new.waiting))

        try:
            return self._transaction(locked)
        except KeyError as e:
            with self._lock:
                self._lose(study)
            raise self._study_is_gone() from e

    def _write(self, changes: rows.Changes) -> None:
        lost = self._transaction(lambda c: rows.write(c, changes))
        if lost:
            self._reload(lost)

    def flush(self) -> None:
        self._buffer.flush()

    def close(self) -> None:
        if not self._buffer.closed:
            try:
                self.give_back()
                self._buffer.close(self.timeout)
            finally:
                super().close()

    def _change(self, trial: FrozenTrial, changes: rows.Changes) -> None:
        """Put the changed trial into the memory and its changes into the buffer; the lock is held."""
        if self.read_only:
            self._prepare_write()
        if self._buffer.closed:
            raise StoreError(f"store {where(self.url)}: it was closed; open it again to write")
        self._study_of[trial._trial_id].put(trial)
        self._buffer.add(changes)

    @contextmanager
    def _changing(self, trial_id: int) -> Iterator[FrozenTrial]:
        """A copy of an unfinished trial, to be changed; the memory is locked meanwhile."""
        self._load(trial_id)
        with self._lock:
            if trial_id in self._deleted:  # between the two steps another thread has noticed it
                raise self._study_is_gone()
            trial = self._study_of[trial_id].trials[trial_id]
            self.check_trial_is_updatable(trial_id, trial.state)
            changed = FrozenTrial.__new__(FrozenTrial)  # as `copy.copy` makes it, in a tenth of the time
            changed.__dict__.update(trial.__dict__)
            yield changed

    # The search.

    def reserve(self, study_id: int, total: int, attrs: Mapping[str, Any] | None = None, ahead: int = 0) -> int | None:
        """See `Storage`; one transaction counts, and takes a waiting trial or makes new ones.

        Those `ahead` are in the database, and in the memory once they are taken: until then no sampler sees them.
        """
        study, wanted = self._study(study_id), (study_id, dict(attrs or {}))
        if self._ahead and self._ahead_for != wanted:
            self.give_back()
        if self._ahead:
            return self._add(study, self._ahead.popleft())

        def take(connection: sa.Connection, standing: rows.Standing) -> list[FrozenTrial]:
            if standing.reserved >= total:
                return []
            trials = [new_running_trial(attrs) for _ in range(1 + min(ahead, total - standing.reserved - 1))]
            if standing.waiting is not None:
                waiting = rows.start_waiting(connection, standing.waiting, trials[0])
                if waiting is not None:  # None where plain Optuna took it, which does not lock the study
                    return [waiting]
            for place, trial in enumerate(trials):
                rows.insert_trial(connection, study_id, standing.trials + place, trial)
            return trials

        self._ahead_for = wanted
        self._ahead.extend(self._numbering(study, study_id, take))
        return self._add(study, self._ahead.popleft()) if self._ahead else None

    def give_back(self) -> None:
        while self._ahead:
            self.withdraw(self._add(self._study(self._ahead_for[0]), self._ahead.popleft()))

    def adopt(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        self._load(trial_id)
        with self._lock:
            self._study_of[trial_id].mine.add(trial_id)
        super().adopt(trial_id, attrs)

    def create_unless(
        self, study_id: int, template: FrozenTrial, taken: Callable[[Sequence[FrozenTrial]], bool]
    ) -> int | None:
        """See `Storage`; one transaction looks at the other trials and makes the new one."""
        study = self._study(study_id)
        trial, news = copy.deepcopy(template), self._news(study_id, study)

        def create(connection: sa.Connection, standing: rows.Standing) -> bool:
            with self._lock:
                others = dict(study.trials)
            for each in news(connection)[1]:
                if self._is_news(study, each):
                    others[each._trial_id] = each
            if taken(sorted(others.values(), key=lambda each: each.number)):
                return False
            rows.insert_trial(connection, study_id, standing.trials, trial)
            return True

        return self._add(study, trial) if self._numbering(study, study_id, create) else None

    def interrupt(self, trial_id: int) -> int | None:
        self._load(trial_id)
        self.flush()
        with self._lock:
            study = self._study_of[trial_id]
            study_id = next(i for i, s in self._studies.items() if s is study)

        def end(connection: sa.Connection, standing: rows.Standing) -> FrozenTrial | None:
            (old,) = rows.read_trials(connection, [trial_id])
            old.state, old.datetime_complete = TrialState.FAIL, datetime.now()
            changes = rows.attr_change(trial_id, "interrupted", True) | rows.state_change(old)
            if rows.write(connection, changes):
                return None
            retry = retry_of(old)
            rows.insert_trial(connection, study_id, standing.trials, retry)
            return retry

        retry = self._numbering(study, study_id, end)
        self._reload({trial_id})
        if retry is None:
            return None
        return self._add(study, retry)

    def _add(self, study: StudyMemory, trial: FrozenTrial) -> int:
        with self._lock:
            study.put(trial)
            self._deleted.discard(trial._trial_id)
            self._study_of[trial._trial_id] = study
            if trial.state == TrialState.RUNNING:
                study.mine.add(trial._trial_id)
        return trial._trial_id

    # Optuna's interface.

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        study = self._study(study_id)
        trial = copy.deepcopy(template_trial) or new_running_trial()

        def create(connection: sa.Connection, standing: rows.Standing) -> None:
            rows.insert_trial(connection, study_id, standing.trials, trial)

        self._numbering(study, study_id, create)
        return self._add(study, trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        value = distribution.to_external_repr(param_value_internal)
        with self._changing(trial_id) as trial:
            known = self._study_of[trial_id].distributions.get(param_name)
            if known is not None:
                check_distribution_compatibility(known, distribution)
            trial.params = trial.params | {param_name: value}
            trial.distributions = trial.distributions | {param_name: distribution}
            self._change(trial, rows.param_change(trial_id, param_name, param_value_internal, distribution))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._changing(trial_id) as trial:
            trial.intermediate_values = trial.intermediate_values | {step: intermediate_value}
            self._change(trial, rows.report_change(trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._changing(trial_id) as trial:
            trial.user_attrs = trial.user_attrs | {key: value}
            self._change(trial, rows.attr_change(trial_id, key, value))

    def set_user_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        with self._changing(trial_id) as trial:
            trial.user_attrs = {**trial.user_attrs, **attrs}
            changes: rows.Changes = {}
            for key, value in attrs.items():
                changes |= rows.attr_change(trial_id, key, value)
            self._change(trial, changes)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._changing(trial_id) as trial:
            trial.system_attrs = trial.system_attrs | {key: value}
            self._change(trial, rows.attr_change(trial_id, key, value, system=True))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Commit the state with every buffered change; when it returns, the trial is in the store."""
        if state == TrialState.RUNNING:
            with self._changing(trial_id) as trial:
                waits = trial.state == TrialState.WAITING
            return waits and self._start(trial)
        with self._changing(trial_id) as trial:
            trial.state = state
            if values is not None:
                trial.values = list(values)
            if state.is_finished():
                trial.datetime_complete = datetime.now()
            self._buffer.add(rows.state_change(trial))
            if self._ended_together is not None:
                self._study_of[trial_id].put(trial)
                self._ended_together[trial_id] = trial
                return True
        self.flush()
        self._check_written(trial)
        return True

    @contextmanager
    def together(self) -> Iterator[set[int]]:
        ended, lost = dict[int, FrozenTrial](), set[int]()
        self._ended_together = ended
        try:
            yield lost
        finally:
            self._ended_together = None
            if ended:
                self.flush()
        for trial in ended.values():
            try:
                self._check_written(trial)
            except UpdateFinishedTrialError:
                lost.add(trial._trial_id)

    def _check_written(self, trial: FrozenTrial) -> None:
        """Put a trial whose end is committed into the memory.

        Raises UpdateFinishedTrialError where another process had ended it.
        """
        trial_id = trial._trial_id
        with self._lock:
            if trial_id in self._deleted:
                raise self._study_is_gone()
            known = self._study_of[trial_id].trials[trial_id]
            # Where the answer to a commit was lost with the connection, the trial is found finished at this time.
            if known.datetime_complete != trial.datetime_complete:
                self.check_trial_is_updatable(trial_id, known.state)
            self._study_of[trial_id].put(trial)

    def _start(self, trial: FrozenTrial) -> bool:
        """Take a waiting trial out of the queue; False where another process was faster."""
        begun = self._transaction(lambda c: rows.start_waiting(c, trial._trial_id, new_running_trial()))
        if begun is None:
            self._reload({trial._trial_id})
            return False
        self._add(self._study_of[trial._trial_id], begun)
        return True

    def delete_study(self, study_id: int) -> None:
        self.flush()
        super().delete_study(study_id)
        with self._lock:
            if study_id in self._studies:
                self._forget(self._studies[study_id])

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_user_attr(study_id, key, value)
        self._study(study_id).attrs = None

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_system_attr(study_id, key, value)
        self._study(study_id).attrs = None
