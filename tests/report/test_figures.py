"""The figures of a report: which a study has, their data, and that names are never markup."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from report_stores import states, store

from mtlsearch.report import figure_style as drawing
from mtlsearch.report import figures_standard
from mtlsearch.report.figure_style import DARK, NEUTRAL, Plot, clipped, label, recoloured, thinned, window
from mtlsearch.report.figures import plots
from mtlsearch.report.figures_confirmed import confirmation
from mtlsearch.report.figures_standard import dimensions
from mtlsearch.report.reading import Report, metric_of, read_report
from mtlsearch.study.space import real

TWO = {"mnist": "accuracy", "fashion": "accuracy"}
SEARCH = ["learning-curves", "best-so-far", "hyperparameters"]


def made(folder: Path, tasks: Mapping[str, str], trials: int = 12, **more: Any) -> Report:
    with store(folder, tasks, more.pop("found", states(trials)), **more) as record:
        return read_report(record)


def by_name(report: Report) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots(report)}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two tasks, confirmed with three seeds and compared with other methods."""
    return made(tmp_path_factory.mktemp("two"), TWO, 30, seeds=3, compared=True)


@pytest.mark.parametrize(
    ("tasks", "more", "names"),
    [
        (1, {}, SEARCH),
        (2, {}, ["trade-off", *SEARCH]),
        (3, {}, ["trade-off", *SEARCH]),
        (5, {}, ["trade-off", "task-metrics", *SEARCH]),
        (15, {}, ["trade-off", "task-metrics", "all-metrics", *SEARCH]),
        (2, {"seeds": 2}, ["trade-off", "confirmation", *SEARCH]),
        (9, {"seeds": 3}, ["trade-off", "task-metrics", "confirmation", "profile", *SEARCH]),
        (2, {"compared": True}, ["trade-off", "methods", *SEARCH]),
        (2, {"found": [TrialState.PRUNED]}, ["learning-curves"]),
        (2, {"found": [TrialState.COMPLETE]}, ["trade-off", "learning-curves", "best-so-far"]),
        (2, {"found": [TrialState.FAIL]}, []),
        (2, {"found": []}, []),
    ],
)
def test_a_study_has_the_figures_that_it_has_numbers_for(
    tmp_path: Path, tasks: int, more: dict[str, Any], names: list[str]
) -> None:
    report = made(tmp_path, {f"task {i}": "accuracy" for i in range(tasks)}, **more)
    assert [plot.name for plot in plots(report)] == names


def test_trade_off_has_every_complete_trial_and_every_fresh_seed(two: Report) -> None:
    traces = by_name(two)["trade-off"].figure.data
    points = [trace for trace in traces if trace.name == "trial of the search"]
    assert [len(trace.x) for trace in points] == [len(two.complete)] * 2
    assert list(points[0].x) == pytest.approx([t.user_attrs["task_weights"]["mnist"] for t in two.complete], rel=1e-4)
    for name, trainings in (("tuned", two.trainings.tuned), ("equal", two.trainings.equal)):
        seeds = [trace for trace in traces if trace.legendgroup == name and not trace.name]
        assert len(trainings) == 3
        for trace, measured in zip(seeds, TWO, strict=True):
            values = [100 * metric_of(t, measured, "accuracy") for t in trainings]
            assert list(trace.y) == pytest.approx(values, rel=1e-4)


def test_every_interval_of_the_trade_off_is_within_its_axis(two: Report) -> None:
    figure = by_name(two)["trade-off"].figure
    for trace in figure.data:
        if trace.error_y.array is not None:
            low, high = figure.layout["yaxis" if trace.yaxis in (None, "y") else "yaxis2"].range
            assert low <= trace.y[0] - trace.error_y.array[0]
            assert trace.y[0] + trace.error_y.array[0] <= high


def test_confirmation_draws_the_intervals_of_the_verdict(two: Report) -> None:
    assert two.verdict is not None
    [plot] = confirmation(two)
    bars = [trace for trace in plot.figure.data if trace.error_x.array is not None]
    found = sorted(trace.x[0] + trace.error_x.array[0] for trace in bars)
    ends = [two.verdict[key][t]["high"] for key in ("metrics", "equal_metrics", "single_metrics") for t in TWO]
    assert found == pytest.approx(sorted(100 * end for end in ends), abs=2e-3)


def test_ternary_weights_sum_to_one_and_the_best_trial_is_drawn_last(tmp_path: Path) -> None:
    report = made(tmp_path, {"a": "accuracy", "b": "accuracy", "c": "accuracy"})
    points = by_name(report)["trade-off"].figure.data[0]
    sums = [sum(weights) for weights in zip(points.a, points.b, points.c, strict=True)]
    assert sums == pytest.approx([1.0] * len(report.complete), abs=1e-3)
    assert points.marker.color[-1] == max(points.marker.color)


def test_many_tasks_are_shown_by_their_largest_and_smallest_weights_and_all_are_folded(
    tmp_path: Path,
) -> None:
    report = made(tmp_path, {f"task {i:02}": "accuracy" for i in range(15)})
    found = by_name(report)
    assert report.best is not None
    ranked = sorted(report.best.user_attrs["task_weights"].items(), key=lambda item: -item[1])
    shown = found["trade-off"].figure.layout.xaxis.ticktext
    assert list(shown) == [task for task, _ in [*ranked[:6], *ranked[-5:]]]
    assert found["all-metrics"].folded
    assert len(found["all-metrics"].figure.layout.xaxis.ticktext) == 15


def test_metrics_of_unlike_tasks_are_drawn_from_the_worst_to_the_best_trial(tmp_path: Path) -> None:
    report = made(tmp_path, {"a": "accuracy", "b": "mae", "c": "mse", "d": "r2"})
    drawn = [v for t in by_name(report)["task-metrics"].figure.data[:4] for v in t.y if v is not None]
    assert min(drawn) == 0
    assert max(drawn) == 1
    worst = max(report.complete, key=lambda trial: metric_of(trial, "b", "mae"))
    for trace in by_name(report)["task-metrics"].figure.data[:4]:
        told = dict(zip(trace.customdata, trace.y, strict=True))
        assert told.get(f"trial {worst.number}, b", 0) == 0


def test_best_so_far_only_rises_and_reaches_its_end_at_the_best_trial(two: Report) -> None:
    points, line = by_name(two)["best-so-far"].figure.data
    assert list(points.x) == list(line.x) == [trial.number for trial in two.complete]
    assert list(line.y) == sorted(line.y)
    assert two.best is not None
    assert two.best.value is not None
    assert line.y[-1] == pytest.approx(100 * two.best.value, rel=1e-4)
    assert line.x[list(line.y).index(line.y[-1])] == two.best.number


def test_slices_are_of_the_trials_own_values_and_the_star_is_the_best(two: Report) -> None:
    panels = dict(zip(dimensions(two), by_name(two)["hyperparameters"].panels, strict=True))
    points, star = panels["weight:mnist"].data
    weights = [trial.user_attrs["task_weights"]["mnist"] for trial in two.complete]
    assert list(points.x) == pytest.approx(weights, rel=1e-4)
    assert two.best is not None
    assert list(star.x) == pytest.approx([two.best.user_attrs["task_weights"]["mnist"]], rel=1e-4)
    assert star.hovertext[0].startswith(f"trial {two.best.number}: ")
    chosen = {f"trial {trial.number}": trial.params["norm"] for trial in two.complete}
    norms = panels["norm"].data[0]
    drawn = {told.split(":")[0]: round(x) for told, x in zip(norms.hovertext, norms.x, strict=True)}
    assert drawn == {trial: ("none", "batch", "layer").index(norm) for trial, norm in chosen.items()}


def test_very_many_trials_are_thinned_and_keep_the_best(two: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_standard, "MOST_TRIALS", 4)
    found = by_name(two)
    assert two.best is not None
    assert two.best.number in found["best-so-far"].figure.data[0].x
    for name in ("best-so-far", "hyperparameters"):
        assert f"Of {len(two.complete)} trials, 5 are drawn." in found[name].caption


def test_learning_curves_separate_trials_and_name_the_best(two: Report) -> None:
    traces = {trace.name: trace for trace in by_name(two)["learning-curves"].figure.data}
    assert two.best is not None
    best = traces[f"best: trial {two.best.number}"]
    steps = two.best.intermediate_values
    assert [y for y in best.y if y is not None] == pytest.approx([100 * v for v in steps.values()], rel=1e-4)
    pruned = two.of(TrialState.PRUNED)
    trace = traces[f"pruned ({len(pruned)})"]
    assert list(trace.y).count(None) == len(pruned)
    assert max(y for y in best.x if y is not None) == len(steps)


def test_axis_is_logarithmic_where_the_dimension_is(two: Report) -> None:
    panels = dict(zip(dimensions(two), by_name(two)["hyperparameters"].panels, strict=True))
    logarithmic = {name for name, panel in panels.items() if panel.layout.xaxis.type == "log"}
    assert logarithmic == {"hidden", "learning_rate"}
    assert list(panels["norm"].layout.xaxis.ticktext) == ["none", "batch", "layer"]
    assert list(panels) == ["hidden", "dropout", "learning_rate", "norm", "weight:mnist"]


def test_many_hyperparameters_are_folded_in_part(tmp_path: Path) -> None:
    names = [f"h{i}" for i in range(15)]
    report = made(tmp_path, {"only": "accuracy"}, hyperparameters={name: real(0.0, 1.0) for name in names})
    found = by_name(report)
    assert [len(found[n].panels) for n in ("hyperparameters", "more-hyperparameters")] == [12, 3]
    assert [found[n].folded for n in ("hyperparameters", "more-hyperparameters")] == [False, True]


def test_a_trial_beyond_the_range_is_drawn_at_its_edge_as_a_triangle() -> None:
    values = [0.97, 0.96, 0.965, 0.1]
    limits = window(values)
    assert limits[0] > 0.9
    shown, symbols = clipped(values, limits)
    assert symbols == ["circle", "circle", "circle", "triangle-down"]
    assert all(v is not None and limits[0] < v < limits[1] for v in shown)


def test_range_shows_the_kept_values_and_the_better_end_of_either_direction() -> None:
    assert window([0.9, 0.91, 0.92], kept=[0.2])[0] < 0.2
    low, high = window([2.0, 2.1, 2.2, 50.0], lower_is_better=True)
    assert low < 2.0
    assert high < 10
    assert window([], []) == (0.0, 1.0)
    assert window([math.nan, 0.5])[0] < 0.5 < window([math.nan, 0.5])[1]


def test_thinning_keeps_few_items_and_takes_many_evenly() -> None:
    assert thinned([1, 2, 3], 5) == [1, 2, 3]
    assert thinned(range(100), 4) == [0, 25, 50, 75]


def test_text_of_a_user_is_no_markup_in_a_figure() -> None:
    assert label('<a href="x">&') == '&lt;a href="x"&gt;&amp;'
    assert label("x" * 100) == "x" * (drawing.LONGEST_LABEL - 1) + "…"
    assert label("two\nlines") == "two lines"


def test_hostile_names_are_escaped_in_every_figure(tmp_path: Path) -> None:
    hostile = {"<b>a</b>": "accuracy", "<img src=x>": "accuracy"}
    report = made(tmp_path, hostile, 12, seeds=2, compared=True)
    for plot in plots(report):
        for figure in (plot.figure, *plot.panels):
            assert "<b>a" not in figure.to_json()
            assert "<img" not in figure.to_json()


def test_each_colour_has_one_meaning_and_every_scheme_replaces_whole_colours() -> None:
    assert len(set(DARK)) == len(DARK)
    assert set(NEUTRAL) <= set(DARK)
    text = json.dumps(["#e4e8ed", "#0b7a6f22", "#e4e8edx", "name #e4e8ed"])
    assert json.loads(recoloured(text, DARK)) == ["#29303a", "#3bc9b622", "#e4e8edx", "name #e4e8ed"]


def test_a_mean_of_failed_seeds_only_is_not_drawn(tmp_path: Path) -> None:
    report = made(tmp_path, TWO, seeds=2)
    assert report.verdict is not None
    report.verdict["metrics"]["mnist"] |= {"mean": None, "low": None, "high": None, "sd": None, "n": 0}
    [plot] = confirmation(report)
    means = [t for t in plot.figure.data if t.hovertemplate.startswith("tuned weights, mean")]
    assert [trace.x[0] is None for trace in means] == [True, False]
    assert json.loads(plot.figure.to_json())["data"]
