"""A trained model whose outputs are in the labels' own units, as `load_model` gives it and `predict` uses it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.data.examples.kinds import InputKind, as_input, former_kind
from mtlsearch.errors import ModelError
from mtlsearch.tasks.kinds import kind_named
from mtlsearch.tasks.task import Description
from mtlsearch.wording import few


class TrainedModel(nn.Module):
    """A trained model: {task: input [B, ...]} to {task: output [B, ...]}, regressions in the label's own unit.

    Outputs of classes are logits, in the order of `tasks[task]["classes"]`. Real inputs are taken as they are; bytes
    and other whole numbers as the study took them, pictures divided by 255. `model` is the network itself, whose
    regressions are standardised and whose `state_dict` is that of the file; `config` is the exported config.

    Raises ModelError for inputs that are no dict of tensors by task.
    """

    def __init__(self, model: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.register_state_dict_post_hook(_drop_prefix)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_add_prefix)  # type: ignore[no-untyped-call]

    @property
    def tasks(self) -> Mapping[str, Description]:
        """The description of each task: its kind, classes, shapes, and the mean and std of a regression's labels."""
        tasks: Mapping[str, Description] = self.config["tasks"]
        return tasks

    def input_kind(self, task: str) -> InputKind:
        """What the inputs of a task are."""
        about = self.tasks[task]
        return about.get("input_kind") or former_kind(getattr(torch, about["input_dtype"]))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._check(inputs)
        outputs = self.model(self._taken(inputs))
        return {task: kind_named(self.tasks[task]["kind"]).in_unit(outputs[task], self.tasks[task]) for task in inputs}

    def _check(self, inputs: object) -> None:
        names = few(list(self.tasks))
        if not isinstance(inputs, Mapping):
            raise ModelError(
                f"the model takes a dict of inputs by task ({names}), but got a {type(inputs).__name__}: write"
                " model(dict.fromkeys(model.tasks, x)) where all tasks take the same x"
            )
        unknown = [str(task) for task in inputs if task not in self.tasks]
        if unknown or not inputs:
            got = few(unknown) if unknown else "none"
            raise ModelError(f"the model takes inputs by task ({names}), but got {got}: use those names as keys")
        wrong = next((task for task, x in inputs.items() if not isinstance(x, Tensor)), None)
        if wrong is not None:
            raise ModelError(
                f"the input of task {wrong!r} must be a tensor, but got a {type(inputs[wrong]).__name__}: write"
                " torch.as_tensor(x)"
            )

    def _taken(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs as the network takes them; one that several tasks share stays one, so that it passes once."""
        taken: dict[int, Tensor] = {}
        for task, x in inputs.items():
            if id(x) not in taken:
                kind = self.input_kind(task)
                real = x.is_floating_point()
                taken[id(x)] = x if real and kind != "tokens" else as_input(x, torch.get_default_dtype(), kind)
        return {task: taken[id(x)] for task, x in inputs.items()}


OWN = "model."  # the prefix of the network's tensors


def _drop_prefix(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Name the tensors as the network does, so that its parameters in a file fit."""
    for name in [name for name in state if name.startswith(prefix + OWN)]:
        state[prefix + name.removeprefix(prefix + OWN)] = state.pop(name)


def _add_prefix(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + OWN + name.removeprefix(prefix)] = state.pop(name)
