"""How a step is compiled: `torch.compile`, told what it misses on a CPU, and its code without the search for it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from mtlsearch.lane_program import LaneProgram, LaneState

Call = Callable[[], None]


def compiled(program: LaneProgram) -> Callable[[LaneState], Call]:
    """The step of a program, compiled when first met: it takes one step of a state, and gives what takes the next.

    That one calls the compiler's code with the tensors of the first time, which a state keeps for as long as it
    lives. To check each time that they are still what they were takes a tenth of a step. Raises
    TorchDynamoException where torch cannot compile the step, before anything has moved.
    """
    from torch._inductor.compile_fx import compile_fx  # slow to import, and of use here alone

    settings = _settings(program.training.loaded.device)
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


def _settings(device: torch.device) -> dict[str, Any]:
    """The compiler's settings for a device."""
    if device.type != "cpu":
        return {}
    from mtlsearch.computed_once import ComputedOnce

    return {"post_grad_custom_post_pass": ComputedOnce()}
