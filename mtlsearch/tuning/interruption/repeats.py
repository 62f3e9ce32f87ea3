"""Keeping the states of a confirmation's trainings, and going on from them after an interruption."""

import hashlib
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mtlsearch.evidence.trainings import Confirmation, Repeat, key_of
from mtlsearch.store.database.damage import is_damaged
from mtlsearch.store.states import StateFile, found_states
from mtlsearch.study.space import Config
from mtlsearch.study.study import Study
from mtlsearch.training.device import Conditions
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.interruption.keeper import Asked, Keeper, Told


class RepeatKeeper(Keeper):
    """Keeps those of `repeats` that are in training; a file of other trainings of the confirmation is left as it is."""

    def __init__(
        self,
        book: Confirmation,
        training: Training,
        conditions: Conditions,
        watcher: Told,
        trainer: Trainer,
        repeats: Sequence[Repeat],
        crew: int | None = None,
    ) -> None:
        super().__init__(book, training, conditions, watcher, trainer, crew)
        self.book, self.repeats, self.plan = book, repeats, plan_key(repeats)
        self.known = {repeat.key: repeat for repeat in repeats}

    def next(self, study: Study) -> Asked | None:
        """The next training for the trainer's room, begun in the store; None where none is left or there is no room."""
        if (queued := self.queued()) is not None:
            return queued
        while self.trainer.room() > 0 and (left := self.book.left(self.repeats)):
            number = self.book.begin(left[0], study, self.owner)
            if number is not None:  # else another process was faster
                self.asked.add(number)
                return number, left[0].config
        return None

    def repeat_of(self, number: int) -> Repeat:
        """The repeat that a trial of the store is."""
        return self.known[key_of(self.record.trial(number), self.record)]

    def _again(self, number: int, seconds: float = 0.0) -> Config | None:
        return self.repeat_of(number).config if self.record.go_on(number, seconds) else None

    def _config_of(self, trial: FrozenTrial) -> Config:
        return self.repeat_of(trial.number).config

    def _add(self, number: int, config: Config) -> int:
        # A config and its twin of one seed come together, so that they can share its batches.
        return self.trainer.add(number, config, entry_epoch=0, seed=self.repeat_of(number).seed)

    def _of(self, file: StateFile) -> list[FrozenTrial]:
        whole = (trial for trial in super()._of(file) if not is_damaged(trial))
        return [trial for trial in whole if key_of(trial, self.record) in self.known]

    def _free_files(self, *, own: bool = False) -> list[StateFile]:
        def is_of_these(file: StateFile) -> bool:
            return any(trial.state is TrialState.RUNNING for trial in self._of(file))

        return list(filter(is_of_these, super()._free_files(own=own)))

    def _made_by(self) -> dict[str, Any]:
        return {**super()._made_by(), "plan": self.plan}


def plan_key(repeats: Sequence[Repeat]) -> str:
    """A key of trainings that are planned together, the same whatever their seeds and divisions of the data."""
    return hashlib.sha256("".join(repeat.group for repeat in repeats).encode()).hexdigest()[:16]


def abandon(book: Confirmation) -> None:
    """End the trainings of dead processes that no plan asks for any more, and remove their states."""
    dead = book.dead()
    for file in found_states(book.artifacts, book.name):
        if any(file.belongs_to(trial.user_attrs.get("owner")) for trial in dead):
            file.remove()
    book.take_over()
