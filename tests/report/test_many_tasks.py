"""Up to 64 tasks in one study: the cost of a step, the search space, and tables that stay readable."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import done
from rich.console import Console
from rich.text import Text
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mtlsearch import Classification, Data, SharedTrunk, Study
from mtlsearch.report.terminal_table import _test_score, show_config, verdict_lines
from mtlsearch.study.loaded import load_data
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.trainer import Training
from mtlsearch.wording import MANY_TASKS, described

FEATURES, HIDDEN, CLASSES, BATCH, MEMBERS = 20, 16, 3, 8, 4
STUDY_OF_40 = """
import numpy as np
from mtlsearch import Classification, Data, SharedTrunk, Study, real

NAMES = [f"target_{i:02}" for i in range(40)]


def source(directory):
    x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    labels = {name: (x[:, i % 8] > i / 40).astype(np.int64) for i, name in enumerate(NAMES)}
    return Data((x, labels), (x, labels))


study = Study(
    tasks=[Classification(name, source) for name in NAMES],
    model=lambda config: SharedTrunk(8, dict.fromkeys(NAMES, 2), hidden=8),
    space={"learning_rate": real(1e-3, 1e-1, log=True)},
    default={"learning_rate": 1e-2},
    epochs=2,
)
"""


def study(tasks: int) -> Study:
    names = [f"task{number}" for number in range(tasks)]

    def source(directory: Path) -> Data:
        x = torch.rand(5 * BATCH, FEATURES, generator=torch.Generator().manual_seed(0))
        pair = x, {name: torch.arange(len(x)) % CLASSES for name in names}
        return Data(pair, pair, validation=pair)

    return Study(
        tasks=[Classification(name, source) for name in names],
        model=lambda config: SharedTrunk(FEATURES, dict.fromkeys(names, CLASSES), hidden=HIDDEN),
        space={},
        default={"learning_rate": 1e-2},
        batch_size=BATCH,
    )


class Counted(TorchDispatchMode):
    """Counts dispatched operators."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += 1
        return function(*args, **(kwargs or {}))


def step_cost(tasks: int) -> tuple[int, int]:
    """The operators, and the floating-point operations of matrix products, in one step of a population."""
    made = study(tasks)
    trainer = PopulationTrainer(Training(load_data(made, Path())), MEMBERS, Eager(), pytest.fail)
    for number in range(MEMBERS):
        trainer.add(number, made.default_config())
    (lane,) = trainer.lanes
    lane.begin_epoch(0)
    with FlopCounterMode(display=False) as flop:
        lane.run_step(lane, 0)
    with Counted() as operators:
        lane.run_step(lane, 1)
    return operators.count, flop.get_total_flops()


def test_a_further_task_adds_only_its_head_to_a_step() -> None:
    operators, flop = zip(*(step_cost(tasks) for tasks in (2, 16, 32, 64)), strict=True)
    head = 3 * 2 * BATCH * HIDDEN * CLASSES * MEMBERS  # forward, and the gradients of inputs and weights
    assert [after - flop[0] for after in flop[1:]] == [head * more for more in (14, 30, 62)]
    assert operators[1] == operators[2] == operators[3], "tasks in columns add no operator"


@pytest.mark.parametrize("tasks", [2, 64])
def test_t_tasks_have_t_minus_one_free_weights(tasks: int) -> None:
    made = replace(study(tasks), weights="each")
    names = [name for name in made.search_space.distributions if name.startswith("log_ratio:")]
    assert len(names) == tasks - 1
    weights = made.default_config().task_weights
    assert sum(weights.values()) == pytest.approx(1)


def test_forty_tasks_are_searched_confirmed_and_shown_on_a_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("many.py").write_text(STUDY_OF_40)
    ran = done("run", "many.py", "--trials", "2", "--seeds", "2", "--top", "1", "--threads", "1")
    assert "40 × accuracy" in ran.err
    assert max(map(len, ran.err.splitlines())) < 250
    told = done("best", "many").out
    assert len(told.splitlines()) < 45
    assert max(map(len, told.splitlines())) < 300
    assert f"… {40 - MANY_TASKS + 1} more tasks: `mtlsearch best --all`" in told
    every = done("best", "many", "--all").out
    assert all(f"{name}: accuracy" in every for name in (f"target_{i:02}" for i in range(40)))
    verdict = done("best", "many", "--json").json["verdict"]
    assert len(verdict["metrics"]) == 40


def test_verdict_of_many_tasks_shows_those_with_the_largest_and_smallest_weights() -> None:
    weights = {f"t{i}": i / 190 for i in range(20)}
    lines = ["sentence", "harm", f"weights: {weights}", *(f"{task}: 0.5" for task in weights), "Δm", "covers"]
    told = verdict_lines({"weights": weights, "metrics": weights, "lines": lines})
    assert told[:3] == [
        "sentence",
        "harm",
        "weights: t19 0.10, t18 0.095, t17 0.089, t16 0.084, t15 0.079, t14 0.074, …, t4 0.021, t3 0.016, t2 0.011,"
        " t1 0.0053, t0 0",
    ]
    assert told[3:5] == ["t19: 0.5", "t18: 0.5"]
    assert told[9] == "… 9 more tasks: `mtlsearch best --all`"
    assert told[-3:] == ["t0: 0.5", "Δm", "covers"]
    few = {"a": 0.5, "b": 0.5}
    assert verdict_lines({"weights": few, "lines": lines}) == lines


def test_metrics_of_many_tasks_are_described_by_their_range() -> None:
    values = {f"t{i}": {"accuracy" if i % 2 else "mae": i / 10} for i in range(20)}
    assert described(values) == "10 × mae 0.0000 (t0) to 1.8000 (t18), 10 × accuracy 0.1000 (t1) to 1.9000 (t19)"


def test_table_of_many_tasks_shows_every_one_on_request() -> None:
    weights = {f"t{i:02}": 1 / 20 for i in range(20)}
    config = {
        "study": {"name": "s"},
        "trial": 3,
        "score": {"kind": "mean", "value": 0.5},
        "task_weights": weights,
        "validation": {},
        "hyperparameters": {},
        "training": {"epochs_trained": 1, "best_epoch": 0},
    }
    for every, count in ((False, MANY_TASKS - 1), (True, 20)):
        with (console := Console(width=80, highlight=False)).capture() as told:
            show_config(config, console, every=every)
        assert sum(f"{task} " in told.get() for task in weights) == count


@pytest.mark.parametrize(
    ("kind", "score"), [("mean", "0.2000"), ("min", "-0.4000"), ("mine", None), ("a", "0.8000"), ("b", "-0.4000")]
)
def test_score_on_test_stands_beside_that_on_validation(kind: str, score: str | None) -> None:
    config = {
        "study": {"name": "s"},
        "trial": 3,
        "score": {"kind": kind, "value": 0.5},
        "task_weights": {"a": 0.5, "b": 0.5},
        "tasks": {"a": {"higher_is_better": True}, "b": {"higher_is_better": False}},
        "validation": {},
        "test": {"a": {"accuracy": 0.8}, "b": {"mae": 0.4}},
        "hyperparameters": {},
        "training": {"epochs_trained": 1, "best_epoch": 0},
    }
    with (console := Console(width=120, highlight=False)).capture() as told:
        show_config(config, console)
    test = "" if score is None else f", {score} on test"
    assert told.get().splitlines()[0] == f"s: trial 3, {kind} score 0.5000 on validation{test}"


def test_score_on_test_is_without_the_tasks_that_are_left_out() -> None:
    tasks = {"a": {"higher_is_better": True}, "b": {"higher_is_better": True}}
    test = {"a": {"auroc": 0.8}, "b": {"auroc": 0.4}}
    config = {"score": {"kind": "mean"}, "tasks": tasks, "test": test, "verdict": {"metrics": {"a": {}}}}
    assert _test_score(config) == ", 0.8000 on test"
    assert _test_score({**config, "verdict": {"metrics": {}}}) == ""


@pytest.mark.parametrize("width", [70, 100])
def test_studies_of_many_tasks_leave_room_for_every_column(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that it is written as to a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    told = done("studies").out
    assert all(f"{name} " in told for name in shipped_studies())
    assert all(column in told for column in ("study", "tasks", "needs", "description"))
    assert "more" in told
    assert all(len(Text.from_ansi(line)) <= width for line in told.splitlines())
