"""How a lane's step is run: eagerly, compiled whole, or captured as a CUDA graph and replayed."""

import shutil
from collections.abc import Callable
from typing import Protocol

import torch

from mtlsearch.lane import LaneProgram, LaneState, Step
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
        return program.step


class Compiled:
    """The whole step under `torch.compile`, once per program and number of slots: equal lanes share it."""

    name = "compiled"

    def __init__(self) -> None:
        self.made: dict[tuple[int, int], Step] = {}
        # Every lane shape is a compilation of its own, and torch would stop at eight.
        torch._dynamo.config.recompile_limit = 1024  # type: ignore[attr-defined]
        torch._dynamo.config.accumulated_recompile_limit = 1024  # type: ignore[attr-defined]

    def of(self, program: LaneProgram, slots: int) -> Step:
        key = id(program), slots
        if key not in self.made:
            self.made[key] = torch.compile(program.step, dynamic=False, fullgraph=True)
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

    def __call__(self, state: LaneState) -> None:
        if self.graph is None:
            self.graph = self._capture(state)
        self.graph.replay()  # type: ignore[no-untyped-call]

    def _capture(self, state: LaneState) -> torch.cuda.CUDAGraph:
        """Warm up on a side stream, put the state back, and capture one step."""
        before = [tensor.clone() for tensor in state.all()]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(state)
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, old in zip(state.all(), before, strict=True):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(state)
        return graph


def choose_steps(loaded: LoadedStudy, trials: int) -> Steps:
    """How to run the steps of a search of `trials` trials: decided by its size alone, so that it is repeatable."""
    worth_it = search_flop(loaded, trials) > COMPILE_FLOP
    if loaded.device.type == "cuda":
        return Captured(Compiled() if worth_it else Eager())
    return Compiled() if worth_it and has_compiler() else Eager()


def steps_named(name: str) -> Steps:
    """The steps that `name` names, as trials record them."""
    kinds: dict[str, Callable[[], Steps]] = {
        "eager": Eager,
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
