"""Crews in workers that keep step, so that the same seed gives the same trials, however fast each worker is.

In a *round* every crew that has something in training trains one epoch. When all have ended, their results are handed
over together, in the order of the crews, and only then trials are added. A crew whose state is from an earlier round,
since its worker was lost or its last run was cut off, repeats the rounds since by itself, while the others wait.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mtlsearch.store.curves import epochs_reported
from mtlsearch.study.results import EpochResult
from mtlsearch.tuning.crews.crews import Ended, K
from mtlsearch.tuning.crews.remote import Crew, RemoteCrews, Status


@dataclass
class Place:
    """Where a crew is: the last round that its trainer has trained, and the last one whose results were handled.

    `since` is the round after which it began without any state. `results` wait for those of the other crews.
    """

    trained: int = 0
    handled: int = 0
    since: int = 0
    results: list[EpochResult] | None = None


class LockstepCrews(RemoteCrews[K]):
    """A crew for each worker of a staff whose number does not change, all in the same round."""

    def __init__(self, *about: Any) -> None:
        self.round = 0  # the last one that was begun
        self.is_open = False  # every crew has its trainer, and the members that a dead run left
        self.is_keeping = False  # in this round all crews keep their states before they train
        self.places: defaultdict[int, Place] = defaultdict(Place)  # by crew
        super().__init__(*about)
        while len(self.crews) < self.staff.wanted():  # a worker of the crews before these was lost just now
            self.staff.wait(())
            self._hire()

    # What the loop asks for.

    def resume(self) -> bool:
        found = super().resume()
        if found:  # the rounds of another run are not those of this one
            self.keep()
        return found

    def resting(self) -> list[K]:
        return super().resting() if self._is_at_barrier() else []

    def begin(self, keeper: K) -> None:
        crew = self._crew(keeper)
        place = self.places[crew.number]
        if place.trained == self.round:
            self._begin_round()
        self._train_next(crew, keeper)

    def is_training(self) -> bool:
        return not self._is_at_barrier()

    def are_under_way(self) -> bool:
        return super().are_under_way() or any(place.handled < self.round for place in self.places.values())

    def first(self) -> Ended[K]:
        for keeper, results in super().first():
            self._ended(keeper, results)
        self._go_on()
        places = self.places
        if not self.is_open or any(
            crew.status is not Status.RESTING or places[crew.number].trained < self.round for crew in self.crews
        ):
            return []
        ended: Ended[K] = []
        for crew in self.crews:
            place = places[crew.number]
            if place.results is not None and crew.keeper is not None:
                ended.append((crew.keeper, place.results))
            place.results = None
        return ended

    @contextmanager
    def minding(self, keeper: K) -> Iterator[None]:
        with super().minding(keeper):
            yield
            self.places[self._crew(keeper).number].handled = self.round

    def keep(self) -> None:
        if not self.is_open:  # the states that were found are of rounds that are not known yet
            return
        for crew in self.crews:
            if crew.keeper is not None:
                crew.keeper.round = self.places[crew.number].trained
        super().keep()

    # Rounds.

    def _is_at_barrier(self) -> bool:
        """Whether all crews have trained this round, and all results of it were handled."""
        places = (self.places[crew.number] for crew in self.crews)
        resting = all(crew.status is Status.RESTING for crew in self.crews)
        return self.is_open and resting and all(p.trained == p.handled == self.round for p in places)

    def _begin_round(self) -> None:
        """Begin a round: states are kept before it for all crews or for none, so that they are of one round."""
        self.round += 1
        keepers = [crew.keeper for crew in self.crews if crew.keeper is not None]
        for keeper in keepers:
            keeper.crews = len(self.crews)
        self.is_keeping = any(keeper.is_due() for keeper in keepers)

    def _keep_if_due(self, crew: Crew[K]) -> None:
        assert crew.keeper is not None
        place = self.places[crew.number]
        crew.keeper.round = place.trained
        if self.is_keeping and place.trained + 1 == self.round:
            crew.keeper.keep()

    def _ended(self, keeper: K, results: list[EpochResult]) -> None:
        """Take in the end of a crew's epoch: its results wait, unless it repeats a round that was handled."""
        place = self.places[self._crew(keeper).number]
        place.trained += 1
        if place.trained > place.handled:
            place.results = results
            return
        # What is repeated is in the store, for else its state would not be that of the round.
        living = keeper.living(results)
        if any(result.epoch >= epochs_reported(self.record.trial(result.number)) for result in living):
            place.trained, place.results = self.round, living

    def _go_on(self) -> None:
        """Let the crews that are behind train their next round, with the trials that entered there."""
        for crew in self.crews if self.is_open else ():
            place, keeper = self.places[crew.number], crew.keeper
            if crew.status is not Status.RESTING or place.trained == self.round or keeper is None:
                continue
            while asked := keeper.queued():
                keeper.seat(*asked)
                keeper.watcher.asked(*asked)
            self._train_next(crew, keeper)

    def _train_next(self, crew: Crew[K], keeper: K) -> None:
        """Begin the next epoch of a crew; where it has no members, not even ghosts, it has trained this round."""
        if crew.status is not Status.RESTING:  # its worker was lost just now
            return
        if keeper.entries:
            self._train(crew)
        else:
            self.places[crew.number].trained = self.places[crew.number].handled = self.round

    def _close_keepers(self) -> None:
        keepers = [crew.keeper for crew in self.crews if crew.keeper is not None]
        goes_on = any(keeper.trains() for keeper in keepers)
        for keeper in keepers:
            keeper.close(is_needed=goes_on)

    # Workers come and go.

    def _resume(self, keeper: K) -> None:
        keeper.resume(own=True)

    def _opened(self, crew: Crew[K]) -> None:
        super()._opened(crew)
        if self.is_open:
            self.places[crew.number].trained = self._round_of(crew)
        elif all(each.status is Status.RESTING for each in self.crews):
            self._all_opened()

    def _all_opened(self) -> None:
        """Begin at the latest round that a crew's state is of; a crew that is behind repeats the rounds since."""
        self.is_open = True
        self.round = max((kept for crew in self.crews if (kept := _kept_round(crew)) is not None), default=0)
        for crew in self.crews:
            place = self.places[crew.number]
            place.since = place.handled = self.round
            place.trained = self._round_of(crew)

    def _round_of(self, crew: Crew[K]) -> int:
        """The last round that the members of a crew, just opened, have trained."""
        place, keeper = self.places[crew.number], crew.keeper
        assert keeper is not None
        if keeper.file is not None:
            kept = _kept_round(crew)
            return place.handled if kept is None else min(kept, place.handled)
        # Where no state can be kept, trials begin anew, and what is stored of them is passed over by the loop.
        return place.since if keeper.works else place.handled

    def _lost(self, crew: Crew[K], why: str) -> None:
        for each in self.crews:
            if each.line is crew.line:
                self.places[each.number].results = None
        super()._lost(crew, why)


def _kept_round(crew: Crew[K]) -> int | None:
    """The round of a crew's kept state; None where there is none, or where it was kept by crews that kept no step."""
    file = None if crew.keeper is None else crew.keeper.file
    kept = None if file is None else file.facts.get("round")
    return kept if isinstance(kept, int) else None
