"""The comparison of methods: fair by construction, resumable, told by a written rule, stored for the report."""

import json
import math
from pathlib import Path
from typing import Any

import known_weights as known
import numpy as np
import optuna
import optuna_dashboard
import pytest
from commands import STUDY_FILE, command, counted, done, refused, stored
from optuna.trial import FrozenTrial

from mtlsearch.cli.compare import show_comparison
from mtlsearch.errors import UsageError
from mtlsearch.evidence.comparison import COMPARISON_FORMAT, Outcome, compared, compared_tasks, table
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.study.results import EpochResult
from mtlsearch.study.score import Score
from mtlsearch.training import gradient_weighting
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Interrupted
from mtlsearch.tuning import compare as module
from mtlsearch.tuning import entrants

FILE = Path(known.__file__)
METHODS = ("equal", "tuned", "rlw", "famo")
TRIALS, SEEDS = 16, 3
SOLO = ("--device", "cpu", "--threads", 1, "--population", 1)


def store_in(folder: Path) -> str:
    return f"sqlite:///{folder}/store.db"


def comparing(folder: Path, *more: object, study: object = FILE, methods: str = "tuned,rlw") -> tuple[object, ...]:
    return ("compare", study, "--methods", methods, "--storage", store_in(folder), *SOLO, *more)


@pytest.fixture(scope="module")
def known_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The comparison on the study of known weights, which was never run: the result, stderr, the folder."""
    folder = tmp_path_factory.mktemp("known")
    amount = ("--trials", TRIALS, "--seeds", SEEDS, "--json")
    outcome = done(*comparing(folder, *amount, methods=",".join(METHODS)))
    return outcome.json, outcome.err, folder


def searched(folder: Path, method: str) -> list[FrozenTrial]:
    return stored(folder / "store.db", f"known_weights/compare/{method}")


def retrained(folder: Path, method: str) -> list[FrozenTrial]:
    return stored(folder / "store.db", f"known_weights/compare/{method}/confirmation")


# Fairness.


def test_every_method_has_the_same_budget_and_begins_with_the_default_config(
    known_run: tuple[dict[str, Any], str, Path],
) -> None:
    for method in METHODS:
        trials = searched(known_run[2], method)
        assert len(counted(trials)) == len(trials) == TRIALS
        assert trials[0].user_attrs["task_weights"] == {"clean": 0.5, "noisy": 0.5}
        assert all("test" not in trial.user_attrs for trial in trials)


def test_tuned_alone_searches_the_task_weights(known_run: tuple[dict[str, Any], str, Path]) -> None:
    for method in METHODS:
        weights = {trial.user_attrs["task_weights"]["clean"] for trial in searched(known_run[2], method)}
        assert len(weights) > TRIALS / 2 if method == "tuned" else weights == {0.5}


def test_best_config_of_each_method_is_trained_with_the_same_fresh_seeds(
    known_run: tuple[dict[str, Any], str, Path],
) -> None:
    result, _, folder = known_run
    for method in result["methods"]:
        trials = searched(folder, method["method"])
        best = max(trials, key=lambda trial: (trial.value, -trial.number))
        again = retrained(folder, method["method"])
        assert method["trial"] == best.number
        assert [trial.user_attrs["seed"] for trial in again] == result["seeds"]
        assert {t.user_attrs["task_weights"]["clean"] for t in again} == {best.user_attrs["task_weights"]["clean"]}
        assert all("test" in trial.user_attrs for trial in again)
        assert method["trial_epochs"] == sum(t.user_attrs["epochs"] for t in [*trials, *again])


def test_methods_share_what_a_sampler_asks_of_the_other_hyperparameters(tmp_path: Path) -> None:
    """Random sampling from one seed: two methods without a search of weights get the same configs."""
    (tmp_path / "two.py").write_text(STUDY_FILE)
    amount = ("--trials", 4, "--seeds", 1, "--sampler", "random", "--pruner", "none")
    done(*comparing(tmp_path, *amount, study=tmp_path / "two.py", methods="dwa"))
    asked = [
        [trial.params for trial in stored(tmp_path / "store.db", f"two/compare/{method}")]
        for method in ("equal", "dwa")
    ]
    assert asked[0] == asked[1]
    assert len({params["learning_rate"] for params in asked[0]}) == 4


# The result.


def test_known_weights_beat_equal_ones(known_run: tuple[dict[str, Any], str, Path]) -> None:
    """The weights that the search finds bring the error near to its least; random ones do not."""
    result = known_run[0]
    found = {method["method"]: method for method in result["methods"]}
    assert "tuned beats equal weights by" in result["lines"][0]
    assert "rlw beats" not in result["lines"][0]
    assert found["tuned"]["score"]["mean"] == pytest.approx(-known.BEST_ERROR, rel=0.2)
    assert found["equal"]["score"]["mean"] == pytest.approx(-known.EQUAL_ERROR, rel=0.1)
    assert found["tuned"]["difference"]["mean"] == pytest.approx(
        found["tuned"]["score"]["mean"] - found["equal"]["score"]["mean"]
    )
    assert found["equal"]["difference"] is None


def test_comparison_is_stored_in_the_shape_that_the_report_reads(
    known_run: tuple[dict[str, Any], str, Path],
) -> None:
    result, _, folder = known_run
    attrs = optuna.load_study(study_name="known_weights", storage=store_in(folder)).user_attrs
    kept = attrs["comparison"]
    scoring = {"kind": "mean", "weights": {}, "margin": None}
    assert {**kept, "study": "known_weights", "score": "mean", "scoring": scoring} == result
    assert kept["format"] == COMPARISON_FORMAT == "mtlsearch/comparison/1"
    assert (kept["trials"], len(kept["seeds"])) == (TRIALS, SEEDS)
    assert [method["method"] for method in kept["methods"]] == list(METHODS)
    for method in kept["methods"]:
        assert list(method) == [
            "method",
            "trial",
            "tasks",
            "score",
            "difference",
            "delta_m",
            "trial_epochs",
            "seconds",
        ]
        assert method["seconds"] > 0
        for task in ("clean", "noisy"):
            assert method["tasks"][task]["metric"] == "mse"
            assert method["tasks"][task]["low"] <= method["tasks"][task]["mean"] <= method["tasks"][task]["high"]


def test_methods_studies_are_linked_and_plain_optuna_reads_them(
    known_run: tuple[dict[str, Any], str, Path],
) -> None:
    folder = known_run[2]
    main = optuna.load_study(study_name="known_weights", storage=store_in(folder))
    assert not main.trials
    for method, name in main.user_attrs["compare"].items():
        attrs = optuna.load_study(study_name=name, storage=store_in(folder)).user_attrs
        assert (attrs["role"], attrs["of"], attrs["method"]) == ("compare", "known_weights", method)
    assert list(main.user_attrs["compare"]) == list(METHODS)


def test_dashboard_shows_what_the_comparison_says(known_run: tuple[dict[str, Any], str, Path]) -> None:
    result, _, folder = known_run
    note = optuna_dashboard.get_note(optuna.load_study(study_name="known_weights", storage=store_in(folder))).replace(
        "\\", ""
    )
    assert all(line in note for line in result["lines"])


def test_study_goes_on_as_if_it_had_not_been_compared(known_run: tuple[dict[str, Any], str, Path]) -> None:
    store = store_in(known_run[2])
    assert "has no complete trial yet" in refused("best", "known_weights", "--storage", store)
    done("run", FILE, "--trials", 2, "--no-confirm", "--storage", store, *SOLO)
    trials = stored(known_run[2] / "store.db", "known_weights")
    assert trials[0].user_attrs["task_weights"] == {"clean": 0.5, "noisy": 0.5}
    assert len(trials) == 2


def test_cost_is_told_before_anything_is_trained(known_run: tuple[dict[str, Any], str, Path]) -> None:
    lines = known_run[1].splitlines()
    assert lines[0].startswith("mtlsearch: comparing 4 methods, 16 trials and 3 seeds of the best config each: 76")
    assert "up to 76 trial-epochs" in lines[0]


def test_table_and_sentences_are_printed(known_run: tuple[dict[str, Any], str, Path]) -> None:
    result, _, folder = known_run
    amount = ("--trials", TRIALS, "--seeds", SEEDS)
    outcome = done(*comparing(folder, *amount, methods=",".join(METHODS)))
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines[: 1 + len(METHODS)]][:2] == ["method", "tuned"]
    assert all(line in lines for line in result["lines"])
    assert "all 76 trainings of the comparison are done" in outcome.err


def test_each_method_is_told_as_it_ends(known_run: tuple[dict[str, Any], str, Path]) -> None:
    told = [line for line in known_run[1].splitlines() if ": score on test " in line]
    assert [line.split()[1] for line in told] == [f"{method}:" for method in METHODS]
    ends = [known_run[1].index(line) for line in told]
    begins = [known_run[1].index(f"{method} ({n} of 4)") for n, method in enumerate(METHODS, 1)]
    assert all(begin < end for begin, end in zip(begins, ends, strict=True))
    assert all(end < begin for end, begin in zip(ends, begins[1:], strict=False))


def test_every_task_stands_in_a_table_of_its_own_on_request(
    known_run: tuple[dict[str, Any], str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    amount = ("--trials", TRIALS, "--seeds", SEEDS, "--all")
    lines = done(*comparing(known_run[2], *amount, methods=",".join(METHODS))).out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("task "))
    assert lines[at].split()[:2] == ["task", "metric"]
    assert set(lines[at].split()[2:]) == set(METHODS)
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["clean", "noisy"]


def test_delta_m_is_against_the_confirmations_single_tasks(tmp_path: Path) -> None:
    amount = ("--trials", 4, "--seeds", 2, "--json")
    before = done(*comparing(tmp_path, *amount)).json
    assert {method["delta_m"] for method in before["methods"]} == {None}
    assert any("`mtlsearch confirm --resplit 0`" in line for line in before["lines"])
    done("run", FILE, "--trials", 4, "--seeds", 2, "--storage", store_in(tmp_path), *SOLO)
    after = done(*comparing(tmp_path, *amount)).json
    alone = {
        (t.user_attrs["task"], t.user_attrs["seed"]): t.user_attrs["test"][t.user_attrs["task"]]["mse"]
        for t in stored(tmp_path / "store.db", "known_weights/confirmation")
        if "task" in t.user_attrs
    }
    assert len(alone) == 4
    for method in after["methods"]:
        trials = retrained(tmp_path, method["method"])
        per_seed = []
        for trial in trials:
            test, seed = trial.user_attrs["test"], trial.user_attrs["seed"]
            parts = [1 - test[task]["mse"] / alone[task, seed] for task in ("clean", "noisy")]
            per_seed.append(100 * sum(parts) / 2)
        assert method["delta_m"]["mean"] == pytest.approx(np.mean(per_seed))


# Going on.


class Stopping(SoloTrainer):
    """Is stopped after some epochs of all trainers together."""

    left = 10**9

    def advance(self) -> list[EpochResult]:
        if Stopping.left == 0:
            raise Interrupted
        Stopping.left -= 1
        return super().advance()


@pytest.mark.parametrize("after", [3, 10, 15])
def test_interrupted_comparison_goes_on_and_ends_as_an_undisturbed_one(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the search of the first method, in that of the second, and in its trainings with fresh seeds."""
    amount = ("--trials", 6, "--seeds", 2, "--json")
    monkeypatch.setattr(entrants, "TrainerMaker", lambda *given: Stopping)
    monkeypatch.setattr(entrants, "SoloTrainer", Stopping)
    monkeypatch.setattr(Stopping, "left", after)
    cut = command(*comparing(tmp_path, *amount, methods="rlw"))
    assert (cut.status, cut.out) == (130, "")
    assert cut.err.splitlines()[-1].endswith("the same command goes on")
    monkeypatch.setattr(Stopping, "left", 10**9)
    went_on = done(*comparing(tmp_path, *amount, methods="rlw"))
    assert "16 trainings" not in went_on.err.splitlines()[0]
    (tmp_path / "other").mkdir()
    other = done(*comparing(tmp_path / "other", *amount, methods="rlw")).json
    assert timeless(went_on.json) == timeless(other)
    for method in ("equal", "rlw"):
        assert len(counted(searched(tmp_path, method))) == 6
        assert len(counted(retrained(tmp_path, method))) == 2


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    """The result without times, and without the trials' numbers, which a trial that is asked again moves."""
    kept = [{k: v for k, v in m.items() if k not in ("seconds", "trial")} for m in result["methods"]]
    return {**result, "methods": kept}


def test_larger_budget_takes_over_what_is_there_and_a_smaller_one_forgets_the_rest(tmp_path: Path) -> None:
    few = done(*comparing(tmp_path, "--trials", 3, "--seeds", 2, "--json")).json
    many = done(*comparing(tmp_path, "--trials", 8, "--seeds", 2, "--json"))
    assert "(15 are done)" in many.err.splitlines()[0]
    assert {len(searched(tmp_path, method)) for method in ("equal", "tuned", "rlw")} == {8}
    assert many.json["methods"][1]["trial"] > few["methods"][1]["trial"] or many.json["methods"][1]["trial"] < 3
    again = done(*comparing(tmp_path, "--trials", 3, "--seeds", 2, "--json")).json
    assert timeless(again) == timeless(few)


def test_another_sampler_or_pruner_is_refused_under_the_same_name(tmp_path: Path) -> None:
    amount = ("--trials", 2, "--seeds", 1)
    done(*comparing(tmp_path, *amount))
    line = refused(*comparing(tmp_path, *amount, "--sampler", "random", "--quiet"))
    assert "was begun otherwise (sampler tpe, now random)" in line


def test_process_that_dies_while_it_makes_a_methods_study_leaves_one_that_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = optuna.Study.set_user_attr

    def dies(study: optuna.Study, key: str, value: Any) -> None:
        if key == "searched":
            raise Interrupted
        setting(study, key, value)

    amount = ("--trials", 1, "--seeds", 1, "--json")
    with monkeypatch.context() as dying:
        dying.setattr(optuna.Study, "set_user_attr", dies)
        assert command(*comparing(tmp_path, *amount)).status == 130
    went_on = done(*comparing(tmp_path, *amount)).json
    assert [method["method"] for method in went_on["methods"]] == ["equal", "tuned", "rlw"]


# What cannot be compared.


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ("tuned,magic", "--methods: no method 'magic'; there are equal, tuned, uncertainty, rlw, dwa, famo"),
        ("equal", "--methods must name a method beside equal: tuned, uncertainty"),
    ],
)
def test_wrong_methods_are_refused_in_one_line_that_names_the_known_ones(
    methods: str, told: str, tmp_path: Path
) -> None:
    assert refused(*comparing(tmp_path, methods=methods), status=2).startswith(told)
    assert list(tmp_path.iterdir()) == []


def test_missing_torchjd_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_weighting, "find_spec", lambda name: None)
    line = refused(*comparing(tmp_path, methods="upgrad"), status=2)
    assert line == "the method upgrad needs TorchJD: pip install 'mtlsearch[jd]'"
    assert list(tmp_path.iterdir()) == []


def test_study_with_one_task_is_refused(tmp_path: Path) -> None:
    one = STUDY_FILE.replace('tasks=[Classification("a", source), ', "tasks=[")
    (tmp_path / "one.py").write_text(one)
    line = refused(*comparing(tmp_path, study=tmp_path / "one.py"), status=2)
    assert line.startswith("study 'one' has one task, whose weight nothing changes")
    assert not (tmp_path / "store.db").exists()


def test_store_without_a_study_to_compare_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in refused("compare", "--storage", store_in(tmp_path))


def test_stored_study_of_a_users_file_is_named_by_its_path(
    known_run: tuple[dict[str, Any], str, Path],
) -> None:
    outcome = command("compare", "--storage", store_in(known_run[2]))
    assert outcome.status == 2
    assert "whose code runs only when named: mtlsearch compare " in outcome.err.splitlines()[-1]


def test_method_that_never_completes_is_left_out_and_told(tmp_path: Path) -> None:
    """Here every model gives NaN from the start."""
    text = STUDY_FILE.replace('"kind": "fine", "learning', '"kind": "broken", "learning')
    (tmp_path / "bad.py").write_text(text.replace('choice("fine", "broken")', 'choice("broken")'))
    result = done(*comparing(tmp_path, "--trials", 2, "--seeds", 1, "--json", study=tmp_path / "bad.py")).json
    assert result["methods"] == []
    assert "tuned has no result: none of 2 trials is complete (the loss of a, b was not finite" in "".join(
        result["lines"]
    )


def test_gradient_based_method_is_compared_solo(tmp_path: Path) -> None:
    pytest.importorskip("torchjd")
    (tmp_path / "two.py").write_text(STUDY_FILE)
    options = ("--trials", 2, "--seeds", 2, "--device", "cpu", "--threads", 1, "--population", 4)
    outcome = done(
        *("compare", tmp_path / "two.py", "--methods", "upgrad,rlw", "--storage", store_in(tmp_path)),
        *options,
    )
    assert "; upgrad one at a time, which takes longer" in outcome.err.splitlines()[0]
    for method, trainer in (("upgrad", "solo"), ("rlw", "population")):
        trials = stored(tmp_path / "store.db", f"two/compare/{method}")
        assert {t.user_attrs["trained_on"]["trainer"] for t in trials} == {trainer}
        trials += stored(tmp_path / "store.db", f"two/compare/{method}/confirmation")
        assert {t.user_attrs["trained_on"]["method"] for t in trials} == {method}


def test_every_known_method_runs_or_names_the_command_that_installs_what_it_needs(tmp_path: Path) -> None:
    pytest.importorskip("torchjd")
    (tmp_path / "two.py").write_text(STUDY_FILE)
    missing = []
    for method in gradient_weighting.MORE:
        try:
            gradient_weighting.aggregator(method, 2)
        except UsageError:
            missing.append(method)
    for method in missing:
        line = refused(*comparing(tmp_path, study=tmp_path / "two.py", methods=method), status=2)
        assert line.endswith(f"pip install 'torchjd[{gradient_weighting.MORE[method]}]'")
        assert not (tmp_path / "store.db").exists()
    methods = [method for method in module.KNOWN if method not in missing]
    amount = ("--trials", 1, "--seeds", 2, "--json")
    result = done(*comparing(tmp_path, *amount, study=tmp_path / "two.py", methods=",".join(methods))).json
    assert [method["method"] for method in result["methods"]] == methods
    assert {method["trial_epochs"] for method in result["methods"]} == {6}
    assert all(method["score"]["low"] is not None for method in result["methods"])


# The rule, on numbers.

FRACTIONS = {"a": TaskMetric("accuracy", True, 10_000), "b": TaskMetric("accuracy", True, 10_000)}
BASE = [0.90, 0.91, 0.905, 0.895, 0.90]


def outcome(method: str, gains: list[float] | float, noise: float = 0.0) -> Outcome:
    steps = gains if isinstance(gains, list) else [gains + noise * sign for sign in (0, 1, -1, 1, -1)]
    values = [base + step for base, step in zip(BASE, steps, strict=True)]
    return Outcome(method, 3, {"a": values, "b": values}, values, 100, 12.3)


def judged(*outcomes: Outcome, failed: dict[str, str] | None = None) -> dict[str, Any]:
    return compared(outcomes, failed or {}, FRACTIONS, Score("mean"), None, trials=10, seeds=[1, 2, 3, 4, 5])


def test_methods_that_beat_equal_weights_are_named_with_their_intervals() -> None:
    result = judged(outcome("equal", 0), outcome("famo", 0.01, 0.001), outcome("rlw", 0.0005, 0.004))
    assert result["lines"][0] == "famo beats equal weights by 0.9 to 1.1 points"
    assert not any("falls behind" in line for line in result["lines"])


def test_no_method_is_said_to_win_on_noise_and_what_the_seeds_can_see_is_told() -> None:
    line = judged(outcome("equal", 0), outcome("famo", 0.0005, 0.004), outcome("dwa", -0.0005, 0.001))["lines"][0]
    assert line == "no method beats equal weights: 5 seeds can only see differences above 0.2 to 0.8 points, by method"


def test_method_that_falls_behind_is_named() -> None:
    lines = judged(outcome("equal", 0), outcome("famo", -0.01, 0.001))["lines"]
    assert lines[0].startswith("no method beats equal weights")
    assert lines[1] == "famo falls behind equal weights by 0.9 to 1.1 points"


def test_holm_makes_a_single_lucky_method_among_many_no_winner() -> None:
    """The same difference wins by itself, and does not as the best of eight."""
    lucky = outcome("famo", 0.004, 0.0025)
    assert judged(outcome("equal", 0), lucky)["lines"][0].startswith("famo beats")
    many = [outcome(f"other{i}", 0.0, 0.004) for i in range(7)]
    assert judged(outcome("equal", 0), lucky, *many)["lines"][0].startswith("no method beats")


def test_seeds_that_failed_are_left_out_and_without_pairs_it_is_undecided() -> None:
    nan = math.nan
    some = judged(outcome("equal", 0), outcome("famo", [0.01, 0.011, 0.009, nan, nan]))
    assert some["methods"][1]["difference"]["mean"] == pytest.approx(0.01)
    assert "(2 of 5 seeds failed, 3 left)" in some["lines"][-1]
    none = judged(outcome("equal", 0), outcome("famo", [0.01, nan, nan, nan, nan]))
    assert none["lines"][0].startswith("undecided: fewer than two pairs of seeds")
    dead = judged(outcome("equal", 0), outcome("famo", [nan] * 5))
    assert dead["methods"][1]["score"] == {"mean": None, "low": None, "high": None}
    json.dumps(dead, allow_nan=False)


def test_of_very_many_tasks_those_that_the_best_method_changes_most_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"t{i}" for i in range(20)]
    metrics = dict.fromkeys(names, TaskMetric("accuracy", True, 10_000))

    def of(method: str, gain: float) -> Outcome:
        values = {name: [base + gain * (i - 9) for base in BASE] for i, name in enumerate(names)}
        return Outcome(method, 3, values, [base + gain for base in BASE], 100, 12.3)

    outcomes = [of("equal", 0), of("famo", 0.002), of("rlw", 0.001)]
    result = compared(outcomes, {}, metrics, Score("mean"), None, trials=10, seeds=[1, 2, 3, 4, 5])
    shown = ["t19", "t18", "t17", "t16", "t15", "t14", "t4", "t3", "t2", "t1", "t0"]
    assert compared_tasks(result) == shown
    result |= {"score": "mean", "scoring": Score("mean").describe()}
    show_comparison(result)
    told = capsys.readouterr().out
    assert [word for word in told.splitlines()[0].split() if word in names] == shown
    assert (
        told.splitlines()[-1]
        == "of 20 tasks those that the best method changes most, up and down: --all has the others"
    )
    show_comparison(result, every=True)
    told = capsys.readouterr().out
    assert {line.split()[0] for line in told.splitlines() if line} >= {*names}
    assert "--all" not in told


def test_table_has_no_more_decimals_than_the_intervals_allow() -> None:
    result = judged(outcome("equal", 0), outcome("famo", 0.0123, 0.00321))
    columns, rows = table(result, Score())
    assert columns == [
        "method",
        "score",
        "minus equal (points)",
        "trial-epochs",
        "seconds",
        "a accuracy",
        "b accuracy",
    ]
    assert [row[0] for row in rows] == ["famo", "equal"]
    assert rows[0][2] == "1.2 (0.8 to 1.6)"
    assert rows[1][1:3] == ["90.2 % (89.5 to 90.9)", "–"]
    assert rows[1][-1] == "90.2 % (89.5 to 90.9)"
    assert rows[0][3:5] == [100, 12]
