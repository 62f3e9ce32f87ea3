"""Metrics of a whole split, from sums that add up over chunks or from all outputs at once.

Shapes: N examples, C classes or labels or targets. A counted metric is a pure function of tensors, so that a
population is scored under `vmap`; a whole metric takes all outputs of one member.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CountedMetric:
    """A number from sums: `count(outputs, labels)` gives sums that add up, `finish(sums)` the number."""

    name: str
    count: Callable[[Tensor, Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]
    higher_is_better: bool = True


@dataclass(frozen=True)
class WholeMetric:
    """A number from all outputs [N, ...] and labels [N, ...] of a split."""

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
    """The mean over classes of each class's F1 against the rest."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = (labels >= 0).unsqueeze(-1)
        ids = torch.arange(classes, device=labels.device)
        truth = (labels.unsqueeze(-1) == ids) & valid
        guess = (outputs.argmax(1).unsqueeze(-1) == ids) & valid
        return _f1_counts(guess, truth)

    return CountedMetric("macro_f1", count, _f1)


def multilabel_macro_f1() -> CountedMetric:
    """The mean over labels of each label's F1 at probability one half (output 0); labels [N, C] of NaN are missing."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        return _f1_counts((outputs > 0) & valid, labels > 0)

    return CountedMetric("macro_f1", count, _f1)


def multilabel_macro_auroc() -> WholeMetric:
    """The mean area under the ROC curve over the labels that have both outcomes; above 0 is a yes."""

    def compute(outputs: Tensor, labels: Tensor) -> Tensor:
        # Outputs of NaN have no order, so there is no area.
        broken = (outputs.isnan() & ~labels.isnan()).any()
        return torch.where(broken, torch.nan, aurocs(outputs, labels).nanmean())

    return WholeMetric("macro_auroc", compute)


def auroc(classes: int) -> WholeMetric:
    """The area under the ROC curve of the second of two classes; of more, the mean over each class against the rest."""
    return WholeMetric("auroc", _of_classes(aurocs, classes))


def average_precision(classes: int) -> WholeMetric:
    """The average precision of the second of two classes; of more, the mean over each class against the rest."""
    return WholeMetric("average_precision", _of_classes(average_precisions, classes))


def _of_classes(measure: Callable[[Tensor, Tensor], Tensor], classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A measure [C] of yes-or-no labels as one number of class labels [N], −1 where missing."""

    def compute(outputs: Tensor, labels: Tensor) -> Tensor:
        known = labels >= 0
        outputs, labels = outputs[known].double(), labels[known]
        ids = torch.arange(1 if classes == 2 else 0, classes, device=labels.device)
        found = measure(log_odds(outputs)[:, ids], (labels.unsqueeze(1) == ids).double())
        return torch.where(outputs.isnan().any(), torch.nan, found.nanmean())

    return compute


def log_odds(outputs: Tensor) -> Tensor:
    """The logarithm of each class's odds [N, C]: it has the order of its probability, and saturates nowhere."""
    if outputs.shape[1] == 2:  # exactly, so that ties stay ties
        return outputs - outputs.flip(1)
    total = outputs.logsumexp(1, keepdim=True)
    others = total + torch.log1p(-(outputs - total).exp())
    # The likeliest class may have all of the probability; the others then are summed without it.
    best = outputs.argmax(1, keepdim=True)
    of_best = outputs.scatter(1, best, -torch.inf).logsumexp(1, keepdim=True)
    return outputs - others.scatter(1, best, of_best)


def average_precisions(outputs: Tensor, labels: Tensor) -> Tensor:
    """The average precision of each label [C], by one sort; NaN where there is no yes.

    It is the mean over the yeses of the share of yeses among all outputs that are not below this one.
    """
    values, order = outputs.T.contiguous().sort(-1, descending=True)
    ordered = labels.T.gather(-1, order)
    yes, known = (ordered > 0).double(), (~ordered.isnan()).double()
    # Among equal outputs the last one's precision holds for all.
    last = F.pad(values[:, 1:] != values[:, :-1], (0, 1), value=True)
    precision = yes.cumsum(-1) / known.cumsum(-1).clamp(min=1)
    place = torch.arange(len(outputs), device=outputs.device)
    at = torch.where(last, place, len(outputs) - 1).flip(-1).cummin(-1).values.flip(-1)
    return (yes * precision.gather(-1, at)).sum(-1) / yes.sum(-1)


def aurocs(outputs: Tensor, labels: Tensor) -> Tensor:
    """The area under the ROC curve of each label [C], by one sort; NaN where an outcome is missing.

    It is the share of pairs of a yes and a no in which the yes has the larger output; a tie counts half.
    """
    # Outputs, not probabilities: the sigmoid of all large outputs is 1, which would tie them.
    values, order = outputs.T.contiguous().sort(-1)
    ordered = labels.T.gather(-1, order)
    yes, no = (ordered > 0).double(), (ordered == 0).double()
    noes = no.cumsum(-1)
    # Among equal outputs the first has the count of noes below them, the last that of noes not above them.
    apart = values[:, 1:] != values[:, :-1]
    below = torch.where(F.pad(apart, (1, 0), value=True), noes - no, 0).cummax(-1).values
    reached = torch.where(F.pad(apart, (0, 1), value=True), noes, torch.inf)
    not_above = reached.flip(-1).cummin(-1).values.flip(-1)
    return (yes * (below + not_above)).sum(-1) / 2 / (yes.sum(-1) * no.sum(-1))


def r2() -> CountedMetric:
    """The coefficient of determination 1 − Σ(y−ŷ)²/Σ(y−ȳ)², averaged over targets; labels of NaN are missing."""

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
    """The mean absolute error in the labels' unit: `scale` [C] undoes the standardisation."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        error = torch.where(valid, labels - outputs, 0).double().abs() * scale.to(labels.device)
        return torch.stack([error, valid.double()]).sum(1)

    return CountedMetric("mae", count, lambda s: (s[..., 0, :] / s[..., 1, :]).mean(-1), higher_is_better=False)


def relative_l2() -> CountedMetric:
    """The relative L2 error ‖ŷ − y‖/‖y‖ over all numbers of a split; labels of NaN are missing."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        y = torch.where(valid, labels, 0).double()
        error = torch.where(valid, outputs - labels, 0).double()
        return torch.stack([error.square().sum(), y.square().sum()])

    return CountedMetric("relative_l2", count, lambda s: (s[..., 0] / s[..., 1]).sqrt(), higher_is_better=False)


def _f1_counts(guess: Tensor, truth: Tensor) -> Tensor:
    rows = tuple(range(guess.ndim - 1))
    return torch.stack([(guess & truth).sum(rows), guess.sum(rows), truth.sum(rows)]).double()


def _f1(sums: Tensor) -> Tensor:
    both, guessed, true = sums.unbind(-2)
    # A class neither predicted nor present has no F1; scikit-learn's convention counts it as 0.
    return (2 * both / (guessed + true).clamp(min=1)).mean(-1)
