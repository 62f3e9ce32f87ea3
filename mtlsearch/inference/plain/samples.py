"""Random inputs of the kind that a trained model takes, on which two forms of it are compared."""

import torch
from torch import Tensor, nn

from mtlsearch.inference.trained import TrainedModel

ROWS = 5


def samples(model: TrainedModel, rows: int = ROWS) -> dict[str, Tensor]:
    """{task: inputs [rows, ...]}, the same ones for tasks whose inputs have one format; the same at every call.

    Tokens are drawn from as many ids as the largest embedding has that the model takes whole.
    """
    counts = {layer.num_embeddings for layer in model.modules() if isinstance(layer, nn.Embedding)}
    for ids in sorted(counts, reverse=True):
        given = _samples(model, rows, ids)
        try:
            with torch.no_grad():
                model.eval()(given)
        except (IndexError, RuntimeError):  # the embedding is one of positions, or of kinds
            continue
        return given
    return _samples(model, rows, ids=2)


def _samples(model: TrainedModel, rows: int, ids: int) -> dict[str, Tensor]:
    found: dict[object, Tensor] = {}
    given = {}
    for task, about in model.tasks.items():
        kind, dtype = model.input_kind(task), getattr(torch, about["input_dtype"])
        key = tuple(about["input_shape"]), dtype, kind
        if key not in found:
            most = ids if kind == "tokens" else 256 if dtype == torch.uint8 else 10
            found[key] = _drawn((rows, *about["input_shape"]), dtype, most)
        given[task] = found[key]
    return given


def _drawn(shape: tuple[int, ...], dtype: torch.dtype, most: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    numbers = torch.randint(0, most, shape, generator=generator).to(dtype)
    if numbers.ndim > 1 and shape[1] > 1:
        numbers[0, -1] = 0  # as a text that is shorter than others
    return numbers
