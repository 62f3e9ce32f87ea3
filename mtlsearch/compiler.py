"""How a step is compiled, and called again: `torch.compile`, and on a CPU what it leaves undone there."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from mtlsearch.lane_program import LaneProgram, LaneState

Call = Callable[[], None]


def compiled(program: LaneProgram) -> Callable[[LaneState], Call]:
    """The step of a program, compiled when first met: it takes one step of a state, and gives what takes the next.

    Raises TorchDynamoException where torch cannot compile the step, before anything has moved.
    """
    if program.training.loaded.device.type == "cpu":
        return _compiled_for_cpu(program)
    step = torch.compile(program.step, dynamic=False, fullgraph=True)

    def first(state: LaneState) -> Call:
        step(state)
        return partial(step, state)

    return first


def _compiled_for_cpu(program: LaneProgram) -> Callable[[LaneState], Call]:
    """The same, with a pass of our own; its later steps are the compiler's code with the tensors of the first.

    A state keeps them for as long as it lives. To check at each step that they are still what they were takes a tenth
    of it; on CUDA, where a step is captured, nothing.
    """
    from torch._inductor.compile_fx import compile_fx  # slow to import, and of use here alone

    from mtlsearch.computed_once import ComputedOnce

    settings = {"post_grad_custom_post_pass": ComputedOnce()}
    called: list[Call] = []

    def build(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        code: Any = compile_fx(graph, inputs, config_patches=settings)

        def run(*tensors: torch.Tensor) -> object:
            called.append(partial(code, *tensors))
            return code(*tensors)

        return run

    step = torch.compile(program.step, backend=build, dynamic=False, fullgraph=True)

    def first(state: LaneState) -> Call:
        step(state)
        return called.pop()

    return first
