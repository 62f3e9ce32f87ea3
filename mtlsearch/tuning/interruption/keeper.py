"""Keeping the states of trials in training, and going on from them after an interruption as if there was none.

All members of a run are kept in one file at an epoch's end, as often as that takes a small share of the time. The
store may be ahead of the file when the run dies: it holds later scores, trials that ended, and trials that were asked.
So the next run repeats the epochs since, with every trial in its place. A trial that has ended meanwhile is a *ghost*:
it is trained to its end again, for the room that it took, and nothing of it is stored. Trials that were asked since
enter at the same epochs as before. When the repetition has caught up, all is as without the interruption.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import StoreError, kind_and_line
from mtlsearch.processes import Owner, is_alive, is_here, same, this_process
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.database.damage import Anything, Number, Shape, Whole, fault
from mtlsearch.store.ownership import leaving
from mtlsearch.store.record import Record
from mtlsearch.store.states import StateFile, clear_states, found_states, write_states
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.study.study_file import source_sha256
from mtlsearch.training.device import Conditions
from mtlsearch.training.gradient_weighting import GRADIENT_BASED
from mtlsearch.training.kept import Kept
from mtlsearch.training.trainer import Trainer, Training

LEAST_SECONDS = 2.0  # of training that are worth a file
SHARE = 0.03  # of the time, that keeping may take
CREW = "crew"  # of an owner: which of the trainers of its process
VERSIONS = ("mtlsearch", "torch")
FACTS: Shape = {"made_by": [Anything], "members": list, "asked": list, "trainer": [Anything]}
MEMBER: Shape = {0: Whole, 1: Whole, 2: Number}  # its trial's number, its entry epoch, its seconds in training
Asked = tuple[int, Config]  # the number of a trial, and its config


@cache
def installed(package: str) -> str:
    """The version of a package; reading it takes milliseconds."""
    return version(package)


def are_whole(facts: Mapping[str, Any]) -> bool:
    """Whether the facts beside kept states are those that `Keeper.keep` writes."""
    if fault(facts, FACTS, "it") is not None:
        return False
    members = [dict(enumerate(member)) if isinstance(member, list) else member for member in facts["members"]]
    parts = [*((number, Whole) for number in facts["asked"]), *((member, MEMBER) for member in members)]
    return all(fault(part, shape, "it") is None for part, shape in parts)


class Told(Protocol):
    """Who is told of members that are back."""

    def asked(self, number: int, config: Config) -> None: ...
    def notice(self, text: str) -> None: ...


class Keeper:
    """Keeps the members of `trainer` while a study is searched, and brings back those of a run that was cut off."""

    def __init__(
        self,
        record: Record,
        training: Training,
        conditions: Conditions,
        watcher: Told,
        trainer: Trainer,
        crew: int | None = None,
    ) -> None:
        self.record, self.training, self.conditions, self.watcher = record, training, conditions, watcher
        self.trainer = trainer
        self.file: StateFile | None = None
        self.owner: Owner = this_process() if crew is None else {**this_process(), CREW: crew}
        self.owners = [self.owner]
        self.entries: dict[int, int] = {}  # the entry epoch of each member, by its trial's number
        self.asked: set[int] = set()  # the trials that this run, and those that it goes on from, have asked
        self.queue: list[int] = []  # the trials that were asked after the states were kept
        self.ghosts: dict[int, int] = {}  # the epochs after which each ended
        self.cost, self.last = 0.0, time.monotonic()
        self.crews = 1  # whose states this process keeps
        self.round: int | None = None  # of crews that keep step: the last one that this crew has trained
        # An aggregator of gradients may keep a state that nothing outside of it can read.
        self.works = training.method not in GRADIENT_BASED

    # Asking.

    def ask(self, total: int, affords_a_trial: Callable[[], bool], *, fills: bool = False) -> Asked | None:
        """The next trial for the trainer's room: one that was asked before an interruption, else a new one.

        A new one needs `affords_a_trial`; the others were counted when they were asked. `fills` says that the caller
        asks until the room is full.
        """
        if (queued := self.queued()) is not None:
            return queued
        room = self.trainer.room()
        if room <= 0 or not affords_a_trial():
            return None
        new = self.record.ask(self.training.loaded.study.search_space, total, self.owner, room - 1 if fills else 0)
        if new is None:
            return None
        self.asked.add(new[0].number)
        return new[0].number, new[1]

    def queued(self) -> Asked | None:
        """The next of the trials that were asked before an interruption; those that have ended become ghosts."""
        while self.queue and self.trainer.room() > 0:
            number = self.queue.pop(0)
            self.asked.add(number)
            config = self._again(number)
            if config is not None:
                return number, config
            trial = self.record.trial(number)
            if "epochs" in trial.user_attrs:
                self._haunt(trial, self._add(number, self._config_of(trial)))
        return None

    def _again(self, number: int, seconds: float = 0.0) -> Config | None:
        """The config of a trial that goes on after `seconds` of training; None where it has ended."""
        return self.record.ask_again(number, self.training.loaded.study.search_space, seconds)

    def _config_of(self, trial: FrozenTrial) -> Config:
        return trial_config(self.record.info, trial)

    def _add(self, number: int, config: Config) -> int:
        """Add a member to the trainer; its entry epoch."""
        return self.trainer.add(number, config)

    def seat(self, number: int, config: Config) -> None:
        """Add a trial to the trainer, and note where it entered."""
        self._enter(number, self._add(number, config))

    def _enter(self, number: int, entry_epoch: int) -> None:
        self.entries[number] = entry_epoch
        self.record.enter(number, entry_epoch, self.conditions.recorded(), self.conditions.worker)

    def drop(self, number: int) -> None:
        """Let a member leave that has ended, or that another process took over."""
        self.entries.pop(number, None)
        self.trainer.drop(number)

    # Going on.

    def resume(self, *, own: bool = False) -> bool:
        """Go on from the states that a dead run left, where there are any; the trainer has no members yet.

        With `own`, from those of the same crew alone. Where all its trials have ended, and others are in training, they
        are ghosts: they keep the room that they had until then.
        """
        record = self.record
        record.storage.refresh(record.study._study_id)
        made_by = self._made_by()
        for file in self._free_files(own=own):
            if not are_whole(file.facts):
                self._tell(f"trials in training begin anew, since the state in training {file.path} was damaged")
                file.remove()
                continue
            before = file.facts["made_by"]
            differing = [f"{name} {before.get(name)}" for name in made_by if before.get(name) != made_by[name]]
            if differing:
                self._tell(f"trials in training begin anew, since they were trained with {', '.join(differing)}")
                file.remove()
            elif self._take(file):
                self._seat()
                return True
        record.take_over()
        if own:  # the files of other crews are for their keepers
            return False
        clear_states(
            record.artifacts, record.name, [t.user_attrs.get("owner") for t in record.trials(TrialState.RUNNING)]
        )
        return False

    def _free_files(self, *, own: bool = False) -> list[StateFile]:
        """The files of states whose trials are in training no more; with `own` those of this crew."""
        left = [trial.user_attrs.get("owner") for trial in self.record.dead()]
        goes_on = own and bool(self.record.trials(TrialState.RUNNING))
        found = []
        for file in found_states(self.record.artifacts, self.record.name):
            last, its = file.owners[-1], [owner for owner in left if file.belongs_to(owner)]
            # Where the last owner lives and no trial is its own yet, it is just taking them over.
            taking = is_here(last) and is_alive(last) and not any(same(owner, last) for owner in its)
            is_free = bool(its) and not taking
            if own:
                is_left = goes_on and is_here(last) and (same(last, this_process()) or not is_alive(last))
                is_free = last.get(CREW) == self.owner[CREW] and (is_free or is_left)
            if is_free:
                found.append(file)
        return found

    def _take(self, file: StateFile) -> bool:
        """Make a file this process's own; False where another process was faster, or where it is damaged."""
        record, me = self.record, self.owner
        owners = [*(owner for owner in file.owners if not same(owner, me)), me]
        try:
            own = write_states(record.artifacts, record.name, owners, file.tensors(), file.facts)
        except StoreError as error:
            self._tell(f"trials in training begin anew: {error}")
            file.remove()
            return False
        if own.path != file.path and not file.remove():
            own.remove()
            return False
        self.file, self.owners = own, owners
        return True

    def _seat(self) -> None:
        """Seat every member of the file where it was, and queue the trials that were asked since."""
        record, file = self.record, self.file
        assert file is not None
        facts = file.facts
        self.asked = {*facts["asked"]}
        self.queue = sorted(trial.number for trial in self._of(file) if trial.number not in self.asked)
        self._restore(file)
        record.adopt([*(number for number, _, _ in facts["members"]), *self.queue], self.owner)
        self.entries, self.ghosts = {}, {}
        for number, entry_epoch, seconds in facts["members"]:
            config = self._again(number, seconds)
            if config is not None:
                self._enter(number, entry_epoch)
                self.watcher.asked(number, config)
            else:
                self._haunt(record.trial(number), entry_epoch)
        many = len(self.queue) + sum(number in record.running for number in self.entries)
        if many:
            self._tell(f"{many} trials in training go on from their last epoch that was kept")

    def replace(self, trainer: Trainer, conditions: Conditions) -> None:
        """Go on with another trainer, which has no members yet, since the worker of the one before was lost.

        Its members go on from their last kept state; without one they begin anew. Their numbers stay.
        """
        self.trainer, self.conditions = trainer, conditions
        if self.file is not None:
            self._seat()
            return
        # All that this crew has trained is repeated, so that each trial enters at the epoch at which it did; where
        # states cannot be kept, trials are trained alone, from epoch 0.
        self.entries, self.ghosts, self.asked = {}, {}, set()
        own = (trial for trial in self.record.trials() if self.works or trial.state is TrialState.RUNNING)
        self.queue = sorted(trial.number for trial in own if self._is_own(trial))
        self.record.adopt(self.queue, self.owner)
        if many := sum(number in self.record.running for number in self.queue):
            self._tell(f"{many} trials in training begin anew, since no state of them was kept yet")

    def _is_own(self, trial: FrozenTrial) -> bool:
        return any(same(trial.user_attrs.get("owner"), owner) for owner in self.owners)

    def trains(self) -> bool:
        """Whether a trial is in training or waits for room, apart from ghosts."""
        return bool(self.queue) or any(number in self.record.running for number in self.entries)

    def _of(self, file: StateFile) -> list[FrozenTrial]:
        """The trials that the owners of a file had in training."""
        return [trial for trial in self.record.trials() if file.belongs_to(trial.user_attrs.get("owner"))]

    def _restore(self, file: StateFile) -> None:
        """Let the trainer have the members of the file. Raises StoreError where it is damaged, and removes it."""
        tensors = file.tensors()
        try:
            self.trainer.restore(Kept(tensors, file.facts["trainer"]))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            file.remove()
            raise StoreError(
                f"the state in training {file.path} was damaged ({kind_and_line(error)}) and is removed: run the same"
                " command again, which begins those trials anew"
            ) from error

    def _haunt(self, trial: FrozenTrial, entry_epoch: int) -> None:
        """Let a member whose trial has ended keep its room for as many epochs as it had."""
        if "epochs" in trial.user_attrs:
            self.entries[trial.number], self.ghosts[trial.number] = entry_epoch, trial.user_attrs["epochs"]
        else:  # another process had taken it over
            self.trainer.drop(trial.number)

    def living(self, results: Sequence[EpochResult]) -> list[EpochResult]:
        """The results without those of ghosts; a ghost that has come to its end is dropped."""
        ghosts = {result.number for result in results if result.number in self.ghosts}
        for result in results:
            if result.number in ghosts and (result.finished or result.epoch + 1 >= self.ghosts[result.number]):
                self._drop(result.number)
        return [result for result in results if result.number not in ghosts]

    def drop_ghosts(self) -> None:
        """Drop all ghosts, where nothing is in training whose place they keep."""
        for number in [*self.ghosts]:
            self._drop(number)

    def _drop(self, number: int) -> None:
        del self.ghosts[number]
        self.drop(number)

    # Keeping.

    def keep_if_due(self) -> None:
        """Keep the states where that is due."""
        if self.is_due():
            self.keep()

    def is_due(self) -> bool:
        """Whether keeping the states of all crews takes a small share of the time since they were kept."""
        return time.monotonic() - self.last >= max(LEAST_SECONDS, self.crews * self.cost / SHARE)

    def keep(self) -> None:
        """Keep all members. A failure is told once, and the search goes on."""
        if not (self.works and self.trains()):
            return
        begun, record, kept = time.monotonic(), self.record, self.trainer.keep()
        record.storage.flush()  # the store may be ahead of the file, but not behind it
        members = [(n, entry, record.seconds(n)) for n, entry in self.entries.items() if self._trains(n)]
        facts = {
            "made_by": self._made_by(),
            "members": members,
            "asked": sorted(self.asked),
            "trainer": kept.facts,
            **({} if self.round is None else {"round": self.round}),
        }
        try:
            self.file = write_states(record.artifacts, record.name, self.owners, kept.tensors, facts)
        except StoreError as error:
            self.works = False
            self._tell(f"an interruption will lose the epochs of trials in training, since {error}")
        self.last = time.monotonic()
        self.cost = self.last - begun

    def _trains(self, number: int) -> bool:
        return number in self.record.running or number in self.ghosts

    def _made_by(self) -> dict[str, Any]:
        """The conditions under which training goes on to the same result."""
        training, study = self.training, self.training.loaded.study
        return {
            "trainer": self.trainer.kind,
            "device": training.loaded.device.type,
            "threads": self.conditions.threads,
            "precision": training.precision,
            "weighting": training.method,
            "study file": source_sha256(study.source) if study.source else None,
            **{name: installed(name) for name in VERSIONS},
        }

    def close(self, *, is_needed: bool = False) -> None:
        """End the run: trials in training wait for the next one, where there is a file of their states.

        A file of trials that have all ended stays only where it `is_needed`.
        """
        kept = self.file is not None and self.file.path.is_file()
        is_needed = is_needed or self.trains()
        self.record.interrupt({*self.asked, *self.queue}, leave=kept)
        self.record.adopt(self.queue, leaving(self.owner))  # they wait for room, and are not in training
        if self.file is not None and not is_needed:
            with suppress(StoreError):  # the run has ended well; the next one finds the file without an owner
                self.file.remove()

    def _tell(self, line: str) -> None:
        self.watcher.notice(line)
