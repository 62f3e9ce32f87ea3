"""A trainer that goes on from a kept state trains as one that was never interrupted, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from population_asserts import config, disjoint_study
from problems import NOWHERE, compiles, joint
from torch import Tensor, nn

from mtlsearch import Config, Data, Study, integer
from mtlsearch.store.states import found_states, write_states
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.training.kept import Kept
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Eager, Fused, Steps, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training

OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
Make = Callable[[Training], Trainer]
Trained = tuple[list[EpochResult], dict[int, dict[str, Tensor]]]
OWNER = {"host": "here", "pid": 1}


def through_a_file(kept: Kept, folder: Path) -> Kept:
    write_states(folder, "study", [OWNER], kept.tensors, {"trainer": kept.facts})
    (file,) = found_states(folder, "study")
    return Kept(file.tensors(), file.facts["trainer"])


def trained(
    make: Make, study: Study, values: list[dict[str, Any]], method: str, folder: Path | None = None, at: int = 1
) -> Trained:
    """Results and best states of members, the last of whom enters at epoch `at`; there, a new trainer goes on."""
    training = Training(load_data(study, NOWHERE), seed=3, method=method)
    trainer = make(training)
    *first, last = enumerate(values) if len(values) > 1 else (*enumerate(values), None)
    for number, changes in first:
        trainer.add(number, config(study, **changes))
    results, states = [], {}
    for epoch in range(study.epochs + at):
        if epoch == at and folder is not None:
            kept = through_a_file(trainer.keep(), folder)
            trainer = make(Training(training.loaded, seed=3, method=method))
            trainer.restore(kept)
        if epoch == at and last is not None:
            trainer.add(last[0], config(study, **last[1]))
        for result in trainer.advance():
            results.append(result)
            if result.finished:
                states[result.number] = trainer.state(result.number)
                trainer.drop(result.number)
    return results, states


def assert_equal(got: Trained, due: Trained) -> None:
    assert got[0] == due[0]
    assert got[1].keys() == due[1].keys()
    for number, state in due[1].items():
        assert state.keys() == got[1][number].keys()
        assert all(torch.equal(state[name], got[1][number][name]) for name in state), number


def population(steps: Callable[[], Steps]) -> Make:
    return lambda training: PopulationTrainer(training, 6, steps(), compiles)


@pytest.mark.parametrize(
    ("optimizer", "method"), [*((each, "static") for each in OPTIMIZERS), ("adam", "dwa"), ("sgd", "uncertainty")]
)
def test_solo_member_goes_on_bit_for_bit(tmp_path: Path, optimizer: str, method: str) -> None:
    study = disjoint_study()
    values = [{"optimizer": optimizer, "norm": "batch", "dropout": 0.2, "momentum": 0.5, "schedule": "cosine"}]
    due = trained(SoloTrainer, study, values, method)
    assert_equal(trained(SoloTrainer, study, values, method, tmp_path, at=2), due)


MEMBERS: list[dict[str, Any]] = [
    {"hidden": 5, "norm": "batch", "optimizer": "rmsprop"},
    {"hidden": 20, "norm": "none", "optimizer": "sgd", "dropout": 0.3},
    {"hidden": 24, "depth": 2, "norm": "layer"},
    {"hidden": 7, "norm": "layer", "optimizer": "adamw"},
]


@pytest.mark.parametrize(("steps", "method"), [(Eager, "famo"), (Fused, "uncertainty")])
def test_lanes_go_on_bit_for_bit(tmp_path: Path, steps: Callable[[], Steps], method: str) -> None:
    study = disjoint_study()
    due = trained(population(steps), study, MEMBERS, method)
    assert_equal(trained(population(steps), study, MEMBERS, method, tmp_path), due)
    assert len(due[1]) == len(MEMBERS)


def test_members_that_moved_to_other_lanes_go_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtlsearch.training.population.layout.SMALL_FLOP", 0.0)
    monkeypatch.setattr("mtlsearch.training.population.layout.LANE_FLOP", 0.0)  # lanes of two slots
    monkeypatch.setattr("mtlsearch.training.population.layout.WIDTH_STEP", 8)
    monkeypatch.setattr("mtlsearch.training.population.lanes.NARROW_FLOP", 0.0)
    study = disjoint_study(space={"hidden": integer(4, 24)})
    values = [{"hidden": hidden, "norm": "batch"} for hidden in (5, 7, 8, 14, 24)]
    trainer = population(Eager)(Training(load_data(study, NOWHERE), seed=3))
    for number, changes in enumerate(values):
        trainer.add(number, config(study, **changes))
    trainer.advance()
    lanes = trainer.keep().facts["lanes"]
    assert len({lane["width"] for lane in lanes}) > 1
    assert any(member and member["moved"] for lane in lanes for member in lane["members"])
    assert any(lane["narrowed"] for lane in lanes)
    due = trained(population(Eager), study, values, "static")
    assert_equal(trained(population(Eager), study, values, "static", tmp_path), due)


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")
def test_compiled_lane_goes_on_bit_for_bit(tmp_path: Path) -> None:
    study = replace(disjoint_study(space={}), default={**disjoint_study().default, "norm": "none"}, epochs=2)
    made = Compiled(compiles)  # the lanes of both trainers have one shape, and share its code from torch's cache
    make: Make = lambda training: PopulationTrainer(training, 3, made, compiles)  # noqa: E731
    values: list[dict[str, Any]] = [{}, {"optimizer": "rmsprop"}, {"dropout": 0.2}]
    assert_equal(trained(make, study, values, "static", tmp_path), trained(make, study, values, "static"))


def on_disk(folder: Path) -> Study:
    """The joint study, whose training inputs are read from a file batch by batch."""
    study = joint()
    data = study.tasks[0].data(NOWHERE)
    np.save(folder / "inputs.npy", data.train.inputs.numpy())
    mapped = np.load(folder / "inputs.npy", mmap_mode="r")
    train, test = (mapped, dict(data.train.labels)), (data.test.inputs, dict(data.test.labels))
    made = Data(train, test, validation=data.validation)
    source = lambda directory: made  # noqa: E731
    return replace(study, tasks=[replace(task, data=source) for task in study.tasks])


@pytest.mark.parametrize("make", [SoloTrainer, population(Fused)], ids=["solo", "lanes"])
def test_members_on_data_from_disk_go_on_bit_for_bit(tmp_path: Path, make: Make) -> None:
    (tmp_path / "data").mkdir()
    study = on_disk(tmp_path / "data")
    values = [{"hidden": 5}] if make is SoloTrainer else [{"hidden": 5}, {"hidden": 12, "norm": "batch"}]
    assert_equal(trained(make, study, values, "static", tmp_path), trained(make, study, values, "static"))


class Counting(nn.Module):
    """A trunk with a buffer that no state dict holds, and a control flow that `vmap` cannot batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.training:
            self.get_buffer("seen").add_(1)
        scale = 0.5 if self.get_buffer("seen").item() > 30 else 1.0
        return {task: scale * y for task, y in self.inner(given).items()}


def test_member_beside_the_lanes_goes_on_bit_for_bit(tmp_path: Path) -> None:
    inner = disjoint_study()

    def model(config: Config) -> nn.Module:
        net = inner.build(config, 0)
        return Counting(net) if config["hidden"] == 8 else net

    study = replace(inner, model=model)
    make: Make = lambda training: PopulationTrainer(training, 6, Eager())  # noqa: E731
    values: list[dict[str, Any]] = [{"hidden": 8}, {"hidden": 9}, {"hidden": 10}]
    assert_equal(trained(make, study, values, "static", tmp_path), trained(make, study, values, "static"))
