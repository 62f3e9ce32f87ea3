"""Metrics over a whole split: counted in sums that add up over chunks, or computed from all outputs at once.

Shapes: N examples, C classes or labels or targets. A counted metric is a pure function of tensors, so that a
population is scored under `vmap`; a whole metric sees every output of one member.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CountedMetric:
    """A number computed from sums: `count(outputs, labels)` gives sums that add up, `finish(sums)` the number."""

    name: str
    count: Callable[[Tensor, Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]
    higher_is_better: bool = True


@dataclass(frozen=True)
class WholeMetric:
    """A number that needs all outputs [N, ...] and labels [N, ...] of a split together."""

    name: str
    compute: Callable[[Tensor, Tensor], Tensor | float]
    higher_is_better: bool = True


Metric = CountedMetric | WholeMetric


def accuracy() -> CountedMetric:
    """The fraction of labelled examples whose largest output is the label's; labels of −1 are missing."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = labels >= 0
        right = (outputs.argmax(1) == labels) & valid
        return torch.stack([right.sum(), valid.sum()]).double()

    return CountedMetric("accuracy", count, lambda sums: sums[..., 0] / sums[..., 1])


def macro_f1(classes: int) -> CountedMetric:
    """F1 of each class by its one-vs-rest counts, averaged over the classes."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = (labels >= 0).unsqueeze(-1)
        ids = torch.arange(classes, device=labels.device)
        truth = (labels.unsqueeze(-1) == ids) & valid
        guess = (outputs.argmax(1).unsqueeze(-1) == ids) & valid
        return _f1_counts(guess, truth)

    return CountedMetric("macro_f1", count, _f1)


def multilabel_macro_f1() -> CountedMetric:
    """F1 of each label at probability one half (output 0), averaged over labels; labels [N, C] of NaN are missing."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        return _f1_counts((outputs > 0) & valid, labels > 0)

    return CountedMetric("macro_f1", count, _f1)


def multilabel_macro_auroc() -> WholeMetric:
    """Area under the ROC curve of each label, averaged over those that have both outcomes; above 0 is a yes."""

    def compute(outputs: Tensor, labels: Tensor) -> Tensor:
        # Outputs of NaN have no order, and then there is no area either.
        broken = (outputs.isnan() & ~labels.isnan()).any()
        return torch.where(broken, torch.nan, aurocs(outputs, labels).nanmean())

    return WholeMetric("macro_auroc", compute)


def aurocs(outputs: Tensor, labels: Tensor) -> Tensor:
    """The area under the ROC curve of each label [C], ties by half, NaN where an outcome is missing; in one sort.

    It is the share of pairs of a yes and a no in which the yes has the larger output.
    """
    # Outputs, not probabilities: the sigmoid of large outputs is 1 for all of them and would tie them.
    values, order = outputs.T.contiguous().sort(-1)
    ordered = labels.T.gather(-1, order)
    yes, no = (ordered > 0).double(), (ordered == 0).double()
    noes = no.cumsum(-1)
    # Of equal outputs the first knows how many noes are below all of them, and the last how many are not above.
    apart = values[:, 1:] != values[:, :-1]
    below = torch.where(F.pad(apart, (1, 0), value=True), noes - no, 0).cummax(-1).values
    reached = torch.where(F.pad(apart, (0, 1), value=True), noes, torch.inf)
    not_above = reached.flip(-1).cummin(-1).values.flip(-1)
    return (yes * (below + not_above)).sum(-1) / 2 / (yes.sum(-1) * no.sum(-1))


def r2() -> CountedMetric:
    """Coefficient of determination, 1 − Σ(y−ŷ)²/Σ(y−ȳ)², averaged over the targets; labels of NaN are missing."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        y = torch.where(valid, labels, 0).double()
        error = torch.where(valid, labels - outputs, 0).double()
        return torch.stack([valid.double(), y, y.square(), error.square()]).sum(1)

    def finish(sums: Tensor) -> Tensor:
        n, y, squares, errors = sums.unbind(-2)
        return (1 - errors / (squares - y.square() / n)).mean(-1)

    return CountedMetric("r2", count, finish)


def mae(scale: Tensor) -> CountedMetric:
    """Mean absolute error in the target's own units: `scale` [C] undoes the standardisation."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        error = torch.where(valid, labels - outputs, 0).double().abs() * scale.to(labels.device)
        return torch.stack([error, valid.double()]).sum(1)

    return CountedMetric(
        "mae", count, lambda s: (s[..., 0, :] / s[..., 1, :]).mean(-1), higher_is_better=False
    )


def _f1_counts(guess: Tensor, truth: Tensor) -> Tensor:
    rows = tuple(range(guess.ndim - 1))
    return torch.stack([(guess & truth).sum(rows), guess.sum(rows), truth.sum(rows)]).double()


def _f1(sums: Tensor) -> Tensor:
    both, guessed, true = sums.unbind(-2)
    # A class that is neither guessed nor there has no F1; counting it as 0 is scikit-learn's convention.
    return (2 * both / (guessed + true).clamp(min=1)).mean(-1)
