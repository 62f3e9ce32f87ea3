"""Tasks in columns give what they give one after the other: losses, metrics, parameters, alone and in a population."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from crowd import FEATURES, MANY, crowd, first, weighed
from population_asserts import alone, assert_as_alone, assert_population_equals_solo, double
from problems import compiles
from torch import nn

from mtlsearch import Config, LinearHeads, Regression, SharedTrunk, Study
from mtlsearch.study.loaded import load_data
from mtlsearch.training.batches import batch_parts, epoch_batches
from mtlsearch.training.columns.study import StudyInColumns, in_columns, separate_losses
from mtlsearch.training.device import Conditions
from mtlsearch.training.evaluation import evaluate
from mtlsearch.training.losses import task_losses
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Eager, Fused, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.retrain import train, verify

EXACT = 1e-8


def one_group(count: int = MANY, **changes) -> Study:
    """Tasks of one value each, on one source."""
    names = {f"value {i}": 1 for i in range(count)}
    study = Study(
        [Regression(name, first) for name in names],
        model=lambda config: SharedTrunk(FEATURES, names, hidden=4),
        space={},
        default={},
        epochs=2,
        batch_size=16,
    )
    return replace(study, **changes)


def assert_same_training(study: Study, config: Config) -> None:
    """Assert that the study in columns trains as its reference does: every metric of every epoch, every parameter."""
    training = double(study)
    assert isinstance(training.in_columns.loaded, StudyInColumns)
    results, state = alone(training, config)
    expected, due = alone(replace(training, columns=False), config)
    for one, other in zip(results, expected, strict=True):
        for task, values in other.validation.items():
            assert one.validation[task] == pytest.approx(values, abs=EXACT, nan_ok=True), task
    assert state.keys() == due.keys()
    for name, tensor in due.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=EXACT, msg=name)


def test_groups_are_the_tasks_of_one_source_kind_and_options() -> None:
    found = in_columns(load_data(crowd(), Path()))
    assert isinstance(found, StudyInColumns)
    groups = [{name.split()[0] for name in group.tasks} for group in found.groups]
    assert groups == [{"class"}, {"value"}, {"tag"}, {"other"}]
    assert [len(group.tasks) for group in found.groups] == [MANY] * 4
    assert found.alone == ("own", "three")
    assert in_columns(found) is found
    assert separate_losses(found.unfolded) == 4 + 2


def test_columns_train_as_the_tasks_one_after_the_other() -> None:
    study = crowd()
    assert_same_training(study, weighed(study, 0))


def test_auxiliary_tasks_of_weight_zero_reach_nothing_in_columns() -> None:
    study = crowd(score={"three": 1.0, "class 0": 1.0})
    assert_same_training(study, weighed(study, 1, drop=["class 3", "value 2", "other 7"]))
    training = double(study)
    member = SoloTrainer(training)
    member.add(0, weighed(study, 1, drop=["class 3"]))
    before = member.state(0)
    member.advance()
    after = member.state(0)
    assert torch.equal(before["heads.class%203.weight"], after["heads.class%203.weight"])
    assert not torch.equal(before["heads.class%204.weight"], after["heads.class%204.weight"])


def test_losses_in_columns_are_in_the_units_of_their_tasks() -> None:
    study = crowd()
    loaded = load_data(study, Path())
    loaded = replace(loaded, units={**loaded.units, "value 1": 7.0, "tag 2": 0.5, "own": 3.0})
    model = study.build(study.default_config(), 0).eval()
    rows = [rows[0] for rows in epoch_batches(loaded, 0, 0)]
    found = [
        task_losses(each, model, batch_parts(each, rows, {}), torch.float32) for each in (loaded, in_columns(loaded))
    ]
    torch.testing.assert_close(found[1], found[0])


@torch.no_grad()
def test_metrics_of_columns_are_those_of_each_task_to_the_bit() -> None:
    study = crowd()
    loaded = load_data(study, Path())

    def outputs(inputs):
        return {task: (3 * heads(inputs)[task]).round() for task in inputs}  # with many ties

    heads = study.build(study.default_config(), 0).eval()
    assert evaluate(in_columns(loaded), outputs, "test", torch.float32) == evaluate(
        loaded, outputs, "test", torch.float32
    )


@torch.no_grad()
@pytest.mark.parametrize("task", ["class 2", "tag 2", "value 2", "other 2"])
def test_one_broken_task_leaves_the_metrics_of_its_group_as_they_are(task: str) -> None:
    study = crowd()
    loaded = load_data(study, Path())
    model = study.build(study.default_config(), 0).eval()

    def outputs(inputs):
        return {name: y * torch.nan if name == task else y for name, y in model(inputs).items()}

    expected = evaluate(loaded, outputs, "validation", torch.float32)
    found = evaluate(in_columns(loaded), outputs, "validation", torch.float32)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, nan_ok=True, abs=1e-12), name


@pytest.mark.parametrize("steps", [Eager, Fused])
def test_members_in_columns_equal_solo(steps) -> None:
    study = crowd()
    members = [weighed(study, n, hidden=hidden) for n, hidden in enumerate((4, 12, 7))]
    assert_population_equals_solo(study, members, steps=steps())


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_a_compiled_step_in_columns_equals_solo() -> None:
    study = one_group(epochs=1)
    assert_population_equals_solo(study, [weighed(study, n) for n in range(2)], steps=Compiled(compiles))


@pytest.mark.parametrize("method", ["uncertainty", "famo"])
def test_methods_that_look_at_losses_train_in_columns(method: str) -> None:
    study = crowd()
    assert_population_equals_solo(study, [weighed(study, n) for n in range(2)], method=method)


def test_methods_that_combine_gradients_train_one_task_after_the_other() -> None:
    training = Training(load_data(crowd(), Path()), method="pcgrad")
    assert training.in_columns is training


def test_members_of_several_seeds_train_in_columns() -> None:
    training = double(crowd())
    trainer = PopulationTrainer(replace(training, mixes_seeds=True), 2, Eager())
    single = [PopulationTrainer(replace(training, seed=seed), 1, Eager()) for seed in (3, 4)]
    for number, seed in enumerate((3, 4)):
        trainer.add(number, training.loaded.study.default_config(), seed=seed)
        single[number].add(number, training.loaded.study.default_config(), seed=seed)
    together = {result.number: result.score for result in trainer.advance()}
    assert together == pytest.approx({n: each.advance()[0].score for n, each in enumerate(single)}, abs=EXACT)


def test_a_kept_population_in_columns_goes_on_as_it_was() -> None:
    study = crowd()
    training = double(study)
    trainer, again = (PopulationTrainer(training, 2, Eager()) for _ in range(2))
    members = [weighed(study, n, hidden=hidden) for n, hidden in enumerate((4, 12))]
    for number, member in enumerate(members):
        trainer.add(number, member)
    results = trainer.advance()
    again.restore(trainer.keep())
    results += again.advance()
    for number, member in enumerate(members):
        assert_as_alone(again, number, member, results)


def test_a_state_has_each_tasks_own_head_and_fits_the_studys_model() -> None:
    study = crowd()
    trainer = SoloTrainer(Training(load_data(study, Path())))
    trainer.add(0, study.default_config())
    trainer.advance()
    model = study.build(study.default_config(), 0)
    state = trainer.state(0)
    assert state.keys() == model.state_dict().keys()
    assert {name: t.shape for name, t in state.items()} == {n: t.shape for n, t in model.state_dict().items()}
    model.load_state_dict(state)


def test_a_model_of_ones_own_trains_in_columns() -> None:
    class Own(nn.Module):
        """Each task has features of its own; the trainer may still take its loss as a column."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(FEATURES, 5)
            self.heads = LinearHeads(5, dict.fromkeys(names, 1))

        def forward(self, inputs):
            return self.heads({task: self.body(x) * (1 + i) for i, (task, x) in enumerate(inputs.items())})

    names = [f"value {i}" for i in range(MANY)]
    tasks = [Regression(name, first) for name in names]
    study = Study(tasks, model=lambda config: Own(), space={}, default={}, epochs=2, batch_size=16)
    assert_same_training(study, weighed(study, 0))


def test_tasks_with_layers_of_their_own_train_in_columns() -> None:
    names = {f"value {i}": 1 for i in range(MANY)}
    study = one_group(model=lambda config: SharedTrunk(FEATURES, names, hidden=4, depth=2, sharing=1))
    assert_same_training(study, weighed(study, 0))


@dataclass(frozen=True)
class Cubed(Regression):
    """A kind of one's own, whose loss no column of its base class has."""

    def loss(self, outputs, labels):
        return super().loss(outputs, labels) ** 3


def test_verify_takes_the_path_that_a_config_was_trained_by() -> None:
    study = crowd(epochs=1)
    conditions = Conditions(torch.device("cpu"), torch.get_num_threads(), "fp32")
    training = Training(load_data(study, Path()), seed=5)
    for columns in (True, False):
        own = replace(training, columns=columns)
        config, _ = train(own, weighed(study, 0), conditions, lambda result: None, "crowd")
        assert config["training"].get("columns", False) == columns
        assert verify(training, config, conditions)["rule"] == "bitwise"
        assert verify(training, config, conditions)["agrees"]


def test_a_kind_that_inherits_columns_has_its_own_loss() -> None:
    loaded = load_data(one_group(tasks=[Cubed(f"value {i}", first) for i in range(MANY)]), Path())
    assert in_columns(loaded) is loaded


def test_few_tasks_train_as_they_always_did() -> None:
    training = Training(load_data(one_group(MANY - 1), Path()))
    assert training.in_columns is training
    assert SoloTrainer(training).kind == "solo"
    assert "columns" not in SoloTrainer(training).conditions(0)
