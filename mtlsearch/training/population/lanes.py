"""The lanes of a population: which exist, and which member sits in which."""

from collections.abc import Iterable, Iterator

from torch import nn

from mtlsearch.nn.batched.values import as_buffers, numbers_again
from mtlsearch.nn.widening import Widenable, widened, width_of
from mtlsearch.training.population.architectures import Architectures, Key, structure
from mtlsearch.training.population.lane import Lane, LaneMember
from mtlsearch.training.population.layout import CUDA_SLOTS, counted_flop, lane_slots
from mtlsearch.training.population.packing import Seat, packed
from mtlsearch.training.population.program import LaneProgram
from mtlsearch.training.population.steps import Captured, Steps, uncompiled
from mtlsearch.training.trainer import Training

Group = tuple[LaneProgram, int | None]  # equal lanes: those of one program and one seed, or of any seeds
NARROW_FLOP = 5e8  # of a step's empty slots, above which fewer slots are faster, though uncompiled


class Lanes:
    """All lanes of a population of `size` members, whose steps `steps` gives.

    Unless `shrinks` is false, a lane has few slots where members spread over several widths, and loses empty ones.
    """

    def __init__(
        self, training: Training, size: int, steps: Steps, architectures: Architectures, *, shrinks: bool
    ) -> None:
        self.training, self.size, self.steps, self.shrinks = training, size, steps, shrinks
        self.architectures = architectures
        self.groups: dict[Group, list[Lane]] = {}
        self.most_slots = training.slots or size  # of a lane; halved once memory has run out
        # Capturing a step is expensive, and a captured lane usually holds every width.
        self.packs = len(architectures.widths) > 1 and not isinstance(steps, Captured)
        self.families: dict[LaneProgram, Key | None] = {}

    def __iter__(self) -> Iterator[Lane]:
        return (lane for lanes in self.groups.values() for lane in lanes)

    @property
    def members(self) -> int:
        return sum(len(lane.active) for lane in self)

    def find(self, number: int) -> tuple[Lane, int]:
        """The lane and the slot of trial `number`."""
        return next((lane, slot) for lane in self for slot, member in lane.active if member.number == number)

    def seat(self, member: LaneMember, program: LaneProgram) -> None:
        """Give a new member a slot, in a new lane where all are full."""
        self._with_room(program, None if self.training.mixes_seeds else member.seed).seat(member)
        if program not in self.families:
            self.families[program] = self.family(member.module)

    def family(self, module: nn.Module) -> Key | None:
        """A key that modules share which differ in width alone; None where members are not packed."""
        widths = self.architectures.widths
        if not self.packs or not isinstance(module, Widenable) or width_of(module) not in widths:
            return None
        with numbers_again(module, self.architectures.varying):
            wide = widened(module, widths[-1])
        as_buffers(wide, self.architectures.varying)
        return structure(wide)

    def _with_room(self, program: LaneProgram, seed: int | None) -> Lane:
        lanes = self.groups.setdefault((program, seed), [])
        for lane in lanes:
            if lane.has_room:
                return lane
        slots = self._slots_of(program, seed)
        lanes.append(Lane(program, slots, seed, self.steps.of(program, slots)))
        return lanes[-1]

    def _slots_of(self, program: LaneProgram, seed: int | None) -> int:
        """The number of slots of a new lane."""
        if not self.shrinks:
            return self.most_slots
        skips = self.architectures.skips_padding(program.base)
        widths = 1 if skips else len(self.architectures.widths)
        slots = min(self.most_slots, lane_slots(self.training.loaded, program.base, self.size, widths))
        # Few trainings share a seed that is not the search's: they are repeats.
        return min(slots, CUDA_SLOTS) if skips and seed != self.training.seed else slots

    def arrange(self, room: int) -> None:
        """Move members between lanes so that few slots stay empty; `room` is how many members may be added.

        The search fills all room before each epoch: where some is left, no trial is left, and empty slots can go.
        """
        self._pack()
        self._gather(room)
        if room > 0:
            self._narrow()

    def _pack(self) -> None:
        """Seat members that do not fill a lane of their width in free slots of wider lanes, or bring them back."""
        for family in self._by_family():
            slots = {width: self._slots_of(*group) for width, group in family.items()}
            own: dict[int, list[Seat]] = {width: [] for width in family}
            for group in family.values():
                for lane in self.groups[group]:
                    for slot, member in lane.active:
                        own[member.width].append((lane, slot))
            for width, seats in packed(own, slots).items():
                program, seed = family[width]
                for lane, slot in seats:
                    if lane.program is not program:
                        self._with_room(program, seed).take(lane, slot)

    def _by_family(self) -> Iterable[dict[int, Group]]:
        """The groups by width, for each family and seed."""
        found: dict[tuple[Key, int | None], dict[int, Group]] = {}
        for program, seed in self.groups:
            if (family := self.families[program]) is not None:
                found.setdefault((family, seed), {})[width_of(program.base)] = program, seed
        return found.values()

    def _gather(self, room: int) -> None:
        """Move members of equal lanes together, and drop the lanes that this empties."""
        for lanes in self.groups.values():
            lanes.sort(key=lambda lane: -len(lane.active))
            for lane in lanes[:0:-1]:
                for slot, _ in lane.active:
                    other = next((other for other in lanes if other is not lane and other.has_room), None)
                    if other is not None and len(other.active) >= len(lane.active):
                        other.take(lane, slot)
            # Capturing a step again is expensive: an empty lane is kept while another member may come.
            if room > 0 or not isinstance(self.steps, Captured):
                lanes[:] = [lane for lane in lanes if lane.active]

    def _narrow(self) -> None:
        """Give a lane fewer slots where its empty ones cost more than an uncompiled step."""
        narrow = uncompiled(self.training.loaded.device)
        for lanes in self.groups.values():
            for number, lane in enumerate(lanes):
                if self.architectures.skips_padding(lane.program.base):
                    continue  # all of an empty slot is padding
                active, flop = len(lane.active), counted_flop(self.training.loaded, lane.program.base)
                if (lane.slots - active) * flop > NARROW_FLOP:
                    lanes[number] = lane.moved_to(active, narrow.of(lane.program, active))
                    lanes[number].is_uncompiled = True

    def split(self, lane: Lane, slots: int) -> list[Lane]:
        """Replace a lane by two of half its `slots`, which later lanes do not exceed."""
        self.most_slots = min(self.most_slots, slots)
        halves = [lane.moved_to(slots, self.steps.of(lane.program, slots), start) for start in (0, slots)]
        halves = [half for half in halves if half.active]
        lanes = self.groups[lane.program, lane.seed]
        place = lanes.index(lane)
        lanes[place : place + 1] = halves
        return halves
