"""Every benchmark runs from end to end on tiny data, and a dry run writes nothing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from scripts import run_script

from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult

FOLDER = Path(__file__).parent.parent / "benchmarks"
ROWS = {
    "throughput": [
        "the loop people write",
        "solo",
        "population of 2, fp32",
        "default space",
    ],
    "scaling": ["population 1", "population 2", "hidden 32", "tasks 3"],
    "search": ["mtlsearch run", "the loop people write, unpruned", "training", "evaluation", "store"],
    "quality": ["one at a time", "population"],
    "disk": ["population 1", "population 2"],
    "networks": ["transformer encoder, dropout", "GRU", "LSTM", "small CNN"],
    "kinds": ["table, 300 × 8, 2 tasks, init's space", "from disk, 600 × 784", "digits"],
    "whole": ["init's space, 300 × 60"],
    "studies": ["wine: grower", "wine: alcohol"],
    "tasks": ["joint, 2 tasks", "joint, 3 tasks", "disjoint, 2 tasks", "disjoint, 3 tasks"],
    "asks": ["mtlsearch's TPE and Hyperband", "mtlsearch's TPE, no pruner", "Optuna's TPE", "random"],
    "distributed": ["1 workers, 64 trials", "2 workers, 64 trials"],
    "store": ["mtlsearch (SQLite, WAL)", "Optuna, SQLite with WAL", "Optuna, journal file", "20"],
    "weights": ["2 tasks, best up to 1 : 10, simplex", "3 tasks, best up to 1 : 100, 1 : 100"],
    "adapters": ["solo", "population, uncompiled", "above the one pass"],
    "terms": ["repeat 0", "solo", "population of 16, fused"],
    "readme": ["processor time"],
    "verdicts": ["units, repeat 0: score"],
    "calibration": ["k=2 S=5 smooth", "k=2 S=5 counts", "k=2 S=5", "R=5 divisions", "K=5 searches, 5 seeds", "5 pairs"],
    "many_tasks": ["8 tasks of one output: plain", "8 tasks of two outputs: columns"],
    "many_weights": ["simulated-27: each", "simulated-27: labels", "simulated-27: affinity", "simulated-27: pbt"],
    "folds": ["wine, population of 2", "wine, one trial at a time"],
    "new_data": ["made up: y0", "made up: y1", "made up"],
    "grouping": ["two groups", "no groups"],
    "calibration_trained": ["false tuned", "undecided", "equal weights", "the winner's interval covers zero"],
    "pareto": ["wines, 1 seeds × 4 trials", "2 dimensions", "3 dimensions"],
    "importance": ["sum", "bowl", "product", "step", "cliff", "hinge", "ridge", "box"],
    "warm_starts": ["made up, 2 seeds: cold", "made up, 2 seeds: --from", "made up, 2 seeds: --narrow"],
    "asks_compared": [f"made up, 58: {way}" for way in ("TPE of mtlsearch", "random, unpruned", "freeze-thaw")],
    "asks_trained": ["made up: tpe", "made up: gp"],
    "independent": ["mnist, equal weights", "fashion, equal weights", "mnist, alone", "fashion, alone"],
}


def quick(name: str, folder: Path, *options: str) -> str:
    """The output of the benchmark in a quick dry run; `folder` is for its log."""
    return run_script(FOLDER / f"{name}.py", ["--quick", "--dry-run", *options], folder / f"{name}.log")


def test_plain_pytorch_is_plain() -> None:
    code = "import sys, plain; print(sorted(m for m in sys.modules if m.split('.')[0] in ('mtlsearch', 'optuna')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER, check=True)
    assert done.stdout.strip() == "[]"


def cells(text: str) -> dict[str, list[str]]:
    """The cells of every line of a table, by the first."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return {first: rest for first, *rest in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_quick_dry_run_prints_every_row_and_writes_nothing(name: str, tmp_path: Path) -> None:
    results = FOLDER / "RESULTS.md"
    before = results.read_text() if results.exists() else None
    found = cells(quick(name, tmp_path))
    for row in ROWS[name]:
        assert any(first.startswith(row) and rest for first, rest in found.items()), row
    assert (results.read_text() if results.exists() else None) == before


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """The benchmarks' common module, writing into a folder of the test's own."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import common

    monkeypatch.setattr(common, "RESULTS", tmp_path / "RESULTS.md")
    return common


def test_results_begin_with_a_head_line_and_keep_what_was_there(common: object) -> None:
    common.append_result("First", "| a |")  # type: ignore[attr-defined]
    common.append_result("Second", "| b |")  # type: ignore[attr-defined]
    text = common.RESULTS.read_text()  # type: ignore[attr-defined]
    assert text.startswith("# Measured\n")
    assert text.count("# Measured") == 1
    assert text.index("## First") < text.index("| a |") < text.index("## Second") < text.index("| b |")


def test_result_names_machine_and_commit(common: object) -> None:
    text = common.section("Title", "| a |")  # type: ignore[attr-defined]
    assert f"commit {common.commit()}" in text  # type: ignore[attr-defined]
    assert "cores" in text
    assert f"({torch.backends.cpu.get_cpu_capability()}" in text
    assert "torch" in text


def test_interleaved_cases_take_turns(common: object) -> None:
    turns: list[str] = []
    cases = {name: (lambda name=name: turns.append(name) or len(turns)) for name in "ab"}
    found = common.interleaved(cases, 2)  # type: ignore[attr-defined]
    assert turns == ["a", "b", "a", "b"]
    assert found == {"a": [1, 3], "b": [2, 4]}


def test_every_flop_of_a_step_is_counted_but_the_gradient_of_the_pictures(common: object, tmp_path: Path) -> None:
    import throughput

    study = throughput.at_width_128(common.mnist_fashion(True))  # type: ignore[attr-defined]
    loaded = load_data(study, common.tiny_pictures(tmp_path))  # type: ignore[attr-defined]
    trunk, head = 784 * 128, 128 * 10
    # Forward, gradient of the weights, and of the inputs: two operations a weight and example each.
    assert throughput.step_flop(loaded, study.default_config()) == 64 * (2 * trunk * 4 + 2 * head * 6)


def test_stopped_quality_run_goes_on_from_its_cache(common: object, tmp_path: Path) -> None:
    import quality

    cache = quality.Cache(tmp_path / "cache.jsonl")
    arm = quality.all_arms(())["one at a time"]
    cache.add(quality.Outcome(arm.way, 0, 3, 1, 0.5, 3, 1.0, "abc"))
    again = quality.Cache(tmp_path / "cache.jsonl")
    assert again.outcomes == cache.outcomes


def test_paired_difference_is_in_points_and_over_common_seeds(common: object) -> None:
    import quality

    def outcomes(scores: dict[int, float]) -> dict[int, object]:
        return {seed: quality.Outcome("", seed, 3, 1, score, 3, 1.0, "") for seed, score in scores.items()}

    many, one = outcomes({0: 0.93, 1: 0.95, 5: 0.1}), outcomes({0: 0.92, 1: 0.92, 7: 0.9})
    difference, wins, low = quality.compared(many, one)
    # Differences of 1 and 3 points: the mean is 2, and t at one degree of freedom 12.706.
    assert difference.startswith("+2.000")
    assert wins == "2/2"
    assert low == pytest.approx(2 - 12.706, abs=1e-3)


def test_trained_calibration_fails_only_where_chance_cannot_explain_its_false_wins(common: object) -> None:
    import calibration_trained

    # Clopper and Pearson's 95 % interval of 10 in 100 begins at 4.9 %, of 11 at 5.6 %.
    assert [calibration_trained.failing(false, 100) for false in (0, 10, 11, 50)] == [
        False,
        False,
        True,
        True,
    ]


def test_trained_calibration_goes_on_from_its_cache(common: object, tmp_path: Path) -> None:
    """One whole run: a search and a confirmation of a study whose task weights change rounding alone."""
    import calibration_trained

    cache = calibration_trained.Cache(tmp_path / "cache.jsonl")
    outcome = calibration_trained.whole_run(0, seeds=2)
    cache.add(outcome)
    assert outcome.kind in ("tuned", "equal", "undecided")
    assert outcome.low <= outcome.mean <= outcome.high
    assert calibration_trained.Cache(tmp_path / "cache.jsonl").outcomes == {0: outcome}


def test_a_copied_member_has_its_sources_scores_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from many_weights_cases import loaded_case
    from many_weights_ways import Crowd

    from mtlsearch.study.space import Config
    from mtlsearch.training.population.steps import Fused

    loaded = loaded_case("simulated-27", Path(), epochs=3)
    weights = loaded.study.default_config().task_weights
    scores: list[list[float]] = []

    def after(results: Sequence[EpochResult]) -> None:
        scores.append([result.score for result in results])
        if len(scores) == 1:
            crowd.copy(2, 0, lambda config: config)  # from another lane: each has two slots

    crowd = Crowd(loaded, slots=2, steps=Fused())
    crowd.train(0, [Config({"learning_rate": rate}, weights) for rate in (3e-4, 2e-3, 2e-2)], after)
    first, second = scores
    assert len(set(first)) == 3
    assert second[0] == second[2] != second[1]
