"""The population trainer: all trials in flight as one program per lane.

Members are sorted into lanes by architecture; hidden widths are padded to a few lane widths. What cannot be
batched by `vmap` is trained solo beside the lanes, and a notice says why.
"""

from collections.abc import Callable
from concurrent.futures import Future
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.kernels.launch import LINEAR_DTYPES
from mtlsearch.nn.widening import Widenable, pad
from mtlsearch.study.results import EpochResult, TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.training.ahead import in_a_thread
from mtlsearch.training.optim import OptimizerSettings
from mtlsearch.training.population.batching import Key, structure, why_not
from mtlsearch.training.population.lane import Lane, LaneMember, evaluate_lanes
from mtlsearch.training.population.layout import (
    CUDA_SLOTS,
    counted_flop,
    lane_slots,
    lane_widths,
    skips_padding,
)
from mtlsearch.training.population.packing import Seat, packed
from mtlsearch.training.population.program import LaneProgram
from mtlsearch.training.population.steps import Captured, Steps, build_kernels, uncompiled
from mtlsearch.training.solo import SOLO_CONDITIONS, SoloMember
from mtlsearch.training.trainer import Training

Notice = Callable[[str], None]
NARROW_FLOP = 5e8  # of empty slots in a step, above which a narrow step that is not compiled is faster


class PopulationTrainer:
    """Trains up to `size` members at once.

    `steps` gives each lane the way its step is run (eager, compiled, a CUDA graph). Lanes shrink where room is left,
    unless `shrinks` is false: then a trial is repeated in as many slots as it had.
    """

    def __init__(
        self,
        training: Training,
        size: int,
        steps: Steps,
        notice: Notice = lambda text: None,
        *,
        shrinks: bool = True,
    ) -> None:
        self.training, self.size, self.steps, self.notice = training, size, steps, notice
        self.shrinks = shrinks
        # A lane that shrinks is run without compiling anything.
        self.narrow = uncompiled(training.loaded.device)
        self.epoch = 0
        self.slots = training.slots or size  # of a lane at most; less once memory has run out
        self.lanes: dict[Key, list[Lane]] = {}
        self.programs: dict[Key, LaneProgram | None] = {}
        self.builds: list[Future[None]] = []  # of programs' kernels, under way while members are added
        self.solo: dict[int, SoloMember] = {}
        # Of architectures that differ in their width alone: the lanes' key and the program by width.
        self.families: dict[Key, dict[int, tuple[Key, LaneProgram]]] = {}
        self.widths = lane_widths(training.loaded)
        # A captured lane is dear to make, and holds every width as a rule.
        self.packs = len(self.widths) > 1 and not isinstance(steps, Captured)
        norms = training.loaded.study.space.get("norm")
        self.norm = None if norms is None or norms.single() else "any"
        self.by_kernels = steps.by_kernels
        self.skips = self.by_kernels and training.dtype in LINEAR_DTYPES

    def __len__(self) -> int:
        return len(self.solo) + sum(len(lane.active) for lanes in self.lanes.values() for lane in lanes)

    def room(self) -> int:
        return self.size - len(self)

    def add(
        self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None
    ) -> int:
        if entry_epoch is not None and not len(self):
            self.epoch = entry_epoch
        seed = self.training.seed if seed is None else seed
        study = self.training.loaded.study
        settings = OptimizerSettings.of(config)
        module = study.build(config, seed)
        wide = self._widened(module)
        key = structure(wide)
        program = self._program(key, wide)
        if program is None:
            self.solo[number] = SoloMember(self.training, number, config, self.epoch, seed)
            return self.epoch
        shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
        progress = TrialProgress(number, study.epochs, study.patience, self.epoch)
        member = LaneMember(number, config, settings, progress, wide, shapes)
        self._lane_with_room((*key, seed), program, seed).seat(member)
        if self.packs and isinstance(wide, Widenable) and wide.hidden in self.widths:
            family = (*structure(wide.widened(self.widths[-1])), seed)
            self.families.setdefault(family, {})[wide.hidden] = (*key, seed), program
        return self.epoch

    def wait_for_kernels(self) -> None:
        """Wait until the kernels that are being built for this population's programs are."""
        while self.builds:
            self.builds.pop().result()

    def advance(self) -> list[EpochResult]:
        self.wait_for_kernels()
        if self.shrinks:
            self.arrange()
            if self.room() > 0:
                # The search fills all room before each epoch, so there is nothing left to ask: empty slots go.
                self._narrow()
        results = [member.advance() for member in self.solo.values()]
        lanes = [lane for group in self.lanes.values() for lane in group if lane.active]
        for together in self.together(lanes):
            results += results_of(self._train(together))
        self.epoch += 1
        return results

    def together(self, lanes: list[Lane]) -> list[list[Lane]]:
        """The lanes that take each step beside each other: those of one seed where that saves reading, else none.

        On CUDA all of one seed do, for one lane seldom fills the device.
        """
        if self.training.loaded.device.type == "cpu" and not self.training.loaded.reads:
            return [[lane] for lane in lanes]
        seeds = dict.fromkeys(lane.seed for lane in lanes)
        return [[lane for lane in lanes if lane.seed == seed] for seed in seeds]

    def _train(self, lanes: list[Lane]) -> list[Lane]:
        """Train lanes together for one epoch; out of memory, the largest as two of half its slots, from its start."""
        first, *beside = lanes
        try:
            first.train_epoch(self.epoch, beside)
            return lanes
        except torch.OutOfMemoryError:
            largest = max(lanes, key=lambda lane: lane.slots)
            if largest.slots == 1:
                raise
            half = -(-largest.slots // 2)
            self.slots = min(self.slots, half)
            self.notice(f"out of memory: a lane of {largest.slots} slots goes on as two of {half}")
            halves = self._halved(largest, half)
            others = [lane for lane in lanes if lane is not largest]
            return [lane for group in self.together(others + halves) for lane in self._train(group)]

    def _halved(self, lane: Lane, half: int) -> list[Lane]:
        """Put two lanes in the place of one."""
        step = self.steps.of(lane.program, half)
        halves = [
            lane.moved_to(half, step),
            lane.moved_to(half, self.steps.of(lane.program, half), start=half),
        ]
        halves = [part for part in halves if part.active]
        for lanes in self.lanes.values():
            if lane in lanes:
                lanes[lanes.index(lane) : lanes.index(lane) + 1] = halves
        return halves

    def drop(self, number: int) -> None:
        if number in self.solo:
            del self.solo[number]
            return
        lane, slot = self._find(number)
        lane.free(slot)

    def conditions(self, number: int) -> dict[str, Any]:
        if number in self.solo:
            return SOLO_CONDITIONS
        lane, slot = self._find(number)
        member = lane.members[slot]
        assert member is not None
        return {
            "trainer": "population",
            "lane_width": lane.width or None,
            # A member that has moved between lanes is not repeated to the bit in either.
            "lane_slots": None if member.moved else lane.slots,
            "steps": self.steps.name,
        }

    def state(self, number: int) -> dict[str, Tensor]:
        if number in self.solo:
            return self.solo[number].best
        lane, slot = self._find(number)
        return lane.best_state(slot)

    def _find(self, number: int) -> tuple[Lane, int]:
        for lanes in self.lanes.values():
            for lane in lanes:
                for slot, member in lane.active:
                    if member.number == number:
                        return lane, slot
        raise KeyError(number)

    def _widened(self, module: nn.Module) -> nn.Module:
        """The module at the narrowest lane width that holds it; at the widest where padding costs nothing."""
        if not isinstance(module, Widenable):
            return module
        widths, norm = self.widths, self.norm
        if self._skips_padding(module):
            widths, norm = widths[-1:], "any"
        width = min((width for width in widths if width >= module.hidden), default=module.hidden)
        wide = pad(module, width, norm)
        # A subclass that inherits `widened` would come back as its base, without what it does differently.
        return wide if type(wide) is type(module) else module

    def _skips_padding(self, module: nn.Module) -> bool:
        """Whether a step leaves out a module's padded units, so that one lane holds every width and normalisation."""
        return self.skips and skips_padding(module)

    def _program(self, key: Key, module: nn.Module) -> LaneProgram | None:
        """The program of an architecture, None where it cannot be batched; tried on one step when first met."""
        if key not in self.programs:
            program = LaneProgram(self.training, module, self.by_kernels)
            build: Future[None] | None = None
            if self._skips_padding(module):
                # Of a copy, for the module is a member's too, who is seated meanwhile.
                copy = LaneProgram(self.training, deepcopy(module), by_kernels=True)
                build = in_a_thread(build_kernels, copy)
            reason = why_not(program)
            if reason is not None:
                self.notice(f"{type(module).__name__} is trained one at a time: {reason}")
            elif build is not None:
                self.builds.append(build)
            self.programs[key] = program if reason is None else None
        return self.programs[key]

    def _lane_with_room(self, key: Key, program: LaneProgram, seed: int) -> Lane:
        lanes = self.lanes.setdefault(key, [])
        for lane in lanes:
            if lane.has_room:
                return lane
        slots = self._slots_of(program, seed)
        lanes.append(Lane(program, slots, seed, self.steps.of(program, slots)))
        return lanes[-1]

    def _slots_of(self, program: LaneProgram, seed: int) -> int:
        """How many slots a new lane has."""
        slots = self.slots
        if self.shrinks:
            is_wide = self._skips_padding(program.base)
            widths = 1 if is_wide else len(self.widths)
            slots = min(slots, lane_slots(self.training.loaded, program.base, self.size, widths))
            if is_wide and seed != self.training.seed:
                # As those of a confirmation, of which few share a seed.
                slots = min(slots, CUDA_SLOTS)
        return slots

    def arrange(self) -> None:
        """Move members between lanes so that few slots stay empty."""
        self._pack()
        self._gather()

    def _pack(self) -> None:
        """Seat members that do not fill a lane of their width in free slots of wider ones, and bring them back."""
        for family in self.families.values():
            slots = {width: self._slots_of(program, key[-1]) for width, (key, program) in family.items()}
            own: dict[int, list[Seat]] = {width: [] for width in family}
            for key, _ in family.values():
                for lane in self.lanes[key]:
                    for slot, member in lane.active:
                        own[member.width].append((lane, slot))
            for width, seats in packed(own, slots).items():
                key, program = family[width]
                for lane, slot in seats:
                    if lane.program is not program:
                        self._lane_with_room(key, program, lane.seed).take(lane, slot)

    def _gather(self) -> None:
        """Move members of equal lanes together, and drop the lanes that this empties."""
        for lanes in self.lanes.values():
            lanes.sort(key=lambda lane: -len(lane.active))
            for lane in lanes[:0:-1]:
                for slot, _ in lane.active:
                    other = next((other for other in lanes if other is not lane and other.has_room), None)
                    if other is not None and len(other.active) >= len(lane.active):
                        other.take(lane, slot)
            # What was captured is dear to make again, and is kept for the next member as long as one may come.
            if self.room() > 0 or not isinstance(self.steps, Captured):
                lanes[:] = [lane for lane in lanes if lane.active]

    def _narrow(self) -> None:
        """Give a lane fewer slots where its empty ones cost more than a step that is not compiled."""
        for lanes in self.lanes.values():
            for number, lane in enumerate(lanes):
                if self._skips_padding(lane.program.base):
                    continue  # an empty slot is all padding
                active, flop = len(lane.active), counted_flop(self.training.loaded, lane.program.base)
                if (lane.slots - active) * flop > NARROW_FLOP:
                    lanes[number] = lane.moved_to(active, self.narrow.of(lane.program, active))


def results_of(lanes: list[Lane]) -> list[EpochResult]:
    """What an epoch gave the members of lanes that were trained together: validation data are read once for them."""
    if len(lanes) == 1:
        return lanes[0].results()
    values = evaluate_lanes(lanes, "validation")
    return [result for lane, own in zip(lanes, values, strict=True) for result in lane.results(own)]
