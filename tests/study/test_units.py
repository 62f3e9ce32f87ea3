"""Units of losses: natural, given or measured; and a loss in another unit that changes nothing, to the bit."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sessions import session
from torch import Tensor

from mtlsearch import Classification, Config, CustomTask, Data, SharedTrunk, Study, choice, real
from mtlsearch.errors import StudyError
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import exported
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.units.task_units import told
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.samplers.tpe import tpe_sampler
from mtlsearch.tuning.session import MakeTrainer

NOWHERE = Path("nowhere")
MIXED = {"optimizer": "adam", "learning_rate": 0.02, "weight_decay": 0.01, "clip_norm": 0.5}


def source(directory: Path) -> Data:
    """96 examples of four numbers, a class and a value, of which some are missing."""
    x = torch.randn(96, 4, generator=torch.Generator().manual_seed(1))
    value = x[:, 1] * x[:, 2]
    labels = {"kind": (x[:, 0] > 0).long(), "value": torch.where(torch.arange(96) % 7 == 0, math.nan, value)}
    part = slice(None, 64), slice(64, 80), slice(80, None)
    train, validation, test = ((x[rows], {task: y[rows] for task, y in labels.items()}) for rows in part)
    return Data(train, validation=validation, test=test)


def value_task(scale: float, unit: float | None = None) -> CustomTask:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return scale * (outputs.squeeze(1) - labels).square()

    def error(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs.squeeze(1) - labels).square().mean()

    return CustomTask("value", source, 1, loss, error, "mse", higher_is_better=False, unit=unit)


def study_of(task: CustomTask) -> Study:
    space = {
        "learning_rate": real(1e-3, 1e-1, log=True),
        "optimizer": choice("sgd", "adam", "adamw", "rmsprop"),
        "clip_norm": real(0.1, 2.0),
        "weight_decay": real(1e-6, 1e-1, log=True),
    }
    return Study(
        tasks=[Classification("kind", source), task],
        model=lambda config: SharedTrunk(4, {"kind": 2, "value": 1}, hidden=8),
        space=space,
        default=MIXED,
        epochs=2,
        batch_size=16,
    )


def loaded(scale: float = 1.0, unit: float | None = None) -> LoadedStudy:
    return load_data(study_of(value_task(scale, unit)), NOWHERE)


def test_kinds_with_a_natural_unit_have_one_and_a_custom_loss_is_measured() -> None:
    units = loaded().units
    assert units["kind"] == 1.0
    assert 0.3 < units["value"] < 5  # the mean squared label, about 1
    assert units["value"] != 1


@pytest.mark.parametrize("power", [-20, 13, 20])
def test_a_measured_unit_is_homogeneous_to_the_bit(power: int) -> None:
    assert loaded(2.0**power).units["value"] == 2.0**power * loaded().units["value"]


def test_a_given_unit_is_taken_and_told() -> None:
    given = loaded(unit=250.0)
    assert given.units == {"kind": 1.0, "value": 250.0}
    assert told(given.units, given.study.tasks) == ["unit of value: 250, given"]
    measured = loaded(1e4)
    (line,) = told(measured.units, measured.study.tasks)
    assert line.startswith("unit of value: ")
    assert line.endswith(", measured")
    assert float(line.split()[3].strip(",")) == pytest.approx(measured.units["value"], rel=0.005)


def searched(folder: Path, scale: float, make: MakeTrainer, method: str) -> tuple[list[Any], dict[str, Any]]:
    """What a search asks and gets, and the best trial's export."""
    study = study_of(value_task(scale))
    study = load_data(replace(study, default={**study.default, "weighting": method}), NOWHERE)
    with open_storage(f"sqlite:///{folder}/{scale}.db", create=True) as storage:
        record = open_record(storage, "units", describe(study), 0, folder)
        record.study.sampler = tpe_sampler(0)
        enqueue_default(record, study.study)
        search(session(record, Training(study, 0), make), 14)
        trials = [(t.params, t.value, t.user_attrs["task_weights"], t.intermediate_values) for t in record.trials()]
        return trials, exported(record, record.best())


def together(training: Training) -> PopulationTrainer:
    return PopulationTrainer(training, 7, Eager())


@pytest.mark.parametrize("make", [SoloTrainer, together])
def test_a_loss_in_another_unit_gives_the_same_trials_to_the_bit(make: MakeTrainer, tmp_path: Path) -> None:
    """Every optimizer, clipping and weight decay, fp32; the sampler asks by the scores."""
    reference, config = searched(tmp_path, 1.0, make, "static")
    assert len({params["optimizer"] for params, *_ in reference}) == 4
    for power in (-20, 13):
        scaled, other = searched(tmp_path, 2.0**power, make, "static")
        assert scaled == reference
        assert other["raw_task_weights"]["kind"] == config["raw_task_weights"]["kind"]
        assert other["raw_task_weights"]["value"] == config["raw_task_weights"]["value"] / 2.0**power


def test_a_loss_times_a_million_is_nearly_the_same(tmp_path: Path) -> None:
    """A factor that is no power of two differs by rounding alone."""

    def scores(scale: float) -> list[float]:
        trainer = SoloTrainer(Training(loaded(scale), 0))
        trainer.add(0, Config(MIXED, {"kind": 0.5, "value": 0.5}))
        return [result.score for _ in range(2) for result in trainer.advance()]

    assert scores(1e6) == pytest.approx(scores(1.0), rel=1e-3)
    assert scores(1e-6) == pytest.approx(scores(1.0), rel=1e-3)


def test_units_are_kept_and_part_of_the_fingerprint_where_one_is_not_1() -> None:
    info = describe(loaded())
    assert info["fingerprint"]["units"] == info["units"]
    assert "units" not in describe(loaded(unit=1.0))["fingerprint"]


def test_a_study_without_units_trains_the_loss_as_it_is() -> None:
    """Units of 1 leave the step as it was: no division."""
    plain, ones = replace(loaded(unit=1.0), units={}), loaded(unit=1.0)
    results = []
    for each in (plain, ones):
        trainer = SoloTrainer(Training(each, 0))
        trainer.add(0, Config(MIXED, {"kind": 0.5, "value": 0.5}))
        results.append(trainer.advance()[0].validation)
    assert results[0] == results[1]


@pytest.mark.parametrize("unit", [0, -1.0, math.nan, math.inf])
def test_a_unit_that_is_no_unit_is_refused(unit: float) -> None:
    with pytest.raises(StudyError) as error:
        value_task(1.0, unit)
    assert str(error.value) == f"task 'value': unit must be a finite number above 0, but got {unit}"


def constant(outputs: Tensor, labels: Tensor) -> Tensor:
    return torch.ones(len(labels))


def infinite(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.squeeze(1) - labels).square() / 0.0


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (constant, "constant (1): nothing can be learned from it; correct the loss"),
        (infinite, "inf: correct the loss or its labels"),
    ],
)
def test_a_loss_without_a_unit_names_its_task(loss: Any, found: str) -> None:
    task = replace(value_task(1.0), loss_fn=loss)
    with pytest.raises(StudyError) as error:
        load_data(study_of(task), NOWHERE)
    rule = "the loss of task 'value' must be finite and change with the outputs, but at initialisation it is "
    assert str(error.value) == rule + found


def test_units_come_back_from_the_store_and_are_not_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(value_task(1.0))
    monkeypatch.setattr(LoadedStudy, "find_units", None)
    again = load_data(study, NOWHERE, units={"kind": 1.0, "value": 3.5})
    assert again.units == {"kind": 1.0, "value": 3.5}


def test_shares_of_the_trunks_gradient_show_a_task_that_drowns_the_others() -> None:
    from mtlsearch.training.gradient_shares import gradient_shares

    def shares(weights: Mapping[str, float]) -> dict[str, float]:
        training = Training(loaded(), 0)
        config = Config(MIXED, weights)
        model = training.loaded.study.build(config, 0)
        return gradient_shares(training, config, model.state_dict())

    even, drowned = shares({"kind": 0.5, "value": 0.5}), shares({"kind": 1e-4, "value": 1 - 1e-4})
    assert sum(even.values()) == pytest.approx(1)
    assert 0.05 < even["value"] < 0.95
    assert drowned["value"] > 0.99
