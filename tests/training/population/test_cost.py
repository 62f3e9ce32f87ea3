"""The plan of a study's first run: whether its trials train at once, by what that costs here."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from commands import STUDY_FILE, command
from population_asserts import joint_study

from mtlsearch import Study
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population import cost
from mtlsearch.training.population.cost import Bench, Checked, Layout, Plan, cheapest, planned
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SOLO_CONDITIONS, SoloTrainer
from mtlsearch.training.trainer import Training


def training(study: Study) -> Training:
    return Training(load_data(study, None))


def test_a_short_search_trains_one_at_a_time_and_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cost, "Bench")
    assert planned(training(joint_study()), trials=3) == Plan(1, compared=3)


def test_small_members_of_one_shape_train_at_once_and_the_gain_is_measured() -> None:
    plan = planned(training(replace(joint_study(), epochs=30)), trials=100)
    assert plan.population == 16
    assert plan.gain is not None
    assert plan.gain > cost.WORTH_IT
    assert plan.epoch is not None
    assert plan.epoch > 0
    assert plan.told() is None


def test_members_of_many_shapes_train_one_at_a_time() -> None:
    from mtlsearch import SharedTrunk, choice

    def build(config: Any) -> SharedTrunk:
        return SharedTrunk(12, {"kind": 3, "tags": 4, "price": 1}, hidden=512, depth=config["depth"])

    space = {"depth": choice(*range(1, 9))}
    study = replace(joint_study(), model=build, space=space, default={"depth": 1}, epochs=100, batch_size=64)
    plan = planned(training(study), trials=300)
    assert plan.population == 1
    assert plan.gain is not None
    assert plan.gain < cost.WORTH_IT
    assert "--population 16" in (plan.told() or "")


def layout(monkeypatch: pytest.MonkeyPatch, lane_seconds: float, saved: float) -> Layout:
    monkeypatch.setattr(cost, "has_compiler", lambda: True)
    monkeypatch.setattr(cost, "saved_seconds", lambda *about: saved)
    trainer = PopulationTrainer(training(joint_study()), 2, Eager())
    trainer.add(0, joint_study().default_config())
    return Layout(trainer.training.loaded, list(trainer.lanes), [lane_seconds], dispatch=0.0)


@pytest.mark.parametrize(
    ("steps", "lane_seconds", "saved", "population", "compiles"),
    [
        (1e3, 0.01, 0.005, 16, False),  # compiling would take longer than it saves
        (1e6, 0.01, 0.005, 16, True),
        (1e6, 0.03, 0.001, 1, None),  # the lane is slower, compiled too
        (1e6, 0.03, 0.02, 16, True),  # the lane is faster, but only compiled
        (1e3, 0.03, 0.02, 1, None),  # and here that does not pay
    ],
)
def test_the_cheapest_way_is_planned(
    monkeypatch: pytest.MonkeyPatch, steps: float, lane_seconds: float, saved: float, population: int, compiles: Any
) -> None:
    plan = cheapest(16, steps, [0.01, 0.01], layout(monkeypatch, lane_seconds, saved))
    assert (plan.population, plan.compiles) == (population, compiles)


@pytest.mark.parametrize("is_slow", [True, False])
def test_a_population_that_is_slow_is_given_up(is_slow: bool) -> None:
    study = joint_study()
    told: list[str] = []
    inner = PopulationTrainer(training(study), 2, Eager(), pytest.fail)
    trainer = Checked(inner, 1e-9 if is_slow else 1e9, told.append)
    for number in range(2):
        trainer.add(number, study.default_config())
    for _ in range(2):
        trainer.advance()
    assert bool(told) == is_slow
    for number in range(2):
        trainer.drop(number)
    assert trainer.room() == (1 if is_slow else 2)
    trainer.add(2, study.default_config())
    assert (trainer.conditions(2) == SOLO_CONDITIONS) == is_slow
    assert [result.number for result in trainer.advance()] == [2]
    assert trainer.state(2)


def test_a_run_records_its_plan_and_a_later_one_takes_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    options = ("--storage", "sqlite:///a.db", "--no-confirm", "--threads", "1", "--device", "cpu")
    first = command("run", "mine.py", "--trials", "2", *options)
    assert first.status == 0, first.err
    assert "one trial trains at a time" in first.err
    assert recorded("sqlite:///a.db")["plan"] == Plan(1, compared=2).recorded()
    monkeypatch.setattr("mtlsearch.tuning.run.planned", None)  # it would be called
    assert command("run", "mine.py", "--trials", "4", *options).status == 0
    info = recorded("sqlite:///a.db")
    assert info["population"] == 1


def test_threads_are_measured_at_the_first_run_and_taken_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(STUDY_FILE)

    def slow_together(step: Any) -> int:
        torch.set_num_threads(1)
        return 1

    monkeypatch.setattr("mtlsearch.training.device.CORES", 2)
    monkeypatch.setattr("mtlsearch.tuning.run.CORES", 2)
    monkeypatch.setattr("mtlsearch.tuning.run.fastest_threads", slow_together)
    options = ("--storage", "sqlite:///a.db", "--no-confirm", "--device", "cpu", "--population", "1")
    first = command("run", "mine.py", "--trials", "1", "--threads", "auto", *options)
    assert first.status == 0, first.err
    assert "CPU threads: 1 of 2, measured to be fastest now" in first.err
    monkeypatch.setattr("mtlsearch.tuning.run.fastest_threads", None)  # it would be called
    assert command("run", "mine.py", "--trials", "2", *options).status == 0
    assert recorded("sqlite:///a.db")["threads"] == 1
    import optuna

    trials = optuna.load_study(study_name="mine", storage="sqlite:///a.db").trials
    assert [trial.user_attrs["trained_on"]["threads"] for trial in trials] == [1, 1]


def recorded(storage: str) -> Any:
    import optuna

    (summary,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=summary, storage=storage).user_attrs["mtlsearch"]


def test_repeats_are_measured_once_and_solo_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    study = replace(joint_study(), epochs=10_000)
    training = Training(load_data(study, None), slots=5, mixes_seeds=True)
    configs = [study.default_config()] * 5
    maker = TrainerMaker(training.loaded, 16, 20, pytest.fail)
    for gain, trainer in ((0.9, SoloTrainer), (3.0, PopulationTrainer)):
        monkeypatch.setattr(Bench, "step", lambda self, config, examples=None, gain=gain: 0.001 * gain)
        monkeypatch.setattr(Layout, "plain", lambda self: 5 * 0.001)
        monkeypatch.setattr(Layout, "compiled", lambda self: 5 * 0.001)
        plan = maker.plan_of(training, configs)
        assert plan.gain == pytest.approx(gain)
        assert type(maker.again(training, plan)) is trainer
    assert maker.plan_of(training, configs[:1]).population == 1
    obeyed = TrainerMaker(training.loaded, 16, 20, pytest.fail, measures=False)
    monkeypatch.setattr(Bench, "step", None)  # it would be called
    assert type(obeyed.again(training, obeyed.plan_of(training, configs))) is PopulationTrainer
