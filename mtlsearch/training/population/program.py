"""The program of a lane: its state, and the step that all members take as one.

Everything that differs between members is stacked along a first dimension of M slots. A step is a function of
tensors alone and changes them in place, so that it can be compiled whole, or captured as a CUDA graph and
replayed. Nothing is read back to the host before the end of the epoch.

Legend: M slots, T tasks, S steps of an epoch, B examples of a batch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.examples.parts import Part
from mtlsearch.kernels.launch import kernels, use_kernels
from mtlsearch.nn.batched.noisy import noise_keys
from mtlsearch.nn.pretrained.shared import placed, shared_tensors
from mtlsearch.nn.sharing import own_places
from mtlsearch.nn.widening import blocks_of
from mtlsearch.training.batches import batch_parts
from mtlsearch.training.losses import Forward, task_losses
from mtlsearch.training.optim import IDLE, SCALES, UpdateRule, clip_scale, update
from mtlsearch.training.trainer import Training
from mtlsearch.training.weighting import METHODS, State

Tensors = dict[str, Tensor]
Own = Sequence[tuple[Tensor, Tensors]]  # the inputs and labels of each source, where a member has its own


@dataclass
class EpochTables:
    """Tables of an epoch, of which each step reads one row.

    `rows` [S, sources, B] are the batches' examples, [S, sources, M, B] where each member has its own; `scales`
    [S, 3, M] the optimizer's in the order of `optim.SCALES`; `keys` [S, layers, M] the noise keys of each layer.
    """

    rows: Tensor
    scales: Tensor
    keys: Tensor

    def all(self) -> tuple[Tensor, ...]:
        return self.rows, self.scales, self.keys

    def clone(self) -> "EpochTables":
        return EpochTables(*(table.clone() for table in self.all()))


@dataclass
class LaneState:
    """The tensors of a lane; the first dimension of all but the last three is that of the slots.

    `weights` [M, T] are the task weights. `step` [M] counts each member's steps before this epoch, and `bad` [M, T]
    is the first step of the epoch at which a loss was not finite, S where there is none. `key` [M] seeds the noise of
    each member's own epoch. `weighting` is the state of the weighting method, empty where weights are static.
    `extents` [M, parameters] count each parameter's leading numbers beyond which all is padding, 0 in an empty slot.
    `tables` are those of the epoch, and `tick` [] is the step within it. `read` [B, ...] are the step's inputs of the
    sources that are on disk or augmented, by source.
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
    weighting: Tensors
    extents: Tensor
    tables: EpochTables | None = None
    tick: Tensor = field(default_factory=lambda: torch.tensor(0))
    read: dict[int, Tensor] = field(default_factory=dict)

    def named(self) -> Iterable[tuple[str, Tensor]]:
        """Every tensor that has slots; one that goes with a parameter or buffer has its name."""
        dicts = (self.params, self.buffers, self.first, self.second, self.best, self.coefficients)
        for tensors in (*dicts, self.weighting):
            yield from tensors.items()
        yield from (("", tensor) for tensor in (self.weights, self.step, self.bad, self.key, self.extents))

    def stacked(self) -> Iterable[Tensor]:
        """Every tensor that has slots."""
        return (tensor for _, tensor in self.named())

    def all(self) -> Iterable[Tensor]:
        """Every tensor that a step reads or changes."""
        yield from self.stacked()
        assert self.tables is not None
        yield from (*self.tables.all(), self.tick, *self.read.values())

    def keys(self, layers: Sequence[str]) -> Tensors:
        """The noise key [M] of each layer at the `tick`."""
        assert self.tables is not None
        return dict(zip(layers, at_tick(self.tables.keys, self.tick), strict=True)) if layers else {}

    def scales(self) -> Tensors:
        """The optimizer's scales [M] at the `tick`."""
        assert self.tables is not None
        return dict(zip(SCALES, at_tick(self.tables.scales, self.tick), strict=True))

    def rows(self) -> list[Tensor]:
        """The examples [B] of each source at the `tick`, [M, B] where each member has its own."""
        assert self.tables is not None
        return list(at_tick(self.tables.rows, self.tick))


def at_tick(table: Tensor, tick: Tensor) -> Tensor:
    """The row [...] of a table [S, ...] at `tick` []."""
    return table.index_select(0, tick.view(1)).squeeze(0)


class LaneProgram:
    """The step of all lanes of one architecture, written for one member and batched by `vmap`.

    `by_kernels` says that evaluation runs by kernels of our own, as the steps do. `names` gives each tensor's name in
    the state: tied tensors have one.
    """

    def __init__(self, training: Training, module: nn.Module, by_kernels: bool = False) -> None:
        self.by_kernels = by_kernels
        self.training, self.base = training, placed(module, training.loaded.device, training.dtype)
        tensors = (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
        first: dict[int, str] = {}
        self.names = {name: first.setdefault(id(tensor), name) for name, tensor in tensors}
        self.places = own_places(module)
        self.layers, self.blocks = noise_keys(module), blocks_of(module)
        self.method = METHODS[training.method]
        weights = training.weights(training.loaded.study.default_config())
        self.learned, self.weighting = self.method.learned(weights), self.method.initial(weights)
        self.clips = "clip_norm" in training.loaded.study.default

    def own(self, tensors: Tensors, name: str, slot: int) -> Tensor:
        """A member's tensor by its `name` in the model's state, from the stacked `tensors`."""
        if name not in self.places:
            return tensors[self.names[name]][slot]
        whole, start, end = self.places[name]
        return tensors[self.names[whole]][slot][start:end]

    def own_blocks(self, name: str) -> Sequence[int] | None:
        """In how many blocks each dimension of the tensor is padded; None where it is one."""
        return self.blocks.get(self.names.get(name, name))

    def gradients(self, state: LaneState) -> tuple[Tensors, Tensor]:
        """Every member's gradient of the weighted loss, and the task losses [M, T], at the state's `tick`."""
        losses_of, own = self._member_losses(state)

        def member_loss(
            params: Tensors, buffers: Tensors, keys: Tensors, key: Tensor, weights: Tensor, weighting: State, own: Own
        ) -> tuple[Tensor, Tensor]:
            losses = losses_of(params, buffers, keys, weights, own)
            weights = self.method.draw(key, state.tick, weights)
            learned = {name: params[name] for name in self.learned}
            return self.method.total(losses, weights, {**weighting, **learned}), losses

        self.base.train()
        batched: Callable[..., tuple[Tensors, Tensor]] = vmap(grad(member_loss, has_aux=True))
        keys = state.keys(self.layers)
        return batched(state.params, state.buffers, keys, state.key, state.weights, state.weighting, own)

    def _member_losses(self, state: LaneState) -> tuple[Callable[..., Tensor], Own]:
        """A function from a member's parameters, buffers and noise keys to its task losses [T] on the step's batch.

        It takes the member's task weights [T] too, which drop tasks (`each_loss`); and the batch of its own, which is
        given beside it for all members, empty where they share one.
        """
        training, loaded = self.training, self.training.loaded
        shared, batches = self._batches(state)

        def losses_by(forward: Forward, parts: Sequence[Part], weights: Tensor | None) -> Tensor:
            with training.autocast():
                return task_losses(loaded, forward, parts, training.dtype, weights)

        def losses_of(
            params: Tensors, buffers: Tensors, keys: Tensors, weights: Tensor | None = None, own: Own = ()
        ) -> Tensor:
            parts = [Part(inputs, labels) for inputs, labels in own] or shared
            if loaded.study.terms:
                return self._with_tensors(params, {**buffers, **keys}, lambda model: losses_by(model, parts, weights))

            def forward(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
                return self._outputs(params, {**buffers, **keys}, inputs)

            return losses_by(forward, parts, weights)

        return losses_of, batches

    def _batches(self, state: LaneState) -> tuple[list[Part], Own]:
        """The batch of each source that all members share; or the inputs and labels [M, B, ...] of each one's own."""
        loaded, rows = self.training.loaded, state.rows()
        if rows[0].ndim == 1:
            return batch_parts(loaded, rows, state.read), ()
        found = []
        for index, part in zip(rows, batch_parts(loaded, [index.flatten() for index in rows], {}), strict=True):
            assert isinstance(part.inputs, Tensor)  # lanes of several seeds take data in memory
            labels = {name: y.view(*index.shape, *y.shape[1:]) for name, y in part.labels.items()}
            found.append((part.inputs.view(*index.shape, *part.inputs.shape[1:]), labels))
        return [], found

    def _outputs(self, params: Tensors, buffers: Tensors, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """One member's outputs {task: [B, C]}; the module does not know what the weighting method learns."""
        own = {name: param for name, param in params.items() if name not in self.learned}
        outputs: Mapping[str, Tensor] = functional_call(self.base, (own, buffers), (inputs,))
        return outputs

    def _with_tensors(self, params: Tensors, buffers: Tensors, run: Callable[[nn.Module], Tensor]) -> Tensor:
        """The result of `run` on the module with one member's tensors: terms call it, and read what it holds."""
        own = {f"base.{name}": tensor for name, tensor in (params | buffers).items() if name not in self.learned}
        with kernels(False):  # kernels of our own have no derivative of a derivative
            found: Tensor = functional_call(_Holder(self.base), own, (run,))
        return found

    def step(self, state: LaneState, rule: UpdateRule = update) -> None:
        """Take one whole step of all members, in place."""
        grads, losses = self.gradients(state)
        clip = clip_scale(grads, state.coefficients) if self.clips else None
        rule(state.params, grads, state.first, state.second, state.coefficients, state.scales(), clip)
        self.count(state, losses)

    def count(self, state: LaneState, losses: Tensor) -> None:
        """Update the weighting method, note losses that are not finite, and move to the next step."""
        if self.method.observes:
            self._observe(state, losses)
        losses = self.method.checked(losses)
        if use_kernels():
            from mtlsearch.kernels.loss import note

            note(losses, state.bad, state.tick)
            return
        state.bad.copy_(torch.where(losses.isfinite(), state.bad, torch.minimum(state.bad, state.tick)))
        state.tick.add_(1)

    def _observe(self, state: LaneState, losses: Tensor) -> None:
        """Update the method's state after a step, on the same batch; the members' buffers stay as they are."""
        again = losses
        if self.method.looks_again:
            with torch.no_grad():
                buffers = {name: buffer.clone() for name, buffer in state.buffers.items()}
                losses_of, own = self._member_losses(state)
                keys, weights = state.keys(self.layers), torch.ones_like(state.weights)  # all losses are observed
                again = vmap(losses_of)(state.params, buffers, keys, weights, own)
        self._set_weighting(state, vmap(self.method.observe)(state.weighting, losses, again))

    def end_epoch(self, state: LaneState, steps: int) -> None:
        """Update the method's state at the end of an epoch of S `steps`."""
        if self.weighting:
            end: Callable[[Tensors], Tensors] = vmap(lambda kept: self.method.end_epoch(kept, steps))
            self._set_weighting(state, end(state.weighting))

    def _set_weighting(self, state: LaneState, new: State) -> None:
        for name, tensor in state.weighting.items():
            tensor.copy_(new[name])

    def forward(self, state: LaneState, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Every member's outputs {task: [M, B, C]} in evaluation."""
        self.base.eval()
        with self.training.autocast(), kernels(self.by_kernels):
            batched = vmap(lambda params, buffers: self._outputs(params, buffers, inputs))
            outputs: Mapping[str, Tensor] = batched(state.params, state.buffers)
            return outputs

    def try_forward(self, state: LaneState, rows: int) -> None:
        """Evaluate the first `rows` validation examples of each source, and drop the outputs."""
        with torch.no_grad():
            for splits in self.training.loaded.splits:
                x = as_input(splits.validation.inputs[:rows], self.training.dtype, splits.kind)
                self.forward(state, dict.fromkeys(splits.tasks, x))


class _Holder(nn.Module):
    """Holds a module, so that a function of it is called with other tensors in it."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, run: Callable[[nn.Module], Tensor]) -> Tensor:
        return run(self.base)


def empty_state(program: LaneProgram, slots: int) -> LaneState:
    """The state of a lane of empty slots, on the device."""
    training, base = program.training, program.base
    device, tasks = training.loaded.device, len(training.loaded.study.weighted)

    def stacked(tensors: Iterable[tuple[str, Tensor]]) -> Tensors:
        return {name: t.new_zeros((slots, *t.shape), device=device) for name, t in tensors}

    params = stacked((name, p.detach()) for name, p in base.named_parameters() if p.requires_grad)
    params |= stacked(program.learned.items())
    shared = shared_tensors(base)
    # A parameter without gradients is a value of its member, as a buffer is; what is shared stays in the module.
    constants = ((name, p.detach()) for name, p in base.named_parameters() if not p.requires_grad)
    values = (each for each in (*constants, *base.named_buffers()) if each[0] not in shared)
    buffers = stacked((name, b) for name, b in values if name not in program.layers)
    idle = IDLE.coefficients(1)
    return LaneState(
        params=params,
        buffers=buffers,
        first={name: torch.zeros_like(p) for name, p in params.items()},
        second={name: torch.zeros_like(p) for name, p in params.items()},
        best={name: torch.zeros_like(t) for name, t in (params | buffers).items()},
        coefficients={
            name: torch.full((slots,), float(value), dtype=torch.float64, device=device) for name, value in idle.items()
        },
        weights=torch.zeros(slots, tasks, dtype=training.dtype, device=device),
        step=torch.zeros(slots, dtype=torch.float64, device=device),
        bad=torch.zeros(slots, tasks, dtype=torch.int64, device=device),
        key=torch.zeros(slots, dtype=torch.int32, device=device),
        weighting=stacked(program.weighting.items()),
        extents=torch.zeros(slots, len(params), dtype=torch.int64, device=device),
        tick=torch.tensor(0, device=device),
    )
