"""Compilation of a step: on a CPU inductor compiles its graph, with a pass of our own; on CUDA `torch.compile` does.

A graph consists of operators on tensors: those of a lane's state, and the data. It is traced and compiled once for a
lane shape, and called with the tensors of any lane of that shape; a state keeps its tensors as long as it lives. So
Dynamo's checks for code that may change are not needed: they take a tenth of a step and a quarter of compiling.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen
from torch.utils import _pytree

from mtlsearch.errors import one_line
from mtlsearch.training.population.program import EpochTables, LaneProgram, LaneState

Call = Callable[[], object]


@cache
def register_states() -> None:
    """Tell torch that a lane's state consists of tensors. It is done once, and not before: torch 2.6 cannot."""
    _pytree.register_dataclass(EpochTables)
    _pytree.register_dataclass(LaneState)


class NotCompiledError(Exception):
    """torch cannot compile a step; no tensor has changed."""


class Compiler:
    """Compiles a program's step for lanes of one shape, at the first such lane."""

    def __init__(self, program: LaneProgram) -> None:
        self.program = program
        self.code: Callable[..., object] | None = None
        self.data: list[Tensor] = []
        register_states()

    def first(self, state: LaneState) -> Call:
        """Take one step of a state, and give the call for every later one. Raises NotCompiledError."""
        if self.code is None:
            try:
                graph, self.data = traced(self.program, state)
                self.code = built(graph, self._inputs(state))
            except Exception as error:  # of any kind: the plain step takes over
                raise NotCompiledError(one_line(error)[:200]) from error
        call = partial(self.code, *self._inputs(state))
        call()
        return call

    def _inputs(self, state: LaneState) -> list[Tensor]:
        return [*_pytree.tree_leaves(state), *self.data]


def compiled(program: LaneProgram) -> Callable[[LaneState], Call]:
    """A function that takes one step of a state, compiling the program first, and gives the call for later steps.

    It raises NotCompiledError before any tensor has changed.
    """
    if program.training.loaded.device.type == "cpu":
        return Compiler(program).first
    step = torch.compile(program.step, dynamic=False, fullgraph=True)

    def first(state: LaneState) -> Call:
        from torch._dynamo.exc import TorchDynamoException  # slow to import

        try:
            step(state)
        except TorchDynamoException as error:  # while it compiles
            raise NotCompiledError(one_line(error)[:200]) from error
        return partial(step, state)

    return first


def traced(program: LaneProgram, state: LaneState) -> tuple[GraphModule, list[Tensor]]:
    """The graph of a step of states like this one, and the data that it takes as inputs after their tensors."""
    from torch.fx.experimental.proxy_tensor import make_fx

    register_states()

    def step(state: LaneState) -> None:
        program.step(state)

    graph: GraphModule = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(state)
    return graph, _data_as_inputs(graph)


def _data_as_inputs(graph: GraphModule) -> list[Tensor]:
    """Turn the tensors that a graph holds into inputs after the others, and give them in this order."""
    held: dict[str, Node] = {}
    *_, last = graph.graph.find_nodes(op="placeholder")
    for node in graph.graph.find_nodes(op="get_attr"):
        if node.target not in held:
            with graph.graph.inserting_after(last):
                last = held[node.target] = graph.graph.placeholder(f"data_{len(held)}")
        node.replace_all_uses_with(held[node.target])
        graph.graph.erase_node(node)
    data = [getattr(graph, name) for name in held]
    for name in held:
        delattr(graph, name)
    graph.graph.set_codegen(CodeGen())  # it takes single tensors, not a state
    graph.recompile()
    return data


def built(graph: GraphModule, inputs: Sequence[Tensor]) -> Callable[..., object]:
    """The code of a graph for tensors like its `inputs`, from torch's cache where it is there."""
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    from mtlsearch.training.population.compiler_pass import ComputedOnce

    # Without a shape environment, though no shape varies, torch does not look into its cache.
    mode = FakeTensorMode(shape_env=ShapeEnv())
    like = [mode.from_tensor(tensor, static_shapes=True) for tensor in inputs]
    with tracing(TracingContext(mode)):
        code: Any = compile_fx(graph, like, config_patches={"post_grad_custom_post_pass": ComputedOnce()})
    return code  # type: ignore[no-any-return]
