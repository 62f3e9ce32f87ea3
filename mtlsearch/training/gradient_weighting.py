"""The weighting methods that combine the tasks' gradients: TorchJD's aggregators, trained solo.

Each task's gradient is computed separately. Parameters that several tasks reach get TorchJD's aggregation of the T
gradients, as rows of one matrix; parameters of a single task (its head) get that task's gradient.

Legend: T tasks, P the number of shared scalars; G the Gramian [T, T] of the matrix.
"""

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlsearch.errors import UsageError
from mtlsearch.training.weighting import METHODS, Method, State

CAGRAD_RADIUS = 0.5  # the authors' best lay between 0.2 and 0.5
NORM_EPS = REG_EPS = 1e-4  # TorchJD's
GRADIENT_BASED: dict[str, str] = {
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "cagrad": "CAGrad",
    "nashmtl": "NashMTL",
    "imtlg": "IMTLG",
    "aligned-mtl": "AlignedMTL",
    "dualproj": "DualProj",
}
MORE = {"cagrad": "cagrad", "nashmtl": "nash-mtl"}  # methods whose solver is an extra of TorchJD
Aggregator = Callable[[Tensor], Tensor]


class GradientBased(Method):
    """The method of one member; its aggregator may keep a state from step to step."""

    def __init__(self, name: str, tasks: int) -> None:
        self.name, self.aggregate = name, aggregator(name, tasks)

    def backward(
        self, losses: Tensor, each: Sequence[Tensor], weights: Tensor, state: State, params: Sequence[Tensor]
    ) -> None:
        rows = [torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True) for loss in each]
        columns = list(zip(*rows, strict=True))
        shared = [i for i, column in enumerate(columns) if sum(g is not None for g in column) > 1]
        for param, column in zip(params, columns, strict=True):
            param.grad = next((g for g in column if g is not None), None)
        if shared:
            matrix = torch.stack([_flat(row, params, shared) for row in rows])
            combined = self._combined(matrix) if bool(matrix.isfinite().all()) else matrix.sum(0)
            sizes = [params[i].numel() for i in shared]
            for i, part in zip(shared, torch.split(combined, sizes), strict=True):
                params[i].grad = part.view_as(params[i])

    def _combined(self, matrix: Tensor) -> Tensor:
        with warnings.catch_warnings():
            # cvxpy's remark on NashMTL's formulation, which a user cannot change.
            warnings.filterwarnings("ignore", message=".*not DPP", category=UserWarning)
            return self.aggregate(matrix)


def _flat(row: Sequence[Tensor | None], params: Sequence[Tensor], shared: Sequence[int]) -> Tensor:
    """One task's gradient [P] of the shared parameters, 0 for a parameter that it does not reach."""
    parts = ((row[i], params[i]) for i in shared)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in parts])


def method_named(name: str, tasks: int) -> Method:
    """The weighting method `name`, for one member that trains solo."""
    return GradientBased(name, tasks) if name in GRADIENT_BASED else METHODS[name]


def aggregator(name: str, tasks: int) -> Aggregator:
    """TorchJD's aggregator [T, P] → [P] with its defaults. Raises UsageError where a package is missing."""
    if find_spec("torchjd") is None:
        raise UsageError(f"the method {name} needs TorchJD: pip install 'mtlsearch[jd]'")
    options: dict[str, dict[str, Any]] = {"nashmtl": {"n_tasks": tasks}, "cagrad": {"c": CAGRAD_RADIUS}}
    if name in ("upgrad", "dualproj"):
        options[name] = {"projector": dual_cone_projector()}
    try:
        made: Aggregator = getattr(import_module("torchjd.aggregation"), GRADIENT_BASED[name])(**options.get(name, {}))
    except ImportError:
        extra = MORE.get(name, "")
        raise UsageError(
            f"the method {name} needs a solver that is not installed: pip install 'torchjd[{extra}]'"
        ) from None
    return made


def dual_cone_projector() -> Any:
    """TorchJD's projection onto the dual cone, by scipy's `nnls`, which saves the dependency quadprog."""
    from torchjd.linalg import DualConeProjector

    class NnlsProjector(DualConeProjector):  # type: ignore[misc, unused-ignore]
        def __call__(self, U: Tensor, G: Tensor) -> Tensor:
            found = project(U.detach().cpu().double().numpy(), G.detach().cpu().double().numpy())
            return torch.as_tensor(found, dtype=G.dtype, device=G.device)

    return NnlsProjector()


def project(u: Any, gramian: Any) -> Any:
    """For each row u [..., T], the v ≥ u that minimises vᵀGv (Quinton & Rey 2024, prop. 1).

    With v = u + x, x ≥ 0 and G = RᵀR, this is non-negative least squares, |R x + R u|. G is scaled and regularised as
    in TorchJD.
    """
    # It is slow to import, and no other method needs it.
    from scipy.optimize import nnls  # type: ignore[import-untyped, unused-ignore]

    trace = np.trace(gramian)
    scaled = gramian / trace if trace >= NORM_EPS else np.zeros_like(gramian)
    root = np.linalg.cholesky(scaled + REG_EPS * np.eye(len(gramian))).T
    return np.apply_along_axis(lambda row: row + nnls(root, -root @ row)[0], -1, u)
