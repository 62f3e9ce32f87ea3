"""A search with the score `pareto`: the front, what is kept of it, pruning by rank, and the asks."""

import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
from commands import STUDY_FILE, done, refused, stored
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch import real
from mtlsearch.evidence.questions.fronts import covered, hypervolume
from mtlsearch.report.dashboard_figures import figures_of
from mtlsearch.report.reading import read_report
from mtlsearch.store.curves import CURVES, curve, epochs_reported
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.foresight import Foresight
from mtlsearch.study.front import ranks
from mtlsearch.tuning.pruners import FrontPruner
from mtlsearch.tuning.samplers.tpe import tpe_sampler

RUN = ("--score", "pareto", "--epochs", "3", "--threads", "1", "--no-confirm", "--quiet")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of two tasks for the front, of eight trials."""
    folder = tmp_path_factory.mktemp("pareto")
    (folder / "two.py").write_text(STUDY_FILE.replace('choice("fine", "broken")', 'choice("fine")'))
    done("run", folder / "two.py", *RUN, "--trials", "8", "--population", "4", "--storage", f"sqlite:///{folder}/s.db")
    return folder


def complete_of(folder: Path) -> list[FrozenTrial]:
    return [trial for trial in stored(folder / "s.db", "two") if trial.state is TrialState.COMPLETE]


def test_plain_optuna_reads_a_value_for_each_task(searched: Path) -> None:
    for trial in complete_of(searched):
        validation = trial.user_attrs["validation"]
        assert trial.values == [validation[task]["accuracy"] for task in ("a", "b")]
        assert trial.user_attrs["score"] == pytest.approx(np.mean(trial.values))
        assert {*trial.user_attrs[CURVES]} == {"a", "b"}
        assert epochs_reported(trial) == trial.user_attrs["epochs"]
    study = optuna.load_study(study_name="two", storage=f"sqlite:///{searched}/s.db")
    assert study.metric_names == ["a accuracy", "b accuracy"]
    assert len(study.best_trials) >= 1


def test_the_dashboard_draws_the_curves_that_optuna_does_not_know(searched: Path) -> None:
    with open_storage(f"sqlite:///{searched}/s.db", create=False) as storage:
        record = find_record(storage, "two", searched)
        assert "mtlsearch-learning-curves" in figures_of(read_report(record))


def test_best_shows_the_front_and_every_trial_of_it_can_be_exported(searched: Path, tmp_path: Path) -> None:
    store = ("--storage", f"sqlite:///{searched}/s.db")
    best = done("best", "two", *store, "--json").json
    trials = complete_of(searched)
    front = {t.number for t, rank in zip(trials, ranks([t.values for t in trials]), strict=True) if rank == 0}
    assert {row["trial"] for row in best["front"]["trials"]} == front
    assert best["trial"] in front
    assert f"front of {len(front)} trial" in done("best", "two", *store).out
    for number in front:
        place = tmp_path / f"{number}.safetensors"
        done("export", "two", *store, "--trial", number, "-o", tmp_path / "x.json", "--checkpoint", place)
        assert place.stat().st_size > 0


def test_the_same_command_goes_on_and_the_front_can_be_confirmed(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    store = ("--storage", f"sqlite:///{tmp_path}/s.db")
    done("run", tmp_path / "two.py", *RUN, "--trials", "10", *store)
    assert len(stored(tmp_path / "s.db", "two")) == 10
    options = ("--seeds", "2", "--top", "1", "--no-single", "--threads", "1", "--quiet", "--resplit", "0")
    assert done("confirm", tmp_path / "two.py", *options, *store, "--json").json["verdict"]["kind"]
    done("report", "two", *store, "-o", tmp_path / "r.html")
    assert "pareto" in (tmp_path / "r.html").read_text()


def test_pruners_and_repeats_of_one_score_are_refused(searched: Path, tmp_path: Path) -> None:
    store = ("--storage", f"sqlite:///{tmp_path}/s.db")
    study = searched / "two.py"
    assert "take peers or none" in refused("run", study, "--score", "pareto", "--pruner", "median", *store, status=2)
    line = refused("run", study, "--score", "pareto", "--searches", "2", *store, status=2)
    assert "--searches compares the scores of winners" in line
    assert not (tmp_path / "s.db").exists()


# The pruner.


def of_curves(curves: np.ndarray) -> optuna.Study:
    """A study whose trials are all in training, with these curves [N, epochs, T]."""
    study = optuna.create_study(directions=["maximize"] * curves.shape[2])
    for values in curves:
        trial = study.ask()
        trial.set_user_attr(CURVES, {str(task): values[:, task].tolist() for task in range(values.shape[1])})
    return study


def test_the_better_half_by_rank_and_then_the_loneliest_goes_on() -> None:
    angles = np.linspace(0, np.pi / 2, 6)
    front = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    values = np.concatenate([0.5 * front, front])
    study, pruner = of_curves(np.stack([values, values], axis=1)), FrontPruner(16)
    assert [trial.number for trial in study.trials if not pruner.prune(study, trial)] == list(range(6, 12))
    study, pruner = of_curves(np.stack([values[2:], values[2:]], axis=1)), FrontPruner(16)
    kept = [trial.number for trial in study.trials if not pruner.prune(study, trial)]
    assert len(kept) == 5
    assert {4, 9} <= {*kept}  # the ends of the front


def test_a_value_counts_as_the_best_up_to_the_epoch() -> None:
    curves = np.random.default_rng(0).random((8, 2, 2)) * 0.5
    curves[3, 0], curves[3, 1] = 1.0, 0.0  # the best after its first epoch, the worst after its second
    study, pruner = of_curves(curves), FrontPruner(16)
    assert not pruner.prune(study, study.trials[3])


@pytest.mark.parametrize(("epochs", "rungs"), [(1, set()), (3, {0, 1}), (9, {1, 3, 5}), (20, {1, 9, 14})])
def test_rungs_never_lie_at_the_last_epoch(epochs: int, rungs: set[int]) -> None:
    assert FrontPruner(epochs).rungs == rungs


def test_few_peers_and_other_epochs_prune_nothing() -> None:
    study, pruner = of_curves(np.random.default_rng(0).random((7, 2, 2))), FrontPruner(16)
    assert not any(pruner.prune(study, trial) for trial in study.trials)
    study, pruner = of_curves(np.random.default_rng(0).random((30, 3, 2))), FrontPruner(16)
    assert not any(pruner.prune(study, trial) for trial in study.trials)


# Foresight and asks.


def test_foresight_expects_each_value_by_itself() -> None:
    done_trial = create_trial(
        values=[0.9, 0.5], user_attrs={CURVES: {"a": [0.5, 0.6, 0.9], "b": [0.1, 0.4, 0.5]}, "score": 0.7}
    )
    training = create_trial(state=TrialState.RUNNING, user_attrs={CURVES: {"a": [0.3, 0.5], "b": [0.2, 0.1]}})
    foresight = Foresight()
    foresight.learn([done_trial])
    assert foresight.of(training).values == pytest.approx([0.5 + 0.3, 0.2 + 0.1])
    assert curve(training).shape == (2, 2)


def closed_form(x: np.ndarray) -> np.ndarray:
    """Two tasks whose front is (t, 1 − t²) for t in [0, 1]: the true volume over the origin is 2/3."""
    loss = 1 / (1 + 4 * ((x[1:] - 0.5) ** 2).sum())
    return np.array([x[0] * loss, (1 - x[0] ** 2) * loss])


def test_two_hundred_trials_cover_98_percent_of_a_known_front() -> None:
    study = optuna.create_study(directions=["maximize"] * 2, sampler=tpe_sampler(0))
    space = {f"x{i}": real(0.0, 1.0) for i in range(2)}
    for _ in range(200):
        trial = study.ask(space)
        study.tell(trial, closed_form(np.array([trial.params[name] for name in space])).tolist())
    found = hypervolume([trial.values for trial in study.trials], [0, 0])
    drawn = optuna.create_study(directions=["maximize"] * 2, sampler=RandomSampler(seed=0))
    for _ in range(200):
        trial = drawn.ask(space)
        drawn.tell(trial, closed_form(np.array([trial.params[name] for name in space])).tolist())
    at_random = hypervolume([trial.values for trial in drawn.trials], [0, 0])
    assert found / (2 / 3) >= 0.98
    assert found > at_random


def test_volume_is_that_of_boxes() -> None:
    assert hypervolume([[1, 2], [2, 1], [0.5, 0.5]], [0, 0]) == pytest.approx(3)
    assert covered([[0, 1], [1, 0], [0.5, 0.5]]) == pytest.approx([0, 0, 0.25])
