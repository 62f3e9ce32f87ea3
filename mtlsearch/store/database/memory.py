"""The reading half of the fast store: it keeps every trial that it has read, and asks the database for news only."""

import copy
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from mtlsearch.errors import StoreError
from mtlsearch.store.database import rows
from mtlsearch.store.database.errors import where
from mtlsearch.store.database.storage import Storage, is_counted, last_of

T = TypeVar("T")
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


MOST_NUMBERS = 10**7  # no study has more trials; a list has a place for each


@dataclass
class StudyMemory:
    """A study in memory: its trials by id, and which of them other processes may still change."""

    name: str
    directions: list[StudyDirection]
    trials: dict[int, FrozenTrial] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)  # by number
    unfinished: set[int] = field(default_factory=set)
    mine: set[int] = field(default_factory=set)  # running trials of this process, whose memory is right
    newest: int = -1  # every trial up to this id has been read
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    known: int = 0  # trials up to `newest`
    reserved: int = 0  # of them, those that run or count
    waiting: set[int] = field(default_factory=set)  # of them, the ids of those that wait
    scored: list[int] = field(default_factory=list)  # ids of trials that got scores, in their order
    read: int = 0  # how often a trial was taken in from the database
    attrs: tuple[dict[str, Any], dict[str, Any]] | None = None  # of the user, of the system
    ended: list[int] = field(default_factory=list)  # ids in the order in which this process learned of their end
    by_number: list[FrozenTrial | None] = field(default_factory=list)  # None where a trial is not known yet
    unknown: int = 0  # how many those are
    odd: dict[int, FrozenTrial] = field(default_factory=dict)  # by numbers that only a damaged store has

    def put(self, trial: FrozenTrial) -> None:
        before = self.trials.get(trial._trial_id)
        if trial.state.is_finished() and not (before is not None and before.state.is_finished()):
            self.ended.append(trial._trial_id)
        if len(trial.intermediate_values) > (0 if before is None else len(before.intermediate_values)):
            self.scored.append(trial._trial_id)
        if trial._trial_id <= self.newest:
            if before is not None:
                self._count(before, -1)
            self._count(trial, 1)
        self.trials[trial._trial_id] = trial
        self.ids[trial.number] = trial._trial_id
        self._place(trial)
        if before is None or trial.distributions is not before.distributions:
            for name in trial.distributions.keys() - self.distributions.keys():
                self.distributions[name] = trial.distributions[name]
        if trial.state.is_finished():
            self.unfinished.discard(trial._trial_id)
            self.mine.discard(trial._trial_id)
        else:
            self.unfinished.add(trial._trial_id)

    def _place(self, trial: FrozenTrial) -> None:
        if not 0 <= trial.number < MOST_NUMBERS:
            self.odd[trial.number] = trial
            return
        missing = trial.number + 1 - len(self.by_number)
        if missing > 0:
            self.by_number += [None] * missing
            self.unknown += missing
        self.unknown -= self.by_number[trial.number] is None
        self.by_number[trial.number] = trial

    def all_known(self) -> list[FrozenTrial]:
        """All trials by their numbers; copying a list of 100,000 takes a tenth of a millisecond."""
        if self.unknown or self.odd:
            known = [*self.odd.values(), *(trial for trial in self.by_number if trial is not None)]
            return sorted(known, key=lambda trial: trial.number)
        return cast(list[FrozenTrial], self.by_number.copy())

    def in_training(self, newest: int | None = None, *, scored: bool = False) -> list[FrozenTrial]:
        """See `Storage.unfinished`."""
        if newest is None or len(self.unfinished) <= newest or self.unknown or self.odd:
            found = sorted((self.trials[i] for i in self.unfinished), key=lambda trial: trial.number)
            return last_of([t for t in found if t.intermediate_values or not scored], newest)
        known = cast(list[FrozenTrial], self.by_number)
        wanted = (t for t in reversed(known) if not t.state.is_finished() and (t.intermediate_values or not scored))
        return [*islice(wanted, newest)][::-1]

    def _count(self, trial: FrozenTrial, by: int) -> None:
        self.known += by
        self.reserved += by * (trial.state is TrialState.RUNNING or is_counted(trial))
        if trial.state is TrialState.WAITING and by > 0:
            self.waiting.add(trial._trial_id)
        else:
            self.waiting.discard(trial._trial_id)

    def have_read(self, newest: int) -> None:
        """Note that every trial up to this id has been read.

        They are counted here and never again in the database: reserving costs the same at 100,000 trials as at ten.
        """
        for trial in (self.trials[i] for i in range(self.newest + 1, newest + 1) if i in self.trials):
            self._count(trial, 1)
        self.newest = max(self.newest, newest)


class RememberedStorage(Storage):
    """See `Storage`; trials of other processes appear at `refresh`, or at once in a store that is only read."""

    def __init__(self, rdb: RDBStorage, url: URL, *, timeout: float, read_only: bool) -> None:
        super().__init__(rdb, url, timeout=timeout, read_only=read_only)
        self._backend = rdb  # without Optuna's cache, which would be a second copy
        self._engine: sa.Engine = rdb.engine
        self._studies: dict[int, StudyMemory] = {}
        self._study_of: dict[int, StudyMemory] = {}
        self._deleted: set[int] = set()  # trials of studies that somebody deleted while they were in use
        self._deleted_studies: set[int] = set()
        self._lock = threading.RLock()  # the memory; never held while the database is waited for

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        def attempt() -> T:
            with self._engine.begin() as connection:
                self._begin(connection, "BEGIN")
                return work(connection)

        return self._guard(attempt)

    def _begin(self, connection: sa.Connection, statement: str) -> None:
        # Python's sqlite3 would begin at the first write, when the snapshot may be too old to write to.
        if self.url.get_backend_name() == "sqlite":
            connection.exec_driver_sql(statement)

    # The memory.

    def _study(self, study_id: int) -> StudyMemory:
        """The study in memory, read from the store at the first call. Raises KeyError for an unknown study."""
        with self._lock:
            study = self._studies.get(study_id)
        if study is not None:
            return study
        if study_id in self._deleted_studies:
            raise self._study_is_gone()
        study = StudyMemory(super().get_study_name_from_id(study_id), super().get_study_directions(study_id))
        self._take_in(study_id, study)
        with self._lock:
            return self._studies.setdefault(study_id, study)

    def refresh(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.get(study_id)
        if study is None:
            self._study(study_id)
        else:
            self._take_in(study_id, study)

    def _take_in(self, study_id: int, study: StudyMemory) -> None:
        """Read the trials that are new, and those that another process may have changed."""
        seen, trials = self._read(self._news(study_id, study))
        with self._lock:
            for trial in trials:
                if self._is_news(study, trial):
                    study.put(trial)
                    study.read += 1
                    self._deleted.discard(trial._trial_id)
                    self._study_of[trial._trial_id] = study
            study.have_read(seen)
            study.attrs = None

    def _news(self, study_id: int, study: StudyMemory) -> Callable[[sa.Connection], tuple[int, list[FrozenTrial]]]:
        """A reader of what the memory lacks: the study's highest trial id, and the trials that are new or changed."""
        with self._lock:
            newest, mine = study.newest, set(study.mine)
            known = {i: study.trials[i].state for i in study.unfinished}

        def read(connection: sa.Connection) -> tuple[int, list[FrozenTrial]]:
            new = rows.states_after(connection, study_id, newest)
            ids = {i for i in new if i not in study.trials}
            for i, state in rows.states_of(connection, known).items():
                if i not in mine or state != known[i]:
                    ids.add(i)
            return max(new, default=newest), rows.read_trials(connection, ids)

        return read

    @staticmethod
    def _is_news(study: StudyMemory, trial: FrozenTrial) -> bool:
        """Whether a trial as it was read is newer than in memory, where this process may have changed it since."""
        known = study.trials.get(trial._trial_id)
        if known is None or trial.state.is_finished():
            return known is None or not known.state.is_finished()
        return not known.state.is_finished() and trial._trial_id not in study.mine

    def _reload(self, ids: set[int]) -> None:
        """Read again trials that other processes have ended; forget the study of a trial that is gone."""
        trials = {t._trial_id: t for t in self._read(lambda c: rows.read_trials(c, ids))}
        with self._lock:
            known = {trial_id: self._study_of[trial_id] for trial_id in ids & self._study_of.keys()}
            for trial_id, study in known.items():
                if trial_id in trials:
                    study.put(trials[trial_id])
                    study.read += 1
                else:  # of a deleted study every trial is gone
                    self._lose(study)

    def _lose(self, study: StudyMemory) -> None:
        """Forget a study that somebody deleted; from now on its use is a StoreError that says so."""
        self._deleted |= study.trials.keys()
        self._deleted_studies |= {i for i, s in self._studies.items() if s is study}
        self._forget(study)

    def _forget(self, study: StudyMemory) -> None:
        self._studies = {i: s for i, s in self._studies.items() if s is not study}
        self._study_of = {i: s for i, s in self._study_of.items() if s is not study}

    def _load(self, trial_id: int) -> None:
        """Read the study of an unknown trial. Raises KeyError where there is no such trial."""
        with self._lock:
            known = trial_id in self._study_of
        if known and not self.read_only:
            return
        if trial_id in self._deleted:  # the database may have given its id to another trial since
            raise self._study_is_gone()
        study_id = self._read(lambda c: rows.study_of(c, trial_id))
        if study_id is None:
            raise KeyError(f"No trial with trial_id {trial_id} exists.")
        self.refresh(study_id)

    def _study_is_gone(self) -> StoreError:
        return StoreError(
            f"store {where(self.url)}: the study was deleted while it was in use; run the same command again to"
            " begin it anew"
        )

    # Optuna's interface.

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        study_id = super().create_new_study(directions, study_name)
        with self._lock:
            self._deleted_studies.discard(study_id)  # SQLite gives the id of a deleted study again
        return study_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        self._load(trial_id)
        with self._lock:
            return self._study_of[trial_id].trials[trial_id]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        study = self._study(study_id)
        if self.read_only:
            self.refresh(study_id)
        with self._lock:
            if states is None or any(state in states for state in _FINISHED):
                trials = study.all_known()
            else:
                trials = study.in_training()
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def ended_since(self, study_id: int, place: int) -> list[FrozenTrial]:
        study = self._study(study_id)
        with self._lock:
            return [study.trials[i] for i in study.ended[place:]]

    def unfinished(self, study_id: int, newest: int | None = None, *, scored: bool = False) -> list[FrozenTrial]:
        study = self._study(study_id)
        with self._lock:
            return study.in_training(newest, scored=scored)

    def version(self, study_id: int) -> tuple[int, int, int]:
        study = self._study(study_id)
        return len(study.ended), len(study.scored), study.read

    def scored_since(self, study_id: int, place: int) -> list[FrozenTrial]:
        study = self._study(study_id)
        with self._lock:
            return [study.trials[i] for i in study.scored[place:]]

    def numbered(self, study_id: int, numbers: Iterable[int], begin: int) -> list[FrozenTrial]:
        study = self._study(study_id)
        with self._lock:
            if study.unknown or study.odd:
                return super().numbered(study_id, numbers, begin)
            before = [study.by_number[number] for number in sorted({*numbers}) if number < begin]
            return cast(list[FrozenTrial], before + study.by_number[begin:])

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._study(study_id).ids[trial_number]

    def get_study_id_from_name(self, study_name: str) -> int:
        # Hyperband makes a study object for its bracket at every ask, report and tell; each comes here.
        with self._lock:
            known = [i for i, study in self._studies.items() if study.name == study_name]
        return known[0] if known and not self.read_only else super().get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._study(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attrs(study_id)[0]

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attrs(study_id)[1]

    def _attrs(self, study_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
        study = self._study(study_id)
        attrs = study.attrs
        if attrs is None or self.read_only:
            attrs = super().get_study_user_attrs(study_id), super().get_study_system_attrs(study_id)
            study.attrs = attrs
        return attrs
