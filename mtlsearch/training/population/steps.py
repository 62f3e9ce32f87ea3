"""Ways to run a lane's step: eagerly, with a fused update, compiled whole, or captured as a CUDA graph."""

import logging
import math
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

import torch

from mtlsearch.activity import doing
from mtlsearch.kernels.available import works
from mtlsearch.kernels.launch import building, kernels
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.optim import clip_scale
from mtlsearch.training.population.budget import Budget
from mtlsearch.training.population.compiler import Call, NotCompiledError, compiled
from mtlsearch.training.population.lane import Lane, Step, plain_step
from mtlsearch.training.population.layout import compiling_line, compiling_pays, expected_compiling
from mtlsearch.training.population.program import LaneProgram

WARM_UP = 3
COMPILES_EXACTLY = (2, 14)  # of torch: what 2.9 and 2.11 compile for a CPU is not always what it is uncompiled
BUILT_ROWS = 256  # of an evaluation; its kernels are the same for any number of rows
CPU = torch.device("cpu")


class Steps(Protocol):
    """Gives each lane the step that trains it; a trial records `name`.

    `by_kernels` says whether the step runs by kernels of our own, which skip padded units.
    """

    name: str
    by_kernels: bool

    def of(self, program: LaneProgram, slots: int) -> Step:
        """The step for one lane of `program` with `slots` slots."""


class Eager:
    """The plain step, the reference of all others."""

    name, by_kernels = "eager", False

    def of(self, program: LaneProgram, slots: int) -> Step:
        return plain_step


class Fused:
    """The fastest step that torch does not compile: parts of it take one pass over memory each.

    On a CPU that is torch's fused optimizer, member by member; on CUDA kernels of our own, for all members at once.
    """

    name = "fused"

    def __init__(self, device: torch.device = CPU) -> None:
        self.by_kernels = device.type != "cpu"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return kernel_step if self.by_kernels else fused_step


def fused_step(lane: Lane, tick: int) -> None:
    """Take one whole step of a lane, each member by its own optimizer."""
    program, state = lane.program, lane.state
    grads, losses = program.gradients(state)
    if program.clips:
        clip = clip_scale(grads, state.coefficients)
        grads = {name: g * clip.reshape(-1, *[1] * (g.ndim - 1)) for name, g in grads.items()}
    steps = steps_per_epoch(program.training.loaded)
    for slot, member in lane.active:
        params, own, first, second = (
            [tensor[slot] for tensor in tensors.values()]
            for tensors in (state.params, grads, state.first, state.second)
        )
        step = member.progress.epoch * steps + tick
        member.settings.step_one(params, own, first, second, step, member.progress.epochs * steps)
    program.count(state, losses)


def kernel_step(lane: Lane, tick: int) -> None:
    """Take one whole step of a lane on CUDA: layers, losses and updates run by kernels of our own."""
    from mtlsearch.training.population.update_kernel import update

    with kernels():
        lane.program.step(lane.state, partial(update, extents=lane.state.extents))


def build_kernels(program: LaneProgram) -> None:
    """Build the kernels of a program's steps and evaluations, side by side; nothing is trained.

    It may run in a thread, as long as nothing else runs the program's module.
    """
    with building(program.training.loaded.device):
        lane = Lane(program, 2, seed=0)
        lane.begin_epoch(0)
        kernel_step(lane, 0)
        program.try_forward(lane.state, BUILT_ROWS)


class Compiled:
    """The whole step, compiled once for each program and number of slots: equal lanes share it."""

    name, by_kernels = "compiled", False

    def __init__(self, notice: Callable[[str], None] = lambda text: None) -> None:
        self.notice = notice
        self.made: dict[tuple[LaneProgram, int], Step] = {}
        self.budget = Budget(math.inf, notice)
        # --precision decides whether products are in TF32.
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        # A user cannot act on this one.
        warnings.filterwarnings("ignore", message=r"\s*Online softmax is disabled")
        # It warns of nvcc without a device, where steps are compiled for a CPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        # Each lane shape is compiled anew, and torch would stop at eight.
        torch._dynamo.config.recompile_limit = 1024
        torch._dynamo.config.accumulated_recompile_limit = 1024

    def of(self, program: LaneProgram, slots: int) -> Step:
        if not self.made:
            self.notice(compiling_line(program.training.loaded))
            self.budget = Budget(expected_compiling(program.training.loaded), self.notice)
        if (program, slots) not in self.made:
            told = partial(self._told, len(self.made) + 1)
            self.made[program, slots] = CompiledStep(program, self.notice, told, self.budget)
        return self.made[program, slots]

    def _told(self, number: int) -> str:
        """The activity while a step compiles; as many are to be compiled as lanes have asked for so far."""
        return f"compiling step {number} of {len(self.made)}"


class CompiledStep:
    """The compiled step of lanes of one shape.

    Where compiling fails, or its budget is spent before, an uncompiled step trains the members.
    """

    def __init__(
        self, program: LaneProgram, notice: Callable[[str], None], told: Callable[[], str], budget: Budget
    ) -> None:
        self.first, self.notice, self.told, self.budget = compiled(program), notice, told, budget
        self.is_built = self.fails = False
        self.of_lanes: WeakKeyDictionary[Lane, Step] = WeakKeyDictionary()

    def __call__(self, lane: Lane, tick: int) -> None:
        step = self.of_lanes.get(lane)
        if step is None:
            self.of_lanes[lane] = self._first(lane, tick)
        else:
            step(lane, tick)

    def _first(self, lane: Lane, tick: int) -> Step:
        """Take a lane's first step, and give the step for all later ones."""
        lane.is_uncompiled = not (self.is_built or self.fails or self.budget.allows_more())
        if not (self.fails or lane.is_uncompiled):
            try:
                with doing(self.told()), self.budget.spending():
                    step = called(self.first(lane.state))
                self.is_built = True
                return step
            except NotCompiledError as error:
                self.fails = True
                self.notice(f"torch cannot compile a step ({error}); it runs uncompiled, which is slower")
        step = _fastest(lane.state.weights.device).of(lane.program, lane.slots)
        step(lane, tick)
        return step


def called(call: Call) -> Step:
    """A step that is `call`, at every tick."""

    def step(lane: Lane, tick: int) -> None:
        call()

    return step


class Captured:
    """A CUDA graph of another step, captured once per lane and replayed: one launch a step, no host sync."""

    def __init__(self, inner: Steps) -> None:
        self.inner, self.name, self.by_kernels = inner, f"captured {inner.name}", inner.by_kernels

    def of(self, program: LaneProgram, slots: int) -> Step:
        return GraphStep(self.inner.of(program, slots))


class GraphStep:
    """One lane's captured step; the lane's tensors must keep their addresses."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, lane: Lane, tick: int) -> None:
        if self.graph is None:
            self.graph = self._capture(lane)
        self.graph.replay()

    def _capture(self, lane: Lane) -> torch.cuda.CUDAGraph:
        """Warm up on a side stream, restore the state, and capture one step."""
        before = [tensor.clone() for tensor in lane.state.all()]
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(lane, 0)
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, old in zip(lane.state.all(), before, strict=True):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        # Another thread may read ahead into pinned memory meanwhile; its calls do not belong to the step.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.step(lane, 0)
        return graph


def choose_steps(
    loaded: LoadedStudy,
    trials: int,
    population: int,
    notice: Callable[[str], None] = lambda text: None,
    compiles: bool | None = None,
) -> Steps:
    """Choose the steps of a search of `trials` trials, by its size alone, so that it is repeatable.

    `compiles` says whether they are compiled, where a study's plan has decided that.
    """
    worth_it = compiling_pays(loaded, trials, population) if compiles is None else compiles
    if worth_it and has_compiler():
        return replayed(Compiled(notice), loaded.device)
    if worth_it and not compiles_exactly():
        known = ".".join(map(str, COMPILES_EXACTLY))
        notice(f"torch {torch.__version__} is not known to compile a step exactly: steps run uncompiled; {known} is")
    return uncompiled(loaded.device)


def uncompiled(device: torch.device) -> Steps:
    """The fastest steps that torch does not compile."""
    return replayed(_fastest(device), device)


def _fastest(device: torch.device) -> Steps:
    """The fastest steps that are neither compiled nor captured."""
    return Fused(device) if fuses(device) else Eager()


def replayed(steps: Steps, device: torch.device) -> Steps:
    """`steps`; on CUDA each is captured as a graph and replayed."""
    return Captured(steps) if device.type == "cuda" else steps


def fuses(device: torch.device) -> bool:
    """Whether `Fused` works on a device; on CUDA it needs kernels of our own."""
    return device.type == "cpu" or works(device)


def steps_like(name: str, device: torch.device) -> Steps:
    """The steps that a trial records as `name`, or the nearest that `device` can run: a CPU captures no graph."""
    inner = name.removeprefix("captured ")
    if inner == "fused" and not fuses(device):
        inner = "eager"
    kinds: dict[str, Callable[[], Steps]] = {
        "eager": Eager,
        "fused": lambda: Fused(device),
        "compiled": Compiled if compiles_exactly() else lambda: _fastest(device),
    }
    return replayed(kinds[inner](), device)


def compiles_exactly() -> bool:
    """Whether a step that the installed torch compiles is known to be what it is uncompiled."""
    major, minor, *_ = torch.__version__.split(".")
    return (int(major), int(minor)) >= COMPILES_EXACTLY


def has_compiler() -> bool:
    """Whether steps can be compiled here, exactly."""
    return compiles_exactly() and any(shutil.which(name) for name in ("c++", "g++", "clang++"))
