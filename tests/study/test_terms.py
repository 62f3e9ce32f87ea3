"""Terms and evaluations in a study: what is refused, units, names, and layers without a second derivative."""

from typing import Any

import numpy as np
import pytest
import torch
import waves
from problems import NOWHERE
from torch import nn

from mtlsearch import Evaluation, MtlsearchError, Term
from mtlsearch.study.loaded import load_data
from mtlsearch.study.units.second_derivatives import layer_without
from mtlsearch.tasks.metrics import relative_l2


def term(loss: Any, points: Any = waves.AT, **about: Any) -> dict[str, Any]:
    return {"terms": [Term("residual", points, loss, **about), Term("ends", waves.ENDS, waves.ends)]}


def relu(config):
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


U, V = (Evaluation(name, waves.DATA, "relative_l2") for name in "uv")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluations": []}, "a study needs something that is scored, but terms have no metric: add evaluations="),
        ({"terms": []}, "a study needs one task or more, but tasks is empty: give tasks, or terms=[Term("),
        ({"tasks": [Term("a", waves.AT, waves.ends)]}, "tasks must hold Tasks, but got a Term: name it in terms="),
        ({"folds": 2}, "leave folds out of a study with terms or evaluations"),
        ({"evaluations": [U, U]}, "each task needs a name of its own, but 'u' is there twice"),
        ({"score": "residual"}, "score must name mean, min, log_error, pareto or tasks (u), but got 'residual'"),
        (term(lambda model, x: x.sum()), "no parameter changes it: call the model in it, and detach nothing"),
        (term(lambda model, x: model(x).detach().sum()), "no parameter changes it"),
        (term(lambda model, x: model(x)), "must be one number for each point, (48,), or one of the batch, ()"),
        (term(lambda model, x: model(x)), "but got (48, 1): take .squeeze(1)"),
        (term(lambda model, x: 3.0), "but got float"),
        (term(lambda model, x: model(x).sum() * torch.inf), "must be finite and change with the model, but at"),
        (term(lambda model, x: model(x) + x[:, 3]), "the loss of term 'residual' fails: IndexError"),
        (term(lambda model, x: 0 * model(x).sum()), "no parameter changes it"),
        (term(waves.residual, lambda seed, epoch: 1 / 0), "cannot be drawn by points(seed=0, epoch=0): ZeroDivision"),
        (term(waves.residual, np.zeros((0, 1))), "the points of term 'residual' must be one or more"),
        (term(waves.residual, np.full((4, 1), np.nan)), "must be finite, but some are NaN or infinite"),
        (term(waves.residual, {"x": waves.AT, "y": waves.ENDS}), "must be as many under each name, but got x 48, y 2"),
        ({"model": relu}, "takes a second derivative by the inputs, which ReLU (layer '3') does not have: use nn.Tanh"),
        ({"model": lambda config: nn.Linear(1, 2)}, "output for task 'u' must have the shape (2, 1), but got (2, 2)"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_line(changes, said):
    with pytest.raises(MtlsearchError) as error:
        load_data(waves.waves(**changes), NOWHERE)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"data": {"test": waves.DATA["test"]}}, "(inputs, labels) by part, validation and test, but got test"),
        ({"data": 3}, "data must be a dict by part, or a source, but got a int"),
        ({"metric": "mae"}, "metric must be relative_l2 or a function, but got 'mae'"),
        ({"metric": lambda outputs, labels: 0.0}, "say of your own metric whether higher_is_better=True or False"),
        ({"higher_is_better": True}, "relative_l2 is an error, so higher_is_better must not be True"),
    ],
)  # fmt: skip
def test_an_evaluation_that_cannot_work_is_refused(about, said):
    with pytest.raises(MtlsearchError) as error:
        Evaluation(**{"name": "u", "data": waves.DATA, "metric": "relative_l2"} | about)
    assert said in str(error.value)


def test_an_evaluation_needs_labels_other_than_zero():
    zero = waves.AT, torch.zeros(48)
    with pytest.raises(MtlsearchError, match="relative_l2 needs a label other than 0, but all are 0"):
        load_data(
            waves.waves(evaluations=[Evaluation("u", {"validation": zero, "test": zero}, "relative_l2")]), NOWHERE
        )


def test_points_that_change_their_number_are_refused_in_the_epoch():
    def points(seed, epoch):
        return torch.rand(48 - epoch, 1)

    loaded = load_data(waves.waves(**term(waves.residual, points)), NOWHERE)
    with pytest.raises(MtlsearchError, match=r"one shape in every epoch, but got \(47, 1\) in epoch 1 after \(48, 1\)"):
        loaded.points[0].drawn(0, 1)


def test_units_are_measured_or_given():
    measured = load_data(waves.waves(), NOWHERE).units
    louder = load_data(waves.waves(**term(lambda model, x: 4 * waves.residual(model, x))), NOWHERE).units
    assert louder == {"residual": 4 * measured["residual"], "ends": measured["ends"]}
    assert load_data(waves.waves(**term(waves.residual, unit=2.0)), NOWHERE).units["residual"] == 2.0


def test_a_first_derivative_needs_no_smooth_layer():
    def slope(model, x):
        return torch.func.vmap(torch.func.grad(lambda p: model(p).squeeze()))(x).squeeze(1).square()

    assert load_data(waves.waves(**term(slope), model=relu), NOWHERE).units["residual"] > 0


def test_a_function_of_relu_is_found_as_a_layer_is():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(1, 8), nn.Linear(8, 1)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    assert layer_without(lambda model: float(waves.residual(model, waves.AT).mean()), Net()) == "ReLU"


def test_points_that_terms_share_are_drawn_once():
    loaded = load_data(
        waves.waves(terms=[Term("a", waves.AT, waves.ends), Term("b", waves.AT, waves.residual)]), NOWHERE
    )
    assert [source.tasks for source in loaded.points] == [("a", "b")]


def test_relative_l2_is_that_of_the_norms():
    outputs, labels = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    metric = relative_l2()
    found = metric.finish(metric.count(outputs[:20], labels[:20]) + metric.count(outputs[20:], labels[20:]))
    assert float(found) == pytest.approx(float((outputs - labels).norm() / labels.norm()))
