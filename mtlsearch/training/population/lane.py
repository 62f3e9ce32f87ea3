"""A lane: members whose tensors have the same shapes, trained as one program.

`Lane` seats members in slots, trains and evaluates them epoch by epoch, and moves them between lanes. `program` holds
the step that they take.

Legend: S steps of an epoch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from mtlsearch.activity import advance
from mtlsearch.nn.widening import cut, extent, move, width_of
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import EpochResult, Metrics, TrialProgress, failure_reason
from mtlsearch.study.space import Config
from mtlsearch.training.batches import empty_reads, epoch_batches, epoch_reads, steps_per_epoch
from mtlsearch.training.evaluation import evaluate_together
from mtlsearch.training.optim import IDLE, SCALES, OptimizerSettings, scales
from mtlsearch.training.population.program import EpochTables, LaneProgram, Tensors, empty_state
from mtlsearch.training.seeds import epoch_keys, layer_keys


@dataclass
class LaneMember:
    """One trial in a slot; `shapes` are those of its own tensors, without padding; `seed` is that of its batches."""

    number: int
    config: Config
    settings: OptimizerSettings
    progress: TrialProgress
    module: nn.Module
    shapes: Mapping[str, torch.Size]
    seed: int
    moved: bool = False

    @property
    def width(self) -> int:
        """The padded width at which it was first seated; 0 where it has no hidden units."""
        return width_of(self.module)


Step = Callable[["Lane", int], None]  # of a lane, and the 0-based number of its step in the epoch


def plain_step(lane: "Lane", tick: int) -> None:
    """Take the program's own step eagerly: the reference of every other way."""
    lane.program.step(lane.state)


class Lane:
    """M slots of one architecture, its members in them, and the step that trains them.

    All members have the `seed`; where that is None, each has one of its own, and batches of its own.
    """

    def __init__(self, program: LaneProgram, slots: int, seed: int | None, step: Step = plain_step) -> None:
        self.program, self.seed = program, seed
        self.members: list[LaneMember | None] = [None] * slots
        self.state = empty_state(program, slots)
        self.run_step, self.is_uncompiled = step, False

    @property
    def slots(self) -> int:
        return len(self.members)

    @property
    def width(self) -> int:
        """The hidden units of its members, padding included; 0 where they have none."""
        return width_of(self.program.base)

    @property
    def active(self) -> list[tuple[int, LaneMember]]:
        """The taken slots, with their members."""
        return [(slot, member) for slot, member in enumerate(self.members) if member is not None]

    @property
    def has_room(self) -> bool:
        return None in self.members

    def seat(self, member: LaneMember) -> None:
        """Give a new member the first free slot: set its parameters, buffers, coefficients, and moments of zero."""
        slot = self.members.index(None)
        self.members[slot] = member
        state, training = self.state, self.program.training
        for tensor in state.stacked():
            tensor[slot].zero_()
        with torch.no_grad():
            tensors = dict(member.module.named_parameters()) | dict(member.module.named_buffers())
            tensors |= self.program.learned
            for name, tensor in (state.params | state.buffers).items():
                tensor[slot].copy_(tensors[name])
            for name, tensor in state.weighting.items():
                tensor[slot].copy_(self.program.weighting[name])
        self._set_extents(slot, member)
        steps = training.loaded.study.epochs * steps_per_epoch(training.loaded)
        self._set_coefficients(slot, member.settings.coefficients(steps))
        state.weights[slot].copy_(training.weights(member.config))

    def free(self, slot: int) -> None:
        """Empty a slot, as if it was never taken. Steps go on computing in it, but nothing reads the results."""
        self.members[slot] = None
        self.state.extents[slot].zero_()
        for buffer in self.state.buffers.values():  # kernels skip units that are not live
            buffer[slot].zero_()
        self._set_coefficients(slot, IDLE.coefficients(1))

    def _set_extents(self, slot: int, member: LaneMember) -> None:
        blocks = self.program.blocks
        extents = [
            extent(member.shapes.get(name, p.shape[1:]), p.shape[1:], blocks.get(name))
            for name, p in self.state.params.items()
        ]
        self.state.extents[slot].copy_(torch.tensor(extents))

    def _set_coefficients(self, slot: int, coefficients: Mapping[str, float]) -> None:
        for name, value in coefficients.items():
            self.state.coefficients[name][slot] = value

    def begin_epoch(self, epoch: int, rows: Tensor | None = None) -> None:
        """Load the tables of the population's `epoch`; `rows` are its rows, where they are drawn already."""
        state, loaded = self.state, self.program.training.loaded
        steps = torch.arange(steps_per_epoch(loaded), device=state.step.device).unsqueeze(1)
        epochs = [0 if member is None else member.progress.epoch for member in self.members]
        keys_of = zip(self._seeds(), epochs, strict=True)
        state.key.copy_(torch.cat([epoch_keys(seed, [own]) for seed, own in keys_of]))
        factors = scales(state.coefficients, state.step + steps)
        keys = layer_keys(state.key, steps, self.program.layers)
        tables = EpochTables(
            rows=self._rows(epoch) if rows is None else rows,
            scales=torch.stack([factors[name].to(state.weights.dtype) for name in SCALES], 1),
            keys=torch.stack(list(keys.values()), 1) if keys else state.key.new_empty(len(steps), 0),
        )
        if state.tables is None:
            # Allocated once: a captured step reads these very tensors.
            state.tables, state.read = tables.clone(), empty_reads(loaded)
        for own, new in zip(state.tables.all(), tables.all(), strict=True):
            own.copy_(new)
        state.tick.zero_()
        state.bad.fill_(steps_per_epoch(loaded))

    def _seeds(self) -> list[int]:
        """The seed of each slot; an empty one has that of a member."""
        if self.seed is not None:
            return [self.seed] * self.slots
        some = next((member.seed for _, member in self.active), 0)
        return [some if member is None else member.seed for member in self.members]

    def _rows(self, epoch: int) -> Tensor:
        """The rows of an epoch's batches: [S, sources, B], or [S, sources, M, B] where each member has its own."""
        loaded = self.program.training.loaded
        if self.seed is not None:
            return epoch_table(loaded, self.seed, epoch)
        studies = self.program.training.folds or (loaded,)
        own = list(zip(self._seeds(), self._folds(), strict=True))
        tables = {each: epoch_table(studies[each[1]], each[0], epoch) for each in dict.fromkeys(own)}
        return torch.stack([tables[each] for each in own], 2)

    def _folds(self) -> list[int]:
        """The fold of each slot; 0 where it is empty."""
        fold_of = self.program.training.fold_of
        return [0 if member is None else fold_of(member.number) for member in self.members]

    def train_epoch(self, epoch: int, beside: Sequence["Lane"] = ()) -> None:
        """Take S steps with every member, side by side with the lanes `beside`, which have the same seed.

        Raises torch.OutOfMemoryError; all these lanes are then as they were before the epoch.
        """
        lanes = (self, *beside)
        before = [[tensor.clone() for tensor in lane.state.stacked()] for lane in lanes]
        try:
            self._take_steps(epoch, lanes)
        except torch.OutOfMemoryError:
            for lane, tensors in zip(lanes, before, strict=True):
                for tensor, old in zip(lane.state.stacked(), tensors, strict=True):
                    tensor.copy_(old)
            raise

    def _take_steps(self, epoch: int, lanes: Sequence["Lane"]) -> None:
        training = self.program.training
        steps = steps_per_epoch(training.loaded)
        rows, members = self._rows(epoch), sum(len(lane.active) for lane in lanes)
        for lane in lanes:
            lane.begin_epoch(epoch, rows)
        with (
            streams_beside(lanes) as streams,
            epoch_reads(training.loaded, self._seeds()[0], epoch) as reads,
        ):
            for tick, read in enumerate(reads):
                training.check_stop()
                for lane, stream in zip(lanes, streams, strict=True):
                    for number, inputs in read.items():
                        lane.state.read[number].copy_(inputs)
                    with torch.cuda.stream(stream):
                        lane.run_step(lane, tick)
                advance(members)
        for lane in lanes:
            lane.program.end_epoch(lane.state, steps)
            lane.state.step.add_(steps)

    def results(self, metrics: Sequence[Metrics]) -> list[EpochResult]:
        """Give each member's result of an epoch, and keep the parameters of those whose best epoch it is.

        `metrics` are those of each slot on the validation data.
        """
        loaded = self.program.training.loaded
        bad = self.state.bad.tolist()
        results, improved = [], []
        for slot, member in self.active:
            first_bad = dict(zip(loaded.study.weighted, bad[slot], strict=True))
            rule, steps = self.program.method.rule, steps_per_epoch(loaded)
            reason = failure_reason(first_bad, member.progress.epoch, steps, rule)
            if reason is not None:
                results.append(member.progress.fail(reason))
                continue
            score, shortfalls = loaded.score(metrics[slot]), loaded.shortfalls(metrics[slot])
            result, is_best = member.progress.update(score, metrics[slot], shortfalls)
            results.append(result)
            if is_best:
                improved.append(slot)
        self._keep_best(improved)
        return results

    def _keep_best(self, slots: Sequence[int]) -> None:
        if slots:
            index = torch.tensor(slots, device=self.state.weights.device)
            for name, tensor in (self.state.params | self.state.buffers).items():
                self.state.best[name].index_copy_(0, index, tensor.index_select(0, index))

    def best_state(self, slot: int) -> Tensors:
        """The parameters and buffers of a member's best epoch, without padding, on the CPU."""
        member = self.members[slot]
        assert member is not None
        program, best = self.program, self.state.best
        return {
            name: cut(program.own(best, name, slot), shape, program.own_blocks(name)).to("cpu", copy=True)
            for name, shape in member.shapes.items()
        }

    def take(self, other: "Lane", slot: int) -> None:
        """Move a member of another lane of the same seed into a free slot, with its whole state.

        The other lane may have another width: padding is then added, or left behind.
        """
        free, member = self.members.index(None), other.members[slot]
        assert member is not None
        for (name, own), (_, tensor) in zip(self.state.named(), other.state.named(), strict=True):
            move(tensor[slot], own[free], self.program.blocks.get(name))
        self._set_extents(free, member)
        member.moved |= self.program is not other.program or other.is_uncompiled
        self.members[free] = member
        other.free(slot)

    def moved_to(self, slots: int, step: Step, start: int = 0) -> "Lane":
        """A lane of `slots` slots with this lane's members from the `start`-th on, and their whole state."""
        lane = Lane(self.program, slots, self.seed, step)
        kept = self.active[start : start + slots]
        index = torch.tensor([slot for slot, _ in kept], dtype=torch.int64, device=self.state.weights.device)
        for new, old in zip(lane.state.stacked(), self.state.stacked(), strict=True):
            new[: len(kept)].copy_(old.index_select(0, index))
        for slot, (_, member) in enumerate(kept):
            lane.members[slot] = member
            member.moved = True
        for slot in range(len(kept), slots):
            lane.free(slot)
        return lane


def epoch_table(loaded: LoadedStudy, seed: int, epoch: int) -> Tensor:
    """The rows [S, sources, B] of the steps of an epoch, on the device."""
    return torch.stack(epoch_batches(loaded, seed, epoch), 1)


@contextmanager
def streams_beside(lanes: Sequence[Lane]) -> Iterator[Sequence[torch.cuda.Stream | None]]:
    """Give each of several lanes a CUDA stream, since the kernels of one lane seldom fill the device.

    None stands for the current stream: on a CPU, for a single lane, and where each step waits for inputs to be read.
    """
    loaded = lanes[0].program.training.loaded
    if len(lanes) == 1 or loaded.device.type != "cuda" or loaded.reads:
        yield [None] * len(lanes)
        return
    current = torch.cuda.current_stream()
    streams: list[torch.cuda.Stream] = [torch.cuda.Stream() for _ in lanes]  # type: ignore[no-untyped-call]
    for stream in streams:
        stream.wait_stream(current)
    try:
        yield streams
    finally:
        for stream in streams:
            current.wait_stream(stream)


def evaluate_lanes(lanes: Sequence[Lane], split: str) -> list[list[Metrics]]:
    """Metrics of each slot of each lane; data on disk are read once for all lanes."""
    training = lanes[0].program.training
    if training.folds:
        with torch.no_grad():
            return [_evaluate_folds(lane, split) for lane in lanes]
    forwards = [partial(lane.program.forward, lane.state) for lane in lanes]
    slots = [lane.slots for lane in lanes]
    with torch.no_grad():
        return evaluate_together(training.loaded, forwards, split, training.dtype, slots)


def _evaluate_folds(lane: Lane, split: str) -> list[Metrics]:
    """Metrics of each slot on the data of its own fold; empty slots have none.

    So many members are evaluated at once as the lane has slots for each fold: always the same number, on which their
    last bits depend.
    """
    training, state = lane.program.training, lane.state
    many = -(-lane.slots // len(training.folds))
    found: list[Metrics] = [{} for _ in range(lane.slots)]
    for fold, loaded in enumerate(training.folds):
        slots = [slot for slot, member in lane.active if training.fold_of(member.number) == fold]
        for start in range(0, len(slots), many):
            some = slots[start : start + many]
            index = torch.tensor(some + some[-1:] * (many - len(some)), device=state.weights.device)
            params, buffers = (
                {name: tensor.index_select(0, index) for name, tensor in tensors.items()}
                for tensors in (state.params, state.buffers)
            )
            forward = partial(lane.program.forward, replace(state, params=params, buffers=buffers))
            (metrics,) = evaluate_together(loaded, [forward], split, training.dtype, [many])
            for slot, own in zip(some, metrics, strict=False):
                found[slot] = own
    return found
