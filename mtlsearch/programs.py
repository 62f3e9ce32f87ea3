"""How a lane's step is run: plainly, with torch's fused optimizers, compiled whole, or captured as a CUDA graph."""

import shutil
from collections.abc import Callable
from typing import Protocol

import torch

from mtlsearch.lane import Lane, LaneProgram, Step, plain_step
from mtlsearch.optim import clipped
from mtlsearch.step import steps_per_epoch
from mtlsearch.study import LoadedStudy

# Arithmetic of a whole search below which compiling costs more than it saves; measured by benchmarks/search.py.
COMPILE_FLOP = 1e13
WARM_UP = 3


class Steps(Protocol):
    """Gives each lane the step that trains it; `name` is how it is recorded."""

    name: str

    def of(self, program: LaneProgram, slots: int) -> Step:
        """The step for one lane of `program` with `slots` slots."""
        ...


class Eager:
    """The plain step, the reference of the others."""

    name = "eager"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return plain_step


class Fused:
    """Gradients as one program, then torch's fused optimizer for each member: best where nothing is compiled."""

    name = "fused"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return fused_step


def fused_step(lane: Lane, tick: int) -> None:
    """One whole step of a lane, each member by its own optimizer."""
    program, state = lane.program, lane.state
    grads, losses = program.gradients(state)
    if program.clips:
        grads = clipped(grads, state.coefficients)
    steps = steps_per_epoch(program.training.loaded)
    for slot, member in lane.active:
        params, own, first, second = (
            [tensor[slot] for tensor in tensors.values()]
            for tensors in (state.params, grads, state.first, state.second)
        )
        step = member.progress.epoch * steps + tick
        member.settings.step_one(params, own, first, second, step, member.progress.epochs * steps)
    program.count(state, losses)


class Compiled:
    """The whole step under `torch.compile`, once per program and number of slots: equal lanes share it."""

    name = "compiled"

    def __init__(self) -> None:
        self.made: dict[tuple[int, int], Step] = {}
        # Every lane shape is a compilation of its own, and torch would stop at eight.
        torch._dynamo.config.recompile_limit = 1024
        torch._dynamo.config.accumulated_recompile_limit = 1024

    def of(self, program: LaneProgram, slots: int) -> Step:
        key = id(program), slots
        if key not in self.made:
            compiled = torch.compile(program.step, dynamic=False, fullgraph=True)
            self.made[key] = lambda lane, tick: compiled(lane.state)
        return self.made[key]


class Captured:
    """A CUDA graph of another step, captured once per lane and replayed: one launch a step, no host sync."""

    def __init__(self, inner: Steps) -> None:
        self.inner, self.name = inner, f"captured {inner.name}"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return GraphStep(self.inner.of(program, slots))


class GraphStep:
    """One lane's captured step; the lane's tensors keep their addresses for as long as it lives."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, lane: Lane, tick: int) -> None:
        if self.graph is None:
            self.graph = self._capture(lane)
        self.graph.replay()

    def _capture(self, lane: Lane) -> torch.cuda.CUDAGraph:
        """Warm up on a side stream, put the state back, and capture one step."""
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
        with torch.cuda.graph(graph):
            self.step(lane, 0)
        return graph


def choose_steps(loaded: LoadedStudy, trials: int) -> Steps:
    """How to run the steps of a search of `trials` trials: decided by its size alone, so that it is repeatable."""
    worth_it = search_flop(loaded, trials) > COMPILE_FLOP
    if loaded.device.type == "cuda":
        return Captured(Compiled() if worth_it else Eager())
    return Compiled() if worth_it and has_compiler() else Fused()


def steps_named(name: str) -> Steps:
    """The steps that `name` names, as trials record them."""
    kinds: dict[str, Callable[[], Steps]] = {
        "eager": Eager,
        "fused": Fused,
        "compiled": Compiled,
        "captured eager": lambda: Captured(Eager()),
        "captured compiled": lambda: Captured(Compiled()),
    }
    return kinds[name]()


def search_flop(loaded: LoadedStudy, trials: int) -> float:
    """About how many floating-point operations a search of `trials` unpruned trials takes."""
    study = loaded.study
    parameters = sum(p.numel() for p in study.build(study.default_config(), seed=0).parameters())
    examples = study.batch_size * len(loaded.splits) * steps_per_epoch(loaded)
    return 6.0 * parameters * examples * study.epochs * trials


def has_compiler() -> bool:
    """Whether torch.compile can build code for the CPU here."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
