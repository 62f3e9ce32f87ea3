"""A store through Optuna's public API alone: every write is a commit of its own, and nothing is buffered.

`Storage` is what the rest of mtlsearch sees. This class is used where the tables are not the ones that
`storage_rows` knows; `storage_buffered.BufferedStorage` is the fast one with the same meaning.
"""

import copy
import time
import weakref
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from mtlsearch.errors import StoreError
from mtlsearch.store.database.errors import DATABASE_ERRORS, is_disconnect, store_error, where

RECONNECT_S = 60.0  # for how long a server that went away is called again
T = TypeVar("T")


def is_counted(trial: FrozenTrial) -> bool:
    """Whether the trial has an outcome of its own, and so counts towards the total of a search."""
    return trial.state.is_finished() and trial.user_attrs.get("interrupted") is not True


def retry_of(trial: FrozenTrial) -> FrozenTrial:
    """The waiting trial that asks an interrupted one's params again."""
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        system_attrs={"fixed_params": params} if params else {},
        user_attrs={"retry_of": trial.number},
    )


class Storage(BaseStorage):
    """An Optuna storage whose failures are StoreErrors, and which can reserve trials up to a total.

    `timeout` is how long, in seconds, a lock of another process is waited for. Use it as a context manager,
    or call `close`. Reading works everywhere; with `read_only` every write raises StoreError.
    """

    def __init__(self, rdb: RDBStorage, url: URL, *, timeout: float, read_only: bool) -> None:
        self._rdb, self._backend, self.url = rdb, get_storage(rdb), url
        self.timeout, self.read_only = timeout, read_only
        weakref.finalize(self, rdb.engine.dispose)
        self.check_store: Callable[[], None] = lambda: None
        self.before_first_write: Callable[[], None] = lambda: None
        self.open_again: Callable[[], Storage]  # set by whoever opens the store, as the two above

    def __reduce__(self) -> tuple[Any, ...]:
        # Optuna's contract wants a copy in another process to open the store anew.
        return self.open_again, ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:
            # What made the block fail says more than what cannot be written after it.
            if error is None:
                raise

    # The search: reserve, ask, refresh, flush, interrupt, close.

    def ask(
        self, study: optuna.Study, total: int, attrs: Mapping[str, Any] | None = None
    ) -> optuna.Trial | None:
        """Reserves a trial of the study and gives it, ready to suggest params; None at the total."""
        trial_id = self.reserve(study._study_id, total, attrs)
        if trial_id is None:
            return None
        study._thread_local.cached_all_trials = None  # what `Study.ask` does too
        return optuna.Trial(study, trial_id)

    def reserve(self, study_id: int, total: int, attrs: Mapping[str, Any] | None = None) -> int | None:
        """The id of a running trial that is this process's own, or None if `total` are counted or running.

        A waiting trial is taken before a new one is made. `attrs` become its user attributes.

        Without a transaction the trial is made first, and withdrawn (FAIL, `interrupted`) where others were
        ahead: the numbers that the database gives out decide.
        """
        if self._reserved(study_id) >= total:
            return None
        trial_id = self._pop_waiting(study_id) or self.create_new_trial(study_id)
        number = self.get_trial(trial_id).number
        if self._reserved(study_id, below=number) >= total:
            self.withdraw(trial_id)
            return None
        for key, value in (attrs or {}).items():
            self.set_trial_user_attr(trial_id, key, value)
        return trial_id

    def _reserved(self, study_id: int, below: int | None = None) -> int:
        trials = self.get_all_trials(study_id, deepcopy=False)
        return sum(
            is_counted(t) or t.state == TrialState.RUNNING
            for t in trials
            if below is None or t.number < below
        )

    def _pop_waiting(self, study_id: int) -> int | None:
        for trial in self.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,)):
            try:
                if self.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    return trial._trial_id
            except UpdateFinishedTrialError:
                continue
        return None

    def withdraw(self, trial_id: int) -> bool:
        """End a running trial as FAIL with `interrupted`, so that it does not count; False if it had ended before.

        Of two processes that take over a dead one's trial, one gets True.
        """
        try:
            self.set_trial_user_attr(trial_id, "interrupted", True)
            return self.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def interrupt(self, trial_id: int) -> int | None:
        """Withdraw a running trial and put its params into the queue again; None if it had ended before.

        Gives the id of the waiting trial, whose `retry_of` is the number of the withdrawn one.
        """
        trial = copy.deepcopy(self.get_trial(trial_id))
        if not self.withdraw(trial_id):
            return None
        return self.create_new_trial(self._study_id_of(trial_id), retry_of(trial))

    def _study_id_of(self, trial_id: int) -> int:
        number = self.get_trial(trial_id).number
        for study in self.get_all_studies():
            try:
                if self.get_trial_id_from_study_id_trial_number(study._study_id, number) == trial_id:
                    return study._study_id
            except KeyError:
                continue
        raise KeyError(f"No trial with trial_id {trial_id} exists.")

    def refresh(self, study_id: int) -> None:
        """Takes in what other processes wrote to the study."""

    def flush(self) -> None:
        """Commits every write that is still buffered. Raises StoreError, and keeps them, if it cannot."""

    def close(self) -> None:
        """Flushes, and gives the connections back; calling it again does nothing."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()

    # Errors.

    def _guard(self, work: Callable[[], T], *, write: bool = False) -> T:
        """Does the work, again while a server is away for at most RECONNECT_S; failures are StoreErrors."""
        deadline = time.monotonic() + RECONNECT_S
        while True:
            self.check_store()
            try:
                if write:
                    self._prepare_write()
                return work()
            except DATABASE_ERRORS as e:
                if not is_disconnect(self.url, e):
                    raise store_error(self.url, e, self.timeout) from e
                if time.monotonic() > deadline:
                    told = store_error(self.url, e, self.timeout)
                    raise StoreError(f"{told} (it was called again for {RECONNECT_S:g} s)") from e
            time.sleep(0.2)

    def _prepare_write(self) -> None:
        if self.read_only:
            raise StoreError(
                f"store {where(self.url)}: it is open for reading only; `mtlsearch run` writes it"
            )
        prepare, self.before_first_write = self.before_first_write, lambda: None
        prepare()

    # Optuna's interface.

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._guard(lambda: self._backend.create_new_study(directions, study_name), write=True)

    def delete_study(self, study_id: int) -> None:
        self._guard(lambda: self._backend.delete_study(study_id), write=True)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._guard(lambda: self._backend.set_study_user_attr(study_id, key, value), write=True)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._guard(lambda: self._backend.set_study_system_attr(study_id, key, value), write=True)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._guard(lambda: self._backend.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._guard(lambda: self._backend.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._guard(lambda: self._backend.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._guard(lambda: self._backend.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._guard(lambda: self._backend.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._guard(self._backend.get_all_studies)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._guard(lambda: self._backend.create_new_trial(study_id, template_trial), write=True)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        set_param, value = self._backend.set_trial_param, param_value_internal
        self._guard(lambda: set_param(trial_id, param_name, value, distribution), write=True)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        return self._guard(lambda: self._backend.set_trial_state_values(trial_id, state, values), write=True)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        report = self._backend.set_trial_intermediate_value
        self._guard(lambda: report(trial_id, step, intermediate_value), write=True)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._guard(lambda: self._backend.set_trial_user_attr(trial_id, key, value), write=True)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._guard(lambda: self._backend.set_trial_system_attr(trial_id, key, value), write=True)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        find = self._backend.get_trial_id_from_study_id_trial_number
        return self._guard(lambda: find(study_id, trial_number))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._guard(lambda: self._backend.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        self.get_study_directions(study_id)  # the study of which nothing is known raises KeyError
        return self._guard(lambda: self._backend.get_all_trials(study_id, deepcopy, states))

    def remove_session(self) -> None:
        self._rdb.remove_session()


def new_running_trial(attrs: Mapping[str, Any] | None = None) -> FrozenTrial:
    """A trial that starts now; the store gives it a number and an id."""
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=dict(attrs or {}))
    trial.datetime_start = datetime.now()
    return trial
