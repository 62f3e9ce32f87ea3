"""A compiler pass for CPUs: a broadcast result is computed once, and not again at each place that it is broadcast to.

The compiler fuses cheap operators into the loop that uses them. For a result per unit or per example, such as a
standard deviation, that loop computes a root and a quotient again for every eight numbers of a layer; and it reads a
mask of booleans, such as live units, one by one. The two cost a tenth of a step (benchmarks/RESULTS.md).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.lowering import register_lowering
from torch.fx import Graph, Node

aten, prims = torch.ops.aten, torch.ops.prims
SLOW = (aten.div.Tensor, aten.reciprocal.default, aten.rsqrt.default, aten.sqrt.default)
VIEWS = (
    aten.expand.default,
    aten.reshape.default,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.view.default,
)
BROADCAST = 16  # times as many numbers: from here on, computing once is worth the memory


@torch.library.custom_op("mtlsearch::computed_once", mutates_args=())
def copied(x: Tensor) -> Tensor:
    """Mark a result that must lie in memory. Outside the compiler this is a copy."""
    return x.clone()


copied.register_fake(torch.empty_like)
computed_once = torch.ops.mtlsearch.computed_once.default


@register_lowering(computed_once, type_promotion_kind=None)
def _in_memory(x: "torch._inductor.ir.TensorBox") -> "torch._inductor.ir.TensorBox":
    x.realize()
    return x


class ComputedOnce(CustomGraphPass):
    """Keeps broadcast masks and slow broadcast results in memory."""

    def __call__(self, graph: Graph) -> None:
        masks: dict[Node, Node] = {}
        slow: set[Node] = set()
        for node in list(graph.nodes):
            if node.target is aten.where.self and _is_read_one_by_one(node.args[0], node):
                mask: Any = node.args[0]
                if mask not in masks:
                    masks[mask] = _as_numbers(graph, mask)
                node.update_arg(0, masks[mask])
            if node.target in SLOW or (_is_fused(node) and not slow.isdisjoint(node.all_input_nodes)):
                slow.add(node)
                if _is_broadcast(node):
                    _keep(graph, node)

    def uuid(self) -> bytes:
        return get_hash_for_files((__file__,))


def _as_numbers(graph: Graph, mask: Node) -> Node:
    """The same mask as numbers in memory, which are read eight at a time."""
    numbers = _after(graph, mask, prims.convert_element_type.default, torch.float32)
    return _after(graph, _after(graph, numbers, computed_once), aten.gt.Scalar, 0)


def _keep(graph: Graph, node: Node) -> None:
    users = list(node.users)
    kept = _after(graph, node, computed_once)
    for user in users:
        user.replace_input_with(node, kept)


def _after(graph: Graph, node: Node, target: Callable[..., Tensor], *arguments: Any) -> Node:
    """A new node that applies `target` to `node`."""
    with graph.inserting_after(node):
        new = graph.call_function(target, (node, *arguments))
    new.meta["val"] = target(node.meta["val"], *arguments)
    return new


def _is_read_one_by_one(mask: object, where: Node) -> bool:
    """Whether a mask is broadcast, with booleans that differ along the last dimension."""
    shape = _shape(mask)
    return bool(shape) and shape[-1] != 1 and _is_wider(_shape(where), shape)


def _is_fused(node: Node) -> bool:
    """Whether the compiler computes a node, and its inputs, inside the loop that uses it."""
    return node.target in VIEWS or torch.Tag.pointwise in getattr(node.target, "tags", ())


def _is_broadcast(node: Node) -> bool:
    """Whether a node's result is broadcast to many more numbers."""
    return any(_is_wider(_shape(user), _shape(node)) for user in node.users)


def _is_wider(shape: torch.Size, than: torch.Size) -> bool:
    return math.prod(shape) >= BROADCAST * math.prod(than)


def _shape(node: object) -> torch.Size:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value.shape if isinstance(value, Tensor) else torch.Size()
