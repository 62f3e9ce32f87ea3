"""Sharing of a network between tasks: all of its layers, none, or the first k; and of one product between heads.

Legend: B examples, H features, C outputs of a task.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from mtlsearch.errors import StudyError
from mtlsearch.nn.batched.replacing import of_class, with_replaced
from mtlsearch.nn.layers import Linear, shared_linear
from mtlsearch.nn.task_modules import TaskModules, module_name

T = TypeVar("T")
Sharing = str | int


def shared_layers(sharing: Sharing, depth: int) -> int:
    """The number of shared layers of `depth`: "shared" means all, "separate" none, k the first k or all, if fewer."""
    if sharing == "shared":
        return depth
    if sharing == "separate":
        return 0
    if not isinstance(sharing, int) or isinstance(sharing, bool) or sharing < 0:
        raise StudyError(f"sharing must be shared, separate or a number of layers, but got {sharing!r}")
    return min(sharing, depth)


def through(trunk: nn.Module, inputs: Mapping[str, Tensor], prepare: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """{task: features} of {task: input}; each input passes once, and all as one batch for batch normalisation."""
    shared, place = distinct(inputs)
    features = trunk(torch.cat([prepare(x) for x in shared]))
    parts = features.split([len(x) for x in shared])
    return {task: parts[place[task]] for task in inputs}


def distinct(inputs: Mapping[str, T]) -> tuple[list[T], dict[str, int]]:
    """The different inputs in order, and the place of each task's input among them; joint tasks bring the same one."""
    # Compared by `is`: torch.compile does not know `id` before torch 2.12.
    once: list[T] = []
    place: dict[str, int] = {}
    for task, x in inputs.items():
        number = 0
        while number < len(once) and once[number] is not x:
            number += 1
        if number == len(once):
            once.append(x)
        place[task] = number
    return once, place


class LinearHeads(TaskModules):
    """A linear head [H → C] for each task: of {task: features [B, H]} it gives {task: outputs [B, C]}.

    Call it as a whole, `self.heads(features)`. Then a trainer may take the heads of many tasks as one product, where
    these tasks take the same features. Where each brings features of its own, say so by `apart`.
    """

    def __init__(self, features: int, sizes: Mapping[str, int], *, apart: bool = False) -> None:
        super().__init__({task: Linear(features, size) for task, size in sizes.items()})
        self.apart = apart

    def forward(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {task: self[task](x) for task, x in features.items()}


class JoinedOutputs(Mapping[str, Tensor]):
    """{task: outputs [..., C]}, of which those of many tasks lie side by side in one of the `products` [..., ΣC].

    `places` has the number of such a task's product, and its first and last column; `others` has the other outputs.
    """

    def __init__(
        self, products: Mapping[int, Tensor], places: Mapping[str, tuple[int, int, int]], others: Mapping[str, Tensor]
    ) -> None:
        self.products, self.places, self.others = products, places, others

    def __getitem__(self, task: str) -> Tensor:
        if task in self.others:
            return self.others[task]
        product, start, end = self.places[task]
        return self.products[product][..., start:end]

    def __iter__(self) -> Iterator[str]:
        yield from (task for task, (product, _, _) in self.places.items() if product in self.products)
        yield from self.others

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "JoinedOutputs":
        """The outputs with `change` applied to each tensor; it leaves the last dimension as it is."""
        products = {number: change(tensor) for number, tensor in self.products.items()}
        return JoinedOutputs(products, self.places, {task: change(tensor) for task, tensor in self.others.items()})


# So `vmap` gives them, as it does a dict.
_pytree.register_pytree_node(
    JoinedOutputs,
    lambda outputs: ([dict(outputs.products), dict(outputs.others)], outputs.places),
    lambda tensors, places: JoinedOutputs(tensors[0], places, tensors[1]),  # type: ignore[index]
)


def columns_of(outputs: Mapping[str, Tensor], tasks: Sequence[str]) -> Tensor:
    """The outputs of K tasks, each [..., C], as columns [..., K, C]."""
    if isinstance(outputs, JoinedOutputs) and tasks[0] in outputs.places and tasks[-1] in outputs.places:
        product, start, first_end = outputs.places[tasks[0]]
        last_product, _, end = outputs.places[tasks[-1]]
        size = first_end - start
        # Both follow from one list of tasks (`training.columns.study.joined`), so what lies between is in order too.
        if product == last_product and product in outputs.products and end - start == size * len(tasks):
            columns = outputs.products[product][..., start:end]
            return columns.reshape(*columns.shape[:-1], len(tasks), size)
    return torch.stack([outputs[task] for task in tasks], -2)


class JoinedHeads(nn.Module):
    """The heads of a `LinearHeads`, where each of the `groups` of tasks is one linear layer [H → ΣC].

    Its state has each task's own weight and bias, by the names that they had.
    """

    def __init__(self, heads: LinearHeads, groups: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.groups = tuple(tuple(group) for group in groups)
        self.features = _linear(heads[self.groups[0][0]]).in_features
        self.places: dict[str, tuple[int, int, int]] = {}
        for number, group in enumerate(self.groups):
            layers = [_linear(heads[task]) for task in group]
            bounds = pairwise(accumulate((layer.out_features for layer in layers), initial=0))
            self.places |= {task: (number, *ends) for task, ends in zip(group, bounds, strict=True)}
            for kind in ("weight", "bias"):
                joined = torch.cat([getattr(layer, kind).detach() for layer in layers])
                self.register_parameter(whole_name(kind, number), nn.Parameter(joined))
        self.others = tuple(task for task in heads if task not in self.places)
        for task in self.others:
            self.add_module(module_name(task), heads[task])

    def forward(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        products, others = dict[int, Tensor](), dict[str, Tensor]()
        for number, group in enumerate(self.groups):
            given = [features[task] for task in group if task in features]
            if len(given) == len(group) and all(x is given[0] for x in given):
                products[number] = shared_linear(given[0], *self._whole(number))
        whole = len(products) == len(self.groups)
        for task in self.others if whole else features:
            if task in features and (whole or task not in self.places or self.places[task][0] not in products):
                others[task] = self._own(task, features[task])
        return JoinedOutputs(products, self.places, others)

    def _whole(self, number: int) -> tuple[Tensor, Tensor]:
        """The weight [ΣC, H] and the bias [ΣC] of a group."""
        weight, bias = (getattr(self, whole_name(kind, number)) for kind in ("weight", "bias"))
        return weight, bias

    def _own(self, task: str, x: Tensor) -> Tensor:
        """One task's outputs."""
        if task not in self.places:
            found: Tensor = getattr(self, module_name(task))(x)
            return found
        number, start, end = self.places[task]
        weight, bias = self._whole(number)
        return shared_linear(x, weight[start:end], bias[start:end])

    def items(self) -> ItemsView[str, nn.Module]:
        """Each task's head without numbers: a layer of its shape on the device "meta", as `widened` reads it."""
        sizes = {task: end - start for task, (_, start, end) in self.places.items()}
        empty = {task: nn.Linear(self.features, size, device="meta") for task, size in sizes.items()}
        return {**empty, **{task: getattr(self, module_name(task)) for task in self.others}}.items()

    def rows(self) -> dict[str, tuple[str, int, int]]:
        """Where each task's own tensors lie: the name of the whole one, and the first and the last row."""
        return {
            f"{module_name(task)}.{kind}": (whole_name(kind, number), start, end)
            for task, (number, start, end) in self.places.items()
            for kind in ("weight", "bias")
        }

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, (whole, start, end) in self.rows().items():
            tensor = getattr(self, whole)
            destination[prefix + name] = (tensor if keep_vars else tensor.detach())[start:end]

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Tensor],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        *others: Any,
    ) -> None:
        with torch.no_grad():
            for name, (whole, start, end) in self.rows().items():
                if prefix + name in state_dict:
                    getattr(self, whole)[start:end].copy_(state_dict[prefix + name])
                elif strict:
                    missing_keys.append(prefix + name)


def whole_name(kind: str, number: int) -> str:
    """The name of a group's weight or bias; no task's module has it (`module_name`)."""
    return f"{kind}~{number}"


def with_joined_heads(model: nn.Module, groups: Sequence[Sequence[str]]) -> nn.Module:
    """`model` with the heads of each of the `groups` of tasks as one product, where its `LinearHeads` allow that."""

    def joined(heads: nn.Module) -> nn.Module:
        assert isinstance(heads, LinearHeads)
        whole = [group for group in groups if all(task in heads for task in group)]
        return JoinedHeads(heads, whole) if whole and not heads.apart else heads

    return with_replaced(model, of_class(LinearHeads, joined)) if groups else model


def own_places(model: nn.Module) -> dict[str, tuple[str, int, int]]:
    """Where the tensors of a model's state lie that are rows of a joined one: its name, the first and the last row."""
    return {
        f"{where}.{name}": (f"{where}.{whole}", start, end)
        for where, layer in model.named_modules()
        if isinstance(layer, JoinedHeads)
        for name, (whole, start, end) in layer.rows().items()
    }


def _linear(head: nn.Module) -> nn.Linear:
    assert isinstance(head, nn.Linear)
    return head
