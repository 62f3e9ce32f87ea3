"""Why `vmap` cannot batch a module, in words of our own: which layer it is, and what to write instead."""

import re
from collections.abc import Iterator
from types import TracebackType

from torch import nn

from mtlsearch.errors import one_line

# Of torch's message: what the layer does, and what to write instead. The first that fits counts.
RULES = (
    (
        "randomness error mode",
        "draws noise that is no function of seed and step",
        "draw it by nn.Dropout, F.dropout or mtlsearch.Dropout",
    ),
    (
        r"\.item\(\)|[Cc]annot access data pointer|data-dependent",
        "reads a value out of a tensor, as .item(), .tolist() and `if` do",
        "use torch.where",
    ),
    ("dynamic shape", "makes a tensor whose size depends on data", "use torch.where instead of indexing by a mask"),
    (
        r"doesn't match the broadcast shape|`self` not being vmapped|not possible because there exists",
        "changes a tensor in place that all trials share",
        "write x = x + y instead of x += y",
    ),
    ("Sparse", "has sparse gradients", "leave out sparse=True"),
    (
        r"(?:batching rule for|do not yet support) (aten::\w+)",
        "calls {}, which torch cannot batch",
        "write it in products, sums and element-wise functions",
    ),
)
# Layers that stay as they are because of an option.
OPTIONS: dict[type[nn.Module | None], str] = {
    nn.LSTM: "leave out proj_size",
    nn.EmbeddingBag: "leave out max_norm, sparse and scale_grad_by_freq",
}


def told(module: nn.Module, error: Exception) -> str:
    """The layer at fault and what it does, then what to write instead."""
    path = culprit(module, error)
    layer = None if path is None else module.get_submodule(path)
    if layer is None:
        name = "the loss of a task, or a gradient,"
    else:
        name = f"its layer {path} ({type(layer).__name__})" if path else "its own forward"
    text = one_line(error)
    for pattern, does, instead in RULES:
        if found := re.search(pattern, text):
            return f"{name} {does.format(*found.groups())}; {OPTIONS.get(type(layer), instead)}"
    return f"{name} fails when trials are batched: {text[:200]}"


def culprit(module: nn.Module, error: Exception) -> str | None:
    """The path of the innermost layer of `module` that was running when the error arose.

    It is "" for the module itself, None where the module was not running.
    """
    paths = {id(layer): path for path, layer in module.named_modules()}
    running = [paths[id(each)] for each in _callers(error.__traceback__) if id(each) in paths]
    return running[-1] if running else None


def _callers(trace: TracebackType | None) -> Iterator[object]:
    """The `self` of each frame from the outermost to the innermost."""
    while trace is not None:
        yield trace.tb_frame.f_locals.get("self")
        trace = trace.tb_next


def named_twice(module: nn.Module) -> str | None:
    """A line on a layer with tensors that has two names, None where there is none."""
    seen: dict[int, str] = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        if layer._parameters or layer._buffers:
            other = seen.setdefault(id(layer), path)
            if other != path:
                kind = type(layer).__name__
                return f"its layer {other} ({kind}) is {path} too; give it one name, and call it twice by that"
    return None
