"""Crews in workers: each delivers its epochs as they end, and outlives its worker."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from mtlsearch.activity import Activity, doing
from mtlsearch.errors import WorkerError
from mtlsearch.store.record import Record
from mtlsearch.training.device import Conditions
from mtlsearch.training.remote.parcel import Parcel
from mtlsearch.training.remote.staff import Staff, conditions_at
from mtlsearch.training.remote.trainer import RemoteTrainer
from mtlsearch.training.remote.transport import Line, WorkerDied
from mtlsearch.training.remote.worker import Recipe
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.crews.crews import Ended, K
from mtlsearch.tuning.interruption.keeper import CREW

MOST_LOSSES = 3  # of a crew's workers, with no epoch between: then it is the crew that ends them
MOVE_S = 30.0  # for which a crew waits for a worker of its own, before it shares another one
REFRESH_SHARE = 0.02  # of the time, that looking at what other processes wrote may take
FOLLOW_S = 5.0  # between looks at the places where workers should be


class Status(Enum):
    HOMELESS, OPENING, RESTING, TRAINING = range(4)


@dataclass(eq=False)
class Crew(Generic[K]):
    """A crew by its number; `is_begun` where its worker does now what its status says."""

    number: int
    status: Status = Status.HOMELESS
    line: Line | None = None
    trainer: RemoteTrainer | None = None
    keeper: K | None = None
    is_begun: bool = False
    losses: int = 0
    since: float = 0.0  # when it lost its worker


class RemoteCrews(Generic[K]):
    """A crew for each worker of `staff`, all with equal trainers.

    `tell_workers` is told how many are ready, and `give_up` why a population is given up.
    """

    def __init__(
        self,
        staff: Staff,
        record: Record,
        training: Training,
        conditions: Conditions,
        recipe: Recipe,
        make_keeper: Callable[[Conditions, Trainer, int | None], K],
        tell_workers: Callable[[int, int], None],
        give_up: Callable[[str], None],
    ) -> None:
        self.staff, self.record, self.recipe, self.make_keeper = staff, record, recipe, make_keeper
        self.conditions, self.tell_workers, self.give_up = conditions, tell_workers, give_up
        staff.begin()
        self.parcel: Parcel = staff.parcel(training)
        self.crews: list[Crew[K]] = []
        self.begun: dict[Line, Crew[K]] = {}  # whose worker is at work for it
        self.due: list[Crew[K]] = []  # with work for a worker that is not begun
        self.ended: deque[Line] = deque()
        self.refresh_due = 0.0
        self.followed, self.hired = time.monotonic(), -1
        self.looks = True  # whether a dead run may have left something
        self._hire()

    # What the loop asks for.

    def resume(self) -> bool:
        found, self.looks = False, True
        for crew in self.crews:
            if crew.status is Status.RESTING and crew.keeper is not None and self.looks:
                with self._mind(crew):
                    self.looks = crew.keeper.resume()
                    found = found or self.looks
        return found

    def resting(self) -> list[K]:
        return [crew.keeper for crew in self.crews if crew.status is Status.RESTING and crew.keeper is not None]

    def begin(self, keeper: K) -> None:
        if not keeper.trains():
            keeper.drop_ghosts()
            return
        crew = self._crew(keeper)
        if crew.status is Status.RESTING:  # else its worker was lost just now
            self._train(crew)

    def _train(self, crew: Crew[K]) -> None:
        crew.status = Status.TRAINING
        self.due.append(crew)
        self._begin_due()

    def is_training(self) -> bool:
        return any(crew.status is not Status.RESTING for crew in self.crews)

    def are_under_way(self) -> bool:
        return any(crew.status is Status.TRAINING for crew in self.crews)

    def first(self) -> Ended[K]:
        if time.monotonic() - self.followed > FOLLOW_S:
            self.staff.follow()
            self.followed = time.monotonic()
        self._hire()
        self._begin_due()
        if not self.ended:
            with doing("training") as activity:
                self._wait(activity)
        if not self.ended:
            return []
        crew = self.begun.pop(self.ended.popleft())
        crew.is_begun = False
        with self._mind(crew):
            if crew.status is Status.OPENING:
                self._opened(crew)
                return []
            return self._delivered(crew)
        return []

    def refresh(self) -> list[int]:
        # It looks at all trials in training: with a thousand workers, after each epoch of one would be too often.
        begun = time.monotonic()
        if begun < self.refresh_due:
            return []
        lost = self.record.refresh()
        self.refresh_due = time.monotonic() + (time.monotonic() - begun) / REFRESH_SHARE
        return lost

    @contextmanager
    def minding(self, keeper: K) -> Iterator[None]:
        with self._mind(self._crew(keeper)):
            yield

    def drop(self, number: int) -> None:
        for keeper in (crew.keeper for crew in self.crews if crew.keeper is not None):
            if number in keeper.entries:
                keeper.drop(number)

    def keep(self) -> None:
        for crew in self.crews:
            if crew.status is Status.RESTING and crew.keeper is not None:
                with self._mind(crew):
                    crew.keeper.keep()

    def close(self) -> None:
        try:
            self._close_keepers()
            self.record.interrupt()
            self._leave()
        finally:
            self.staff.discard(self.parcel)

    def _close_keepers(self) -> None:
        for crew in self.crews:
            if crew.keeper is not None:
                crew.keeper.close()

    def _leave(self) -> None:
        """Let the workers forget these crews, for those to come; a worker that is in the middle of work is ended."""
        if self.staff.stop.is_set():
            return
        for crew in self.crews:
            line = crew.line
            if line is None or line not in self.staff.lines:
                continue
            if line in self.begun or line in self.ended:
                self.staff.restart(line)
                continue
            try:
                line.call("close", crew.number)
                self.staff.answer(line)
            except WorkerDied:
                self.staff.restart(line)

    # Workers come and go.

    def _hire(self) -> None:
        """Give each worker without a crew one: a crew that has lost its own, or a new one."""
        homeless = [crew for crew in self.crews if crew.status is Status.HOMELESS]
        if self.hired == self.staff.changes and not homeless:
            return
        self.hired = self.staff.changes
        taken = {crew.line for crew in self.crews}
        free = [line for line in self.staff.lines if line not in taken]
        for line in free:
            if homeless:
                crew = homeless.pop(0)
            else:
                crew = Crew[K](len(self.crews))
                self.crews.append(crew)
            self._move(crew, line)
        for crew in homeless:
            if time.monotonic() - crew.since > MOVE_S and self.staff.lines:
                lines = [other.line for other in self.crews if other.line is not None]
                self._move(crew, min(self.staff.lines, key=lines.count))
        self.tell_workers(len(self.staff.lines), self.staff.wanted())

    def _move(self, crew: Crew[K], line: Line) -> None:
        crew.line, crew.status = line, Status.OPENING
        self.due.append(crew)

    def _begin_due(self) -> None:
        """Begin what is due in the workers that are free."""
        later = []
        for crew in self.due:
            if crew.line in self.begun:
                later.append(crew)
            elif crew.line is not None:
                with self._mind(crew):
                    self._begin(crew)
        # A crew that lost its worker just now is due no more.
        self.due = [crew for crew in later if crew.line is not None]

    def _begin(self, crew: Crew[K]) -> None:
        assert crew.line is not None
        if crew.status is Status.OPENING:
            crew.trainer = RemoteTrainer(crew.line, self.staff.answer, crew.number, self.parcel, self.recipe)
        else:
            assert crew.keeper is not None
            assert crew.trainer is not None
            self._keep_if_due(crew)
            crew.trainer.begin()
        crew.is_begun = True
        self.begun[crew.line] = crew

    def _keep_if_due(self, crew: Crew[K]) -> None:
        assert crew.keeper is not None
        crew.keeper.crews = len(self.crews)
        crew.keeper.keep_if_due()

    def _opened(self, crew: Crew[K]) -> None:
        """Seat the members of a crew in its new trainer."""
        assert crew.trainer is not None
        assert crew.line is not None
        crew.trainer.opened()
        crew.status, conditions = Status.RESTING, conditions_at(crew.line, self.conditions)
        if crew.keeper is None:
            crew.keeper = self.make_keeper(conditions, crew.trainer, crew.number)
            self._resume(crew.keeper)
        else:
            crew.keeper.replace(crew.trainer, conditions)

    def _resume(self, keeper: K) -> None:
        # Each look reads all trials in training; where one crew found nothing, there is nothing for the next.
        self.looks = self.looks and keeper.resume()

    def _delivered(self, crew: Crew[K]) -> Ended[K]:
        assert crew.trainer is not None
        assert crew.keeper is not None
        results = crew.trainer.advance()
        crew.status, crew.losses = Status.RESTING, 0
        for line in crew.trainer.notices:
            self.staff.notice(line)
        for line in crew.trainer.given_up:
            self.give_up(line)
        crew.trainer.notices.clear()
        crew.trainer.given_up.clear()
        return [(crew.keeper, results)]

    def _wait(self, activity: Activity) -> None:
        """Wait for work that ends, LOOK_S at most."""
        pulses = [line.signs.pulse for line, crew in self.begun.items() if crew.status is Status.TRAINING]
        activity.total = sum(total for _, _, total in pulses)
        activity.done = sum(done for _, done, _ in pulses)
        self.ended.extend(self.staff.wait([*self.begun]))

    @contextmanager
    def _mind(self, crew: Crew[K]) -> Iterator[None]:
        try:
            yield
        except WorkerDied as error:
            self._lost(crew, str(error))

    def _lost(self, crew: Crew[K], why: str) -> None:
        """Let all crews of a lost worker wait for another one. Raises WorkerError where one loses several in a row."""
        line = crew.line
        assert line is not None
        crew.losses += 1
        if crew.losses == MOST_LOSSES:
            raise WorkerError(
                f"{MOST_LOSSES} workers were lost in the same epoch of the same trials ({why}): the same command goes"
                " on from their last kept states"
            )
        for each in self.crews:
            if each.line is line:
                each.line, each.trainer, each.is_begun = None, None, False
                each.status, each.since = Status.HOMELESS, time.monotonic()
        self.begun.pop(line, None)
        self.ended = deque(other for other in self.ended if other is not line)
        self.staff.lose(line, why)

    def _crew(self, keeper: K) -> Crew[K]:
        return self.crews[keeper.owner[CREW]]
