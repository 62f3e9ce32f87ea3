"""Scores by name, their margins, auxiliary tasks, and metrics that the best trial must reach."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import known_weights as known
import optuna
import pytest
from optuna.trial import TrialState
from sessions import session

from mtlsearch import Study
from mtlsearch.errors import StudyError, UsageError
from mtlsearch.evidence.answer import candidates
from mtlsearch.report.terminal_table import missed
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import exported
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import TrialProgress
from mtlsearch.study.score import Score, parsed_score, recorded_score
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.samplers.tpe import SharedTPESampler
from mtlsearch.tuning.studies import least_option, score_option

AB = ("a", "b")
NOWHERE = Path("nowhere")


def worst(values: Mapping[str, float]) -> float:
    return min(values.values())


@pytest.mark.parametrize(
    ("text", "name", "weights", "value"),
    [
        ("mean", "mean", {"a": 0.5, "b": 0.5}, 0.5),
        ("min", "min", {"a": 0.5, "b": 0.5}, 0.2),
        ("a", "a", {"a": 1.0}, 0.8),
        ("a=1", "a", {"a": 1.0}, 0.8),
        ("a=3,b=1", "a=3,b=1", {"a": 0.75, "b": 0.25}, 0.65),
        ("a=2, b=0", "a", {"a": 1.0}, 0.8),
        ("a,b", "a=1,b=1", {"a": 0.5, "b": 0.5}, 0.5),
    ],
)
def test_a_score_is_named_by_a_text(text: str, name: str, weights: dict[str, float], value: float) -> None:
    score = parsed_score(text, AB)
    assert (score.name, score.weights(AB)) == (name, weights)
    assert score.value({"a": 0.8, "b": 0.2}) == pytest.approx(value)


def test_a_tenth_of_the_errors_is_one_more_in_log_error() -> None:
    score = parsed_score("log_error", AB)
    assert score.value({"a": -0.1, "b": -0.001}) == pytest.approx(2.0)
    assert score.value({"a": -0.01, "b": -0.0001}) == pytest.approx(3.0)
    assert math.isfinite(score.value({"a": 0.0, "b": -1.0}))
    assert math.isnan(score.value({"a": 0.5, "b": -1.0}))
    assert score.of_tasks(["a"]).kind == "log_error"
    assert score.margin_at({"a": -0.1, "b": -5.0}, {"a": 0.001, "b": 0.05}) == pytest.approx(-math.log10(0.99))


def test_only_errors_have_a_log_error() -> None:
    Score("log_error").check_metrics({"a": False, "b": False})
    with pytest.raises(StudyError, match="needs metrics that are errors, but higher is better in that of 'b'"):
        Score("log_error").check_metrics({"a": False, "b": True})


def test_a_callable_keeps_its_name_and_a_lambda_is_called_score() -> None:
    assert Score(worst).name == "worst"
    assert Score(lambda values: 0.0).name == "score"
    assert Score(lambda values: 0.0, name="harmonic").name == "harmonic"


def test_a_score_has_the_margin_of_its_tasks() -> None:
    margins, values = {"a": 0.002, "b": 0.1}, {"a": 0.9, "b": -3.0}
    assert Score("a").margin_at(values, margins) == 0.002
    assert Score({"a": 3, "b": 1}).margin_at(values, margins) == pytest.approx(0.75 * 0.002 + 0.025)
    assert Score("min").margin_at(values, margins) == 0.002
    assert Score(worst).margin_at(values, margins) == pytest.approx(0.1)
    assert Score(worst, margin=0.5).margin_at(values, margins) == 0.5


@pytest.mark.parametrize("score", [Score("mean"), Score("log_error"), Score({"a": 2, "b": 1}), Score("a", margin=0.01)])
def test_a_score_comes_back_from_the_store(score: Score) -> None:
    again = recorded_score({"score": score.name, "scoring": score.describe()})
    assert again.describe() == score.describe()
    assert again.value({"a": -0.3, "b": -0.6}) == score.value({"a": -0.3, "b": -0.6})
    assert math.isnan(recorded_score({"score": "worst", "scoring": Score(worst).describe()}).value({}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("c", "score must name mean, min, log_error, pareto or tasks (clean, noisy), but got 'c'"),
        ({"c": 1}, "score must name tasks (clean, noisy), but got 'c'"),
        ({"clean": 0}, "the score must give a task a weight above 0, but all of them are 0"),
        ({"clean": -1}, "the weight of a task in the score must be 0 or more, but 'clean' has -1"),
        ({}, "the score must give a task a weight above 0, but all of them are 0"),
        (3, "score must be mean, min, log_error, pareto, a task, weights by task, or a callable, but got 3"),
    ],
)
def test_a_score_that_cannot_be_is_refused(given: Any, message: str) -> None:
    with pytest.raises(StudyError) as error:
        replace(known.study, score=given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c", "--score c: score must name mean, min, log_error, pareto or tasks (clean, noisy), but got 'c'"),
        ("clean=much", "--score clean=much: score must be TASK=WEIGHT with a number, but got 'clean=much'"),
        ("clean=0", "--score clean=0: the score must give a task a weight above 0, but all of them are 0"),
    ],
)
def test_a_score_option_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        score_option(text, known.study)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"c": 1}, "--at-least c=1: the study has no task 'c'; it has clean, noisy"),
        ({"clean": "x"}, "--at-least clean=x: it must be a number"),
        ({"clean": "inf"}, "--at-least clean=inf: it must be finite"),
    ],
)
def test_a_metric_to_reach_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        least_option(given, known.study)
    assert str(error.value) == message
    with pytest.raises(StudyError, match=r"^at_least must name tasks of the study \(clean, noisy\), but got 'c'$"):
        replace(known.study, at_least={"c": 1.0})


@pytest.mark.parametrize("reach", [1, 0.5, -3, math.nan, math.inf, True, "wide"])
def test_a_weight_range_of_1_or_less_is_refused(reach: Any) -> None:
    with pytest.raises(StudyError) as error:
        replace(known.study, weight_range=reach)
    assert str(error.value) == f"weight_range must be a finite number above 1, but got {reach!r}"


def test_tasks_that_do_not_count_are_auxiliary_unless_they_must_reach_something() -> None:
    study = replace(known.study, score="clean")
    assert (study.scored_tasks, study.auxiliary_tasks) == (["clean"], ["noisy"])
    assert list(study.search_space.distributions) == ["log_ratio:clean", "keep:noisy"]
    needed = replace(study, at_least={"noisy": 2.0})
    assert needed.auxiliary_tasks == []
    assert list(needed.search_space.distributions) == ["log_ratio:clean"]


def searched(folder: Path, study: Study, trials: int = 12) -> Any:
    loaded = load_data(study, NOWHERE)
    with open_storage(f"sqlite:///{folder}/store.db", create=True) as storage:
        record = open_record(storage, "study", describe(loaded), 0, folder)
        record.study.sampler = optuna.samplers.RandomSampler(seed=0)
        enqueue_default(record, study)
        search(session(record, Training(loaded, 0)), trials)
        yield record


def test_a_dropped_auxiliary_task_does_not_train_the_model(tmp_path: Path) -> None:
    """The map learns the clean task alone: its error is that of training alone."""
    (record,) = searched(tmp_path, replace(known.study, score="clean"))
    dropped = [t for t in record.trials() if not t.params["keep:noisy"]]
    assert 2 <= len(dropped) <= 10
    for trial in dropped:
        assert trial.user_attrs["task_weights"] == {"clean": 1.0, "noisy": 0.0}
        assert trial.value == pytest.approx(-(known.CLEAN**2), rel=0.05)


def test_a_loss_of_nan_of_a_dropped_task_harms_nothing() -> None:
    """0 · NaN is NaN, so the loss is selected and not multiplied; solo and in the population's losses."""

    def broken(outputs: Any, labels: Any) -> Any:
        return (outputs.squeeze(1) - labels).square() * math.nan

    clean, noisy = known.study.tasks
    study = load_data(replace(known.study, tasks=[clean, replace(noisy, loss_fn=broken)], score="clean"), NOWHERE)
    trainer = SoloTrainer(Training(study, 0))
    config = replace(study.study.default_config(), task_weights={"clean": 1.0, "noisy": 0.0})
    trainer.add(0, config)
    (result,) = trainer.advance()
    assert result.reason is None
    assert math.isfinite(result.score)


def test_a_trial_that_breaks_a_constraint_is_never_the_best(tmp_path: Path) -> None:
    """Clean weights give the least error of clean, which breaks what noisy must reach."""
    study = replace(known.study, score="clean")
    (free,) = searched(tmp_path / "free", study) if (tmp_path / "free").mkdir() is None else ()
    bound = sorted(t.user_attrs["validation"]["noisy"]["mse"] for t in free.trials())[3]
    (tmp_path / "held").mkdir()
    (record,) = searched(tmp_path / "held", replace(study, at_least={"noisy": bound}))
    reaching = [t for t in record.trials() if t.user_attrs["validation"]["noisy"]["mse"] <= bound]
    assert 0 < len(reaching) < len(record.trials())
    assert record.best().number == max(reaching, key=lambda t: t.value).number
    assert all(record.trial(number) in reaching for number in candidates(record, 3))
    assert all(t.constraints["noisy"] > 0 for t in record.trials() if t not in reaching)
    assert missed(exported(record, record.best())) == []


def test_where_no_trial_reaches_what_it_must_the_nearest_says_so(tmp_path: Path) -> None:
    (record,) = searched(tmp_path, replace(known.study, at_least={"noisy": 0.001}), trials=4)
    best = record.best()
    assert best.user_attrs["validation"]["noisy"]["mse"] == min(
        t.user_attrs["validation"]["noisy"]["mse"] for t in record.trials()
    )
    (line,) = missed(exported(record, best))
    assert line.startswith("noisy mse ")
    assert line.endswith(" misses at most 0.001: no trial of the search reaches it, this one comes nearest")


def test_an_epoch_that_breaks_a_constraint_is_not_the_best_epoch() -> None:
    progress = TrialProgress(number=0, entry_epoch=0, epochs=3, patience=None)
    epochs = [(0.9, 0.1), (0.5, -0.1), (0.4, -0.2)]
    for score, short in epochs:
        result, _ = progress.update(score, {"a": {"accuracy": score}}, {"a": short})
    assert (result.best_epoch, result.best_score, result.best_shortfalls) == (1, 0.5, {"a": -0.1})


def test_the_sampler_knows_trials_that_break_a_constraint() -> None:
    """With the same history it suggests what plain TPE suggests, and not what it would without constraints."""

    def told(sampler: optuna.samplers.BaseSampler, constrained: bool) -> list[float]:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for number in range(40):
            trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
            if constrained:
                trial.set_constraint("low", trial.params["x"] - 0.3)
            study.tell(trial, trial.params["x"], TrialState.COMPLETE)
            del number
        return [t.params["x"] for t in study.trials]

    ours = told(SharedTPESampler(seed=1), True)
    assert ours == pytest.approx(told(optuna.samplers.TPESampler(seed=1), True))
    assert sum(x <= 0.3 for x in ours[-15:]) > sum(x <= 0.3 for x in told(SharedTPESampler(seed=1), False)[-15:])
