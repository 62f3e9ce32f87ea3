"""A lane: members whose tensors have the same shapes, trained as one program.

`Lane` seats members in slots, trains and evaluates them epoch by epoch, and moves them between lanes; what one step
does is its program's (`lane_program`).

Legend: S steps of an epoch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mtlsearch.nn.widening import corner, extent
from mtlsearch.study.results import EpochResult, Metrics, TrialProgress, failure_reason
from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.batches import empty_reads, epoch_batches, epoch_reads, steps_per_epoch
from mtlsearch.training.evaluation import evaluate_together
from mtlsearch.training.optim import IDLE, SCALES, OptimizerSettings, scales
from mtlsearch.training.population.program import EpochTables, LaneProgram, Tensors, empty_state
from mtlsearch.training.seeds import epoch_keys, layer_keys


@dataclass
class LaneMember:
    """One trial in a slot; `shapes` are those of its own tensors, without padding."""

    number: int
    config: Config
    settings: OptimizerSettings
    progress: TrialProgress
    module: nn.Module
    shapes: Mapping[str, torch.Size]
    moved: bool = False

    @property
    def width(self) -> int:
        """The width at which it was seated first, the narrowest that holds it; 0 where it has none."""
        return width_of(self.module)


def width_of(module: nn.Module) -> int:
    """The hidden units of a module, padding included; 0 where it has none."""
    return int(getattr(module, "hidden", 0))


# Runs the 0-based step of an epoch on a lane.
Step = Callable[["Lane", int], None]


def plain_step(lane: "Lane", tick: int) -> None:
    """The program's own step, eagerly: the reference of every other way."""
    lane.program.step(lane.state)


class Lane:
    """M slots of one architecture, its members in them, and the step that trains them."""

    def __init__(self, program: LaneProgram, slots: int, seed: int, step: Step = plain_step) -> None:
        self.program, self.seed = program, seed
        self.members: list[LaneMember | None] = [None] * slots
        self.state = empty_state(program, slots)
        self.run_step = step

    @property
    def slots(self) -> int:
        return len(self.members)

    @property
    def width(self) -> int:
        """The hidden units of its members, padding included; 0 where they have none."""
        return width_of(self.program.base)

    @property
    def active(self) -> list[tuple[int, LaneMember]]:
        """The slots that are taken, with their members."""
        return [(slot, member) for slot, member in enumerate(self.members) if member is not None]

    @property
    def has_room(self) -> bool:
        return None in self.members

    def seat(self, member: LaneMember) -> None:
        """Give a new member the first free slot: its parameters and buffers, moments of zero, its coefficients."""
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
        weights = [member.config.task_weights[task] for task in training.loaded.study.task_names]
        state.weights[slot].copy_(torch.tensor(weights, dtype=torch.float64))

    def free(self, slot: int) -> None:
        """Empty a slot: it is as if it was never taken, and what is computed there from now on is never read."""
        self.members[slot] = None
        self.state.extents[slot].zero_()
        for buffer in self.state.buffers.values():  # without live units there is nothing for kernels to do
            buffer[slot].zero_()
        self._set_coefficients(slot, IDLE.coefficients(1))

    def _set_extents(self, slot: int, member: LaneMember) -> None:
        extents = [
            extent(member.shapes.get(name, p.shape[1:]), p.shape[1:]) for name, p in self.state.params.items()
        ]
        self.state.extents[slot].copy_(torch.tensor(extents))

    def _set_coefficients(self, slot: int, coefficients: Mapping[str, float]) -> None:
        for name, value in coefficients.items():
            self.state.coefficients[name][slot] = value

    def begin_epoch(self, epoch: int, rows: Tensor | None = None) -> None:
        """Load the tables of the population's `epoch` into the state's own; `rows` where they are drawn already."""
        state, loaded = self.state, self.program.training.loaded
        steps = torch.arange(steps_per_epoch(loaded), device=state.step.device).unsqueeze(1)
        epochs = [0 if member is None else member.progress.epoch for member in self.members]
        state.key.copy_(epoch_keys(self.seed, epochs))
        factors = scales(state.coefficients, state.step + steps)
        keys = layer_keys(state.key, steps, self.program.layers)
        tables = EpochTables(
            rows=epoch_table(loaded, self.seed, epoch) if rows is None else rows,
            scales=torch.stack([factors[name].to(state.weights.dtype) for name in SCALES], 1),
            keys=torch.stack(list(keys.values()), 1) if keys else state.key.new_empty(len(steps), 0),
        )
        if state.tables is None:
            # Made once: a captured step reads these very tensors.
            state.tables, state.read = tables.clone(), empty_reads(loaded)
        for own, new in zip(state.tables.all(), tables.all(), strict=True):
            own.copy_(new)
        state.tick.zero_()
        state.bad.fill_(steps_per_epoch(loaded))

    def train_epoch(self, epoch: int, beside: Sequence["Lane"] = ()) -> None:
        """Take S steps with every member, and with those of the lanes `beside`, of the same seed, batch by batch.

        Out of memory, all these lanes are as they were before the epoch.
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
        rows = epoch_table(training.loaded, self.seed, epoch)
        for lane in lanes:
            lane.begin_epoch(epoch, rows)
        with (
            streams_beside(lanes) as streams,
            epoch_reads(training.loaded, self.seed, epoch) as reads,
        ):
            for tick, read in enumerate(reads):
                training.check_stop()
                for lane, stream in zip(lanes, streams, strict=True):
                    for number, inputs in read.items():
                        lane.state.read[number].copy_(inputs)
                    with torch.cuda.stream(stream):
                        lane.run_step(lane, tick)
        for lane in lanes:
            lane.program.end_epoch(lane.state, steps)
            lane.state.step.add_(steps)

    def results(self, values: Sequence[Metrics] | None = None) -> list[EpochResult]:
        """What an epoch gave every member, and keep the parameters of those at their best.

        `values` are those of each slot on the validation data, which is read for this lane where they are not given.
        """
        loaded = self.program.training.loaded
        bad = self.state.bad.tolist()
        values = self.evaluate("validation") if values is None else values
        results, improved = [], []
        for slot, member in self.active:
            steps = dict(zip(loaded.study.task_names, bad[slot], strict=True))
            reason = failure_reason(
                steps, member.progress.epoch, steps_per_epoch(loaded), self.program.method.rule
            )
            if reason is not None:
                results.append(member.progress.fail(reason))
                continue
            result, is_best = member.progress.update(loaded.score(values[slot]), values[slot])
            results.append(result)
            if is_best:
                improved.append(slot)
        self._keep_best(improved)
        return results

    def evaluate(self, split: str) -> list[Metrics]:
        """{task: {metric: value}} for each slot."""
        return evaluate_lanes([self], split)[0]

    def _keep_best(self, slots: Sequence[int]) -> None:
        if slots:
            index = torch.tensor(slots, device=self.state.weights.device)
            for name, tensor in (self.state.params | self.state.buffers).items():
                self.state.best[name].index_copy_(0, index, tensor.index_select(0, index))

    def best_state(self, slot: int) -> Tensors:
        """The parameters and buffers of a member's best epoch, without padding, on the CPU."""
        member = self.members[slot]
        assert member is not None
        return {
            name: corner(self.state.best[name][slot], torch.empty(shape, device="meta")).to("cpu", copy=True)
            for name, shape in member.shapes.items()
        }

    def take(self, other: "Lane", slot: int) -> None:
        """Move a member of another lane of the same seed into a free slot, with all that it has learned.

        That lane's program is the same, or one of another width: then padding is added, or left behind.
        """
        free, member = self.members.index(None), other.members[slot]
        assert member is not None
        for own, tensor in zip(self.state.stacked(), other.state.stacked(), strict=True):
            to, of = own[free], tensor[slot]
            to.zero_()
            corner(to, of).copy_(corner(of, to))
        self._set_extents(free, member)
        member.moved |= self.program is not other.program
        self.members[free] = member
        other.free(slot)

    def moved_to(self, slots: int, step: Step, start: int = 0) -> "Lane":
        """A lane of `slots` slots with this lane's members from the `start`-th on, and all that they have learned."""
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
    """A CUDA stream for each of several lanes, that their kernels, each too small for the device, run side by side.

    None where the current one is to be used: on a CPU, and where steps wait for what is read in turn.
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
    """{task: {metric: value}} for each slot of each lane; what is stored is read once for all."""
    training = lanes[0].program.training
    forwards = [partial(lane.program.forward, lane.state) for lane in lanes]
    slots = [lane.slots for lane in lanes]
    with torch.no_grad():
        return evaluate_together(training.loaded, forwards, split, training.dtype, slots)
