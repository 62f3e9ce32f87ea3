"""A lane: members whose tensors have the same shapes, trained as one program.

Everything that differs between members is stacked along a first dimension of M slots. A step is a function of
tensors alone that changes them in place, so that it can be compiled whole, or captured as a CUDA graph and
replayed; nothing is read back to the host before the epoch's end.

Legend: M slots, T tasks, S steps of an epoch, B examples of a batch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mtlsearch.balance import METHODS, State
from mtlsearch.nn import corner, noise_keys
from mtlsearch.optim import IDLE, OptimizerSettings, clip_scale, scales, update
from mtlsearch.space import Config
from mtlsearch.step import (
    Values,
    batch_parts,
    empty_reads,
    epoch_batches,
    epoch_keys,
    epoch_reads,
    evaluate_together,
    layer_keys,
    steps_per_epoch,
    task_losses,
)
from mtlsearch.trainer import EpochResult, Progress, Training, failure_reason

Tensors = dict[str, Tensor]


@dataclass
class LaneMember:
    """One trial in a slot; `shapes` are those of its own tensors, without padding."""

    number: int
    config: Config
    settings: OptimizerSettings
    progress: Progress
    module: nn.Module
    shapes: Mapping[str, torch.Size]
    moved: bool = False


@dataclass
class LaneState:
    """The tensors of a lane; each has the slots as its first dimension, but for the last five.

    `weights` [M, T] are the task weights; `step` [M] counts each member's steps before this epoch, and `bad` [M, T]
    is the first step of the epoch at which a loss was not finite (S where none). `balance` is what the method that
    weighs the tasks keeps of each member, nothing where weights are static. From `key` [M] follows the noise of
    each member's own epoch. `rows` [S, B] per source, `scales` [S, M], `keys` [S, M] and `tick` [] are an epoch's
    batches, its optimizer tables, the noise keys of each layer, and the step within it. `read` [B, ...] are the
    step's inputs by source, of those that are stored or augmented.
    """

    params: Tensors
    buffers: Tensors
    first: Tensors
    second: Tensors
    best: Tensors
    coefficients: Tensors
    weights: Tensor
    step: Tensor
    bad: Tensor
    key: Tensor
    balance: Tensors
    rows: list[Tensor] = field(default_factory=list)
    scales: Tensors = field(default_factory=dict)
    keys: Tensors = field(default_factory=dict)
    tick: Tensor = field(default_factory=lambda: torch.tensor(0))
    read: dict[int, Tensor] = field(default_factory=dict)

    def stacked(self) -> Iterable[Tensor]:
        """Every tensor that has slots."""
        dicts = (self.params, self.buffers, self.first, self.second, self.best, self.coefficients)
        for tensors in (*dicts, self.balance):
            yield from tensors.values()
        yield from (self.weights, self.step, self.bad, self.key)

    def all(self) -> Iterable[Tensor]:
        """Every tensor that a step reads or changes."""
        yield from self.stacked()
        yield from (*self.rows, *self.scales.values(), *self.keys.values(), self.tick, *self.read.values())


def at_tick(tables: Tensors, tick: Tensor) -> Tensors:
    """The row [...] of each table [S, ...] at `tick` []."""
    return {name: table.index_select(0, tick.view(1)).squeeze(0) for name, table in tables.items()}


class LaneProgram:
    """The step of all lanes of one architecture, written for one member and batched by `vmap`."""

    def __init__(self, training: Training, module: nn.Module) -> None:
        self.training, self.base = training, module.to(training.loaded.device, training.dtype)
        self.layers = noise_keys(module)
        self.method = METHODS[training.method]
        like = torch.zeros(
            len(training.loaded.study.tasks), dtype=training.dtype, device=training.loaded.device
        )
        self.learned, self.balance = self.method.learned(like), self.method.initial(like)
        config = training.loaded.study.default
        self.clips = "clip_norm" in config

    def gradients(self, state: LaneState) -> tuple[Tensors, Tensor]:
        """The gradient of every member's weighted loss, and the task losses [M, T], at the state's `tick`."""
        losses_of = self._member_losses(state)

        def member_loss(
            params: Tensors, buffers: Tensors, keys: Tensors, key: Tensor, weights: Tensor, balance: State
        ) -> tuple[Tensor, Tensor]:
            losses = losses_of(params, buffers, keys)
            weights = self.method.draw(key, state.tick, weights)
            learned = {name: params[name] for name in self.learned}
            return self.method.total(losses, weights, {**balance, **learned}), losses

        self.base.train()
        batched: Callable[..., tuple[Tensors, Tensor]] = vmap(grad(member_loss, has_aux=True))
        keys = at_tick(state.keys, state.tick)
        return batched(state.params, state.buffers, keys, state.key, state.weights, state.balance)

    def _member_losses(self, state: LaneState) -> Callable[[Tensors, Tensors, Tensors], Tensor]:
        """One member's task losses [T] by its parameters, buffers and noise keys, on the batch at the `tick`."""
        training, loaded = self.training, self.training.loaded
        index = [rows.index_select(0, state.tick.view(1)).squeeze(0) for rows in state.rows]
        parts = batch_parts(loaded, index, state.read)

        def losses_of(params: Tensors, buffers: Tensors, keys: Tensors) -> Tensor:
            def forward(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
                outputs: Mapping[str, Tensor] = functional_call(
                    self.base, (self._own(params), {**buffers, **keys}), (inputs,)
                )
                return outputs

            with training.autocast():
                return task_losses(loaded, forward, parts, training.dtype)

        return losses_of

    def _own(self, params: Tensors) -> Tensors:
        """The parameters of the module, without what the method learns beside them."""
        if not self.learned:
            return params
        return {name: param for name, param in params.items() if name not in self.learned}

    def step(self, state: LaneState) -> None:
        """One whole step of all members, in place."""
        grads, losses = self.gradients(state)
        scale = at_tick(state.scales, state.tick)
        clip = clip_scale(grads, state.coefficients) if self.clips else None
        update(state.params, grads, state.first, state.second, state.coefficients, scale, clip)
        self.count(state, losses)

    def count(self, state: LaneState, losses: Tensor) -> None:
        """Let the method see the step, note losses that are not finite, and move to the next step."""
        if self.method.observes:
            self._observe(state, losses)
        losses = self.method.checked(losses)
        state.bad.copy_(torch.where(losses.isfinite(), state.bad, torch.minimum(state.bad, state.tick)))
        state.tick.add_(1)

    def _observe(self, state: LaneState, losses: Tensor) -> None:
        """Move the method's state after a step, before the next batch; the look leaves the buffers as they are."""
        again = losses
        if self.method.looks_again:
            with torch.no_grad():
                buffers = {name: buffer.clone() for name, buffer in state.buffers.items()}
                again = vmap(self._member_losses(state))(
                    state.params, buffers, at_tick(state.keys, state.tick)
                )
        self._set_balance(state, vmap(self.method.observe)(state.balance, losses, again))

    def end_epoch(self, state: LaneState, steps: int) -> None:
        """Let the method see the end of an epoch of S `steps`."""
        if self.balance:
            end: Callable[[Tensors], Tensors] = vmap(lambda balance: self.method.end_epoch(balance, steps))
            self._set_balance(state, end(state.balance))

    def _set_balance(self, state: LaneState, new: State) -> None:
        for name, tensor in state.balance.items():
            tensor.copy_(new[name])

    def forward(self, state: LaneState, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Every member's outputs {task: [M, B, C]} in evaluation."""

        def one(params: Tensors, buffers: Tensors) -> Mapping[str, Tensor]:
            outputs: Mapping[str, Tensor] = functional_call(
                self.base, (self._own(params), buffers), (inputs,)
            )
            return outputs

        self.base.eval()
        with self.training.autocast():
            batched: Callable[..., Mapping[str, Tensor]] = vmap(one)
            return batched(state.params, state.buffers)


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
            for name, tensor in state.balance.items():
                tensor[slot].copy_(self.program.balance[name])
        steps = training.loaded.study.epochs * steps_per_epoch(training.loaded)
        self._set_coefficients(slot, member.settings.coefficients(steps))
        weights = [member.config.task_weights[task] for task in training.loaded.study.task_names]
        state.weights[slot].copy_(torch.tensor(weights, dtype=torch.float64))

    def free(self, slot: int) -> None:
        """Empty a slot; what is computed there from now on is never read."""
        self.members[slot] = None
        self._set_coefficients(slot, IDLE.coefficients(1))

    def _set_coefficients(self, slot: int, coefficients: Mapping[str, float]) -> None:
        for name, value in coefficients.items():
            self.state.coefficients[name][slot] = value

    def begin_epoch(self) -> None:
        """Load an epoch's optimizer tables and noise keys into the state's own tensors, at first its batches too."""
        state, loaded = self.state, self.program.training.loaded
        steps = torch.arange(steps_per_epoch(loaded), device=state.step.device).unsqueeze(1)
        epochs = [0 if member is None else member.progress.epoch for member in self.members]
        state.key.copy_(epoch_keys(self.seed, epochs))
        tables = {
            n: x.to(state.weights.dtype) for n, x in scales(state.coefficients, state.step + steps).items()
        }
        keys = layer_keys(state.key, steps, self.program.layers)
        if not state.rows:
            # Made once: a captured step reads these very tensors.
            state.rows = epoch_batches(loaded, self.seed)
            state.scales = {name: torch.empty_like(table) for name, table in tables.items()}
            state.keys = {name: torch.empty_like(table) for name, table in keys.items()}
            state.read = empty_reads(loaded)
        for own, new in ((state.scales, tables), (state.keys, keys)):
            for name, table in new.items():
                own[name].copy_(table)
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
        for lane in lanes:
            lane.begin_epoch()
        with epoch_reads(training.loaded, self.seed, epoch) as reads:
            for tick, read in enumerate(reads):
                training.check_stop()
                for lane in lanes:
                    for number, inputs in read.items():
                        lane.state.read[number].copy_(inputs)
                    lane.run_step(lane, tick)
        for lane in lanes:
            lane.program.end_epoch(lane.state, steps)
            lane.state.step.add_(steps)

    def results(self, values: Sequence[Values] | None = None) -> list[EpochResult]:
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

    def evaluate(self, split: str) -> list[Values]:
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
        """Move a member of another lane of the same program and seed into a free slot, with all that it has learned."""
        free = self.members.index(None)
        for own, tensor in zip(self.state.stacked(), other.state.stacked(), strict=True):
            own[free].copy_(tensor[slot])
        self.members[free] = other.members[slot]
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


def evaluate_lanes(lanes: Sequence[Lane], split: str) -> list[list[Values]]:
    """{task: {metric: value}} for each slot of each lane; what is stored is read once for all."""
    training = lanes[0].program.training
    forwards = [partial(lane.program.forward, lane.state) for lane in lanes]
    slots = [lane.slots for lane in lanes]
    with torch.no_grad():
        return evaluate_together(training.loaded, forwards, split, training.dtype, slots)


def empty_state(program: LaneProgram, slots: int) -> LaneState:
    """A state of empty slots, on the device."""
    training, base = program.training, program.base
    device, tasks = training.loaded.device, len(training.loaded.study.tasks)

    def stacked(tensors: Iterable[tuple[str, Tensor]]) -> Tensors:
        return {name: t.new_zeros((slots, *t.shape), device=device) for name, t in tensors}

    params = stacked((name, p.detach()) for name, p in base.named_parameters())
    params |= stacked(program.learned.items())
    buffers = stacked((name, b) for name, b in base.named_buffers() if name not in program.layers)
    idle = IDLE.coefficients(1)
    return LaneState(
        params=params,
        buffers=buffers,
        first={name: torch.zeros_like(p) for name, p in params.items()},
        second={name: torch.zeros_like(p) for name, p in params.items()},
        best={name: torch.zeros_like(t) for name, t in (params | buffers).items()},
        coefficients={
            name: torch.full((slots,), float(value), dtype=torch.float64, device=device)
            for name, value in idle.items()
        },
        weights=torch.zeros(slots, tasks, dtype=training.dtype, device=device),
        step=torch.zeros(slots, dtype=torch.float64, device=device),
        bad=torch.zeros(slots, tasks, dtype=torch.int64, device=device),
        key=torch.zeros(slots, dtype=torch.int32, device=device),
        balance=stacked(program.balance.items()),
        tick=torch.tensor(0, device=device),
    )
