"""A store through Optuna's public API alone: every write is a commit of its own, and nothing is buffered.

The rest of mtlsearch sees a `Storage`. It is this class itself where `rows` does not know the tables; otherwise it
is `buffered.BufferedStorage`, which does the same faster.
"""

import copy
import time
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from mtlsearch.errors import StoreError, one_line
from mtlsearch.store.database.errors import DATABASE_ERRORS, is_disconnect, store_error, where
from mtlsearch.wording import message_line

RECONNECT_S = 60.0  # how long a server that is away is called again
T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Any])


def is_counted(trial: FrozenTrial) -> bool:
    """Whether the trial has an outcome of its own, and so counts towards the total of a search."""
    return trial.state.is_finished() and trial.user_attrs.get("interrupted") is not True


def retry_of(trial: FrozenTrial) -> FrozenTrial:
    """A waiting trial with the params of an interrupted one."""
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        system_attrs={"fixed_params": params} if params else {},
        user_attrs={"retry_of": trial.number},
    )


def _guarded(method: M, *, write: bool = False) -> M:
    """A method of Optuna's interface whose failures are StoreErrors."""

    def guarded(self: "Storage", *arguments: Any, **options: Any) -> Any:
        work = getattr(self._backend, method.__name__)
        try:
            return self._guard(lambda: work(*arguments, **options), write=write)
        except (ValueError, TypeError, OverflowError, LookupError) as error:
            if write or isinstance(error, KeyError):  # Optuna's contract has these for wrong calls and unknown names
                raise
            reason = message_line(one_line(error), 200)
            raise StoreError(f"store {where(self.url)}: it is damaged ({reason}): restore a copy of it") from error

    return cast(M, guarded)


class Storage(BaseStorage):
    """An Optuna storage whose failures are StoreErrors, and which can reserve trials up to a total.

    It waits `timeout` seconds for a lock of another process. With `read_only` every write raises StoreError.
    Use it as a context manager, or call `close`.
    """

    def __init__(self, rdb: RDBStorage, url: URL, *, timeout: float, read_only: bool) -> None:
        self._rdb, self._backend, self.url = rdb, get_storage(rdb), url
        self.timeout, self.read_only = timeout, read_only
        self._ended: dict[int, dict[int, FrozenTrial]] = {}  # by study and trial, in the order in which they ended
        weakref.finalize(self, rdb.engine.dispose)
        self.check_store: Callable[[], None] = lambda: None
        self.before_first_write: Callable[[], None] = lambda: None
        self.open_again: Callable[[], Storage]  # `opening` sets this and the two above

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
            # The error of the block says more than the error of writing after it.
            if error is None:
                raise

    # The search: reserve, ask, refresh, flush, interrupt, close.

    def ask(
        self, study: optuna.Study, total: int, attrs: Mapping[str, Any] | None = None, ahead: int = 0
    ) -> optuna.Trial | None:
        """Reserve a trial of the study, ready to suggest params; None at the total. `ahead` as in `reserve`."""
        trial_id = self.reserve(study._study_id, total, attrs, ahead)
        if trial_id is None:
            return None
        study._thread_local.cached_all_trials = None  # as `Study.ask` does
        return optuna.Trial(study, trial_id)

    def reserve(self, study_id: int, total: int, attrs: Mapping[str, Any] | None = None, ahead: int = 0) -> int | None:
        """The id of a trial that is now running in this process, None where `total` are counted or running.

        A waiting trial is taken before a new one is made. `attrs` become its user attributes. So many calls more with
        the same arguments are about to follow as `ahead` says: a store may reserve their trials at once.

        There is no transaction here, so the trial is made first, and withdrawn where other processes were ahead:
        the numbers that the database gives to trials decide.
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
        return sum(is_counted(t) or t.state == TrialState.RUNNING for t in trials if below is None or t.number < below)

    def _pop_waiting(self, study_id: int) -> int | None:
        for trial in self.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,)):
            try:
                if self.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    return trial._trial_id
            except UpdateFinishedTrialError:
                continue
        return None

    def adopt(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Let this process change a running trial that another one made, and set `attrs`; not if it has ended."""
        for key, value in attrs.items():
            with suppress(UpdateFinishedTrialError):
                self.set_trial_user_attr(trial_id, key, value)

    def create_unless(
        self, study_id: int, template: FrozenTrial, taken: Callable[[Sequence[FrozenTrial]], bool]
    ) -> int | None:
        """The id of a new trial as `template` has it, None where `taken` holds of the study's other trials.

        There is no transaction here either: `taken` decides again on the trials with lower numbers.
        """
        self.refresh(study_id)
        if taken(self.get_all_trials(study_id, deepcopy=False)):
            return None
        trial_id = self.create_new_trial(study_id, template)
        number = self.get_trial(trial_id).number
        self.refresh(study_id)
        if taken([t for t in self.get_all_trials(study_id, deepcopy=False) if t.number < number]):
            self.withdraw(trial_id)
            return None
        return trial_id

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
        """Take in what other processes wrote to the study."""

    def ended_since(self, study_id: int, place: int) -> list[FrozenTrial]:
        """The finished trials from `place` on, in the order in which this process learned of their end."""
        ended = self._ended.setdefault(study_id, {})
        for trial in self.get_all_trials(study_id, deepcopy=False):
            if trial.state.is_finished() and trial._trial_id not in ended:
                ended[trial._trial_id] = trial
        return [*ended.values()][place:]

    def unfinished(self, study_id: int, newest: int | None = None, *, scored: bool = False) -> list[FrozenTrial]:
        """The trials that have not ended, by their numbers; the `newest` so many, of those with a score if `scored`."""
        trials = [t for t in self.get_all_trials(study_id, deepcopy=False) if not t.state.is_finished()]
        return last_of([t for t in trials if t.intermediate_values or not scored], newest)

    def version(self, study_id: int) -> tuple[int, int, int] | None:
        """How many trials have ended, how often one got scores, and how often one was read from the database.

        None where that is not known.
        """
        return None

    def scored_since(self, study_id: int, place: int) -> list[FrozenTrial]:
        """The trials that got scores, from that place in the order in which they did; only where `version` is known."""
        raise NotImplementedError

    def set_user_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Set several user attributes of a trial."""
        for name, value in attrs.items():
            self.set_trial_user_attr(trial_id, name, value)

    def numbered(self, study_id: int, numbers: Iterable[int], begin: int) -> list[FrozenTrial]:
        """The trials with these numbers and all from the number `begin` on, by their numbers."""
        wanted = {*numbers}
        trials = self.get_all_trials(study_id, deepcopy=False)
        return [trial for trial in trials if trial.number in wanted or trial.number >= begin]

    def give_back(self) -> None:
        """End trials that were reserved ahead and not taken as interrupted."""

    @contextmanager
    def together(self) -> Iterator[set[int]]:
        """Inside, trials that end may be committed later: at the end of the context, all at once.

        It gives the ids of those that another process had ended before, which are known after the context.
        """
        yield set()

    def flush(self) -> None:
        """Commit every buffered write. Raises StoreError where that fails, and keeps the writes."""

    def close(self) -> None:
        """Flush, and give the connections back; a second call does nothing."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()

    # Errors.

    def _guard(self, work: Callable[[], T], *, write: bool = False) -> T:
        """Do the work, and again for RECONNECT_S seconds while the server is away. Raises StoreError."""
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
                    error = store_error(self.url, e, self.timeout)
                    raise StoreError(f"{error} (it was called again for {RECONNECT_S:g} s)") from e
            time.sleep(0.2)

    def _prepare_write(self) -> None:
        if self.read_only:
            raise StoreError(f"store {where(self.url)}: it is open for reading only; `mtlsearch run` writes it")
        prepare, self.before_first_write = self.before_first_write, lambda: None
        prepare()

    # Optuna's interface.

    create_new_study = _guarded(BaseStorage.create_new_study, write=True)
    delete_study = _guarded(BaseStorage.delete_study, write=True)
    set_study_user_attr = _guarded(BaseStorage.set_study_user_attr, write=True)
    set_study_system_attr = _guarded(BaseStorage.set_study_system_attr, write=True)
    get_study_id_from_name = _guarded(BaseStorage.get_study_id_from_name)
    get_study_name_from_id = _guarded(BaseStorage.get_study_name_from_id)
    get_study_directions = _guarded(BaseStorage.get_study_directions)
    get_study_user_attrs = _guarded(BaseStorage.get_study_user_attrs)
    get_study_system_attrs = _guarded(BaseStorage.get_study_system_attrs)
    get_all_studies = _guarded(BaseStorage.get_all_studies)
    create_new_trial = _guarded(BaseStorage.create_new_trial, write=True)
    set_trial_param = _guarded(BaseStorage.set_trial_param, write=True)
    set_trial_state_values = _guarded(BaseStorage.set_trial_state_values, write=True)
    set_trial_intermediate_value = _guarded(BaseStorage.set_trial_intermediate_value, write=True)
    set_trial_user_attr = _guarded(BaseStorage.set_trial_user_attr, write=True)
    set_trial_system_attr = _guarded(BaseStorage.set_trial_system_attr, write=True)
    get_trial_id_from_study_id_trial_number = _guarded(BaseStorage.get_trial_id_from_study_id_trial_number)
    get_trial = _guarded(BaseStorage.get_trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        self.get_study_directions(study_id)  # raises KeyError for an unknown study
        return self._guard(lambda: self._backend.get_all_trials(study_id, deepcopy, states))

    def remove_session(self) -> None:
        self._rdb.remove_session()


def last_of(trials: list[FrozenTrial], newest: int | None) -> list[FrozenTrial]:
    """The last so many trials, all where `newest` is None."""
    return trials if newest is None else trials[max(0, len(trials) - newest) :]


def new_running_trial(attrs: Mapping[str, Any] | None = None) -> FrozenTrial:
    """A trial that starts now; the store gives it a number and an id."""
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=dict(attrs or {}))
    trial.datetime_start = datetime.now()
    return trial
