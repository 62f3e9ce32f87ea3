"""Repeated searches: seeds of their own, resumable, only added to, told with their cost, and shown where stored."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import STUDY_FILE, command, counted, done, refused, stored

from mtlsearch import search
from mtlsearch.evidence.searches import stored_evidence
from mtlsearch.evidence.statistics import Estimate
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.trainer import Interrupted
from mtlsearch.tuning import searches as module

AMOUNT = ("--trials", 3, "--seeds", 2, "--top", 1)
SOLO = ("--threads", 1, "--population", 1, "--no-single")
RUN = ("run", "mine.py", *AMOUNT, *SOLO)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    return tmp_path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    """A folder with three searches of one study, the result and stderr."""
    folder = tmp_path_factory.mktemp("three")
    (folder / "mine.py").write_text(STUDY_FILE)
    run = ("run", folder / "mine.py", *AMOUNT, *SOLO, "--storage", f"sqlite:///{folder}/mtlsearch.db")
    outcome = done(*run, "--searches", 3, "--json")
    return folder, outcome.json, outcome.err


def names(folder: Path) -> set[str]:
    return set(optuna.get_all_study_names(f"sqlite:///{folder}/mtlsearch.db"))


def sizes(folder: Path) -> dict[str, int]:
    return {name: len(stored(folder / "mtlsearch.db", name)) for name in names(folder)}


def test_every_search_is_a_study_of_its_own_with_its_own_seed(three: tuple[Path, Any, str]) -> None:
    folder, result, _ = three
    each = ["mine", "mine/search/2", "mine/search/3"]
    assert names(folder) == {*each, *(f"{name}/confirmation" for name in each)}
    assert all(len(counted(stored(folder / "mtlsearch.db", name))) == 3 for name in each)
    found = result["searches"]["found"]
    assert [one["study"] for one in found] == each
    assert [one["seed"] for one in found] == [0, derived_seed(0, "search", 2), derived_seed(0, "search", 3)]
    asked = [[trial.params for trial in stored(folder / "mtlsearch.db", name)] for name in each]
    assert asked[0] != asked[1] != asked[2]
    fresh = [{t.user_attrs["seed"] for t in stored(folder / "mtlsearch.db", f"{name}/confirmation")} for name in each]
    assert len(set.union(*fresh)) == sum(map(len, fresh)) == 6


@pytest.mark.parametrize("population", [1, 2])
def test_a_repeated_search_is_what_a_run_with_its_seed_gives(here: Path, population: int) -> None:
    how = (*AMOUNT, "--threads", 1, "--population", population, "--no-single")
    done("run", "mine.py", *how, "--searches", 2)
    done("run", "mine.py", *how, "--name", "other", "--seed", derived_seed(0, "search", 2))
    for end in ("", "/confirmation"):
        repeated, alone = (stored(here / "mtlsearch.db", name + end) for name in ("mine/search/2", "other"))
        assert [t.params for t in repeated] == [t.params for t in alone]
        assert [t.intermediate_values for t in repeated] == [t.intermediate_values for t in alone]
        assert [t.user_attrs.get("test") for t in repeated] == [t.user_attrs.get("test") for t in alone]


def test_evidence_is_the_interval_over_the_confirmed_gains(three: tuple[Path, Any, str]) -> None:
    folder, result, _ = three
    evidence = result["searches"]
    for one in evidence["found"]:
        trials = stored(folder / "mtlsearch.db", f"{one['study']}/confirmation")
        tested = {(t.user_attrs["kind"], t.user_attrs["seed"]): t.user_attrs["test"] for t in trials}
        scores = {key: sum(test[task]["accuracy"] for task in ("a", "b")) / 2 for key, test in tested.items()}
        gains = [score - scores.get(("twin", seed), score) for (kind, seed), score in scores.items() if kind != "twin"]
        assert one["gain"]["mean"] == pytest.approx(sum(gains) / 2)
        assert (
            one["trial"]
            == max(
                counted(stored(folder / "mtlsearch.db", one["study"])),
                key=lambda t: (-1 if t.value is None else t.value, -t.number),
            ).number
        )
    means = [one["gain"]["mean"] for one in evidence["found"]]
    assert evidence["gain"]["mean"] == pytest.approx(sum(means) / 3)
    assert evidence["gain"]["n"] == 3


def test_cost_and_progress_are_told(three: tuple[Path, Any, str]) -> None:
    err = three[2]
    # Two more searches of 3 trials and up to 4 trainings, 2 epochs each.
    assert "3 searches: after this one 2 more with other seeds, each of 3 trials and 4 trainings to confirm" in err
    assert "up to 28 trial-epochs together" in err
    assert "2 of 3 searches are left: up to 28 trial-epochs, about " in err
    for number in (2, 3):
        assert f"mtlsearch: search {number} of 3, seed {derived_seed(0, 'search', number)}: 3 trials" in err


def test_best_export_and_report_show_it(three: tuple[Path, Any, str], tmp_path: Path) -> None:
    folder, result, _ = three
    store = ("--storage", f"sqlite:///{folder}/mtlsearch.db")
    lines = result["searches"]["lines"]
    assert lines[0].startswith("over 3 searches of 3 trials: ")
    shown = done("best", "mine", *store).out
    assert all(line in shown for line in lines)
    assert "searches" not in done("best", "mine", "--search", *store, "--json").json
    done("export", "mine", *store, "-o", tmp_path / "best.json")
    assert json.loads((tmp_path / "best.json").read_text())["searches"] == result["searches"]
    agrees = done("verify", tmp_path / "best.json", "--study", folder / "mine.py", "--json")
    assert agrees.json["agrees"]  # the schema knows it
    done("report", "mine", *store, "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Repeated searches</h2>" in page
    assert "mine/search/3" in page
    assert "--searches</span> 3" in page


def test_a_finished_search_is_not_repeated_and_more_are_added(here: Path) -> None:
    first = done(*RUN, "--json").json
    assert "searches" not in first
    assert names(here) == {"mine", "mine/confirmation"}
    two = done(*RUN, "--searches", 2, "--json").json
    assert two["verdict"] == first["verdict"]
    before = sizes(here)
    again = done(*RUN, "--searches", 2, "--json")
    assert again.json["searches"] == two["searches"]
    assert "all 2 searches are done" in again.err
    assert sizes(here) == before
    three = done(*RUN, "--searches", 3, "--json").json["searches"]
    assert three["found"][:2] == two["searches"]["found"]
    fewer = done(*RUN, "--searches", 2, "--json")
    assert "3 searches are in the store, and --searches is a total: all of them count" in fewer.err
    assert fewer.json["searches"] == three
    assert done(*RUN, "--json").json["searches"] == three  # and a plain run keeps it


def test_evidence_of_an_earlier_confirmation_is_told(here: Path) -> None:
    done(*RUN, "--searches", 2)
    assert "evidence over searches" not in done("best", "mine").err
    done("confirm", "mine.py", "--seeds", 4, "--top", 1, "--threads", 1, "--no-single")
    told = "the evidence over searches is of an earlier confirmation: `mtlsearch run` with --searches 2 and the options"
    assert told in done("best", "mine").err
    done(*RUN[:-3], "--population", 1, "--no-single", "--seeds", 4, "--searches", 2)
    assert "evidence over searches" not in done("best", "mine").err


def test_an_interrupted_search_goes_on_where_it_stopped(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = done(*RUN, "--searches", 3, "--json").json["searches"]
    (here / "mtlsearch.db").unlink()
    confirm = module.confirm_winner

    def stops(session: Any, *more: Any) -> bool:
        if session.record.name.endswith("3"):
            raise Interrupted
        return confirm(session, *more)

    with monkeypatch.context() as patched:
        patched.setattr(module, "confirm_winner", stops)
        stopped = command(*RUN, "--searches", 3)
    assert stopped.status == 130
    assert "the same command goes on" in stopped.err
    assert done("best", "mine", "--json").json["searches"]["lines"][0].startswith("over 2 searches")
    outcome = done(*RUN, "--searches", 3, "--json")
    assert "1 of 3 searches are left: up to 8 trial-epochs" in outcome.err
    assert "search 2 of 3" not in outcome.err
    assert outcome.json["searches"] == whole


def test_a_timeout_says_how_many_searches_are_done(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done(*RUN)
    monkeypatch.setattr("mtlsearch.tuning.session.Session.is_in_time", lambda session: False)
    outcome = done(*RUN, "--searches", 3, "--timeout", 60)
    assert "stopped after --timeout with 1 of 3 searches; the same command goes on" in outcome.err
    assert "mine/search/2" not in names(here)


def test_a_search_without_a_complete_trial_is_left_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = module.candidates
    monkeypatch.setattr(module, "candidates", lambda record, top: {} if "/2" in record.name else find(record, top))
    outcome = done(*RUN, "--searches", 3, "--json")
    assert "search 2 has no result: no trial of it is complete" in outcome.err
    assert [one["study"] for one in outcome.json["searches"]["found"]] == ["mine", "mine/search/3"]


def test_the_function_takes_it_too(here: Path) -> None:
    options = {"trials": 2, "seeds": 2, "top": 1, "threads": 1, "population": 1, "single": False, "quiet": True}
    result = search(str(here / "mine.py"), searches=2, **options)
    assert len(result.best["searches"]["found"]) == 2
    assert result.best["searches"]["lines"][0] in str(result)


def test_what_cannot_be_repeated_is_refused_before_the_store_is_touched(here: Path) -> None:
    assert refused(*RUN, "--searches", 2, "--no-confirm", status=2) == (
        "--searches compares confirmed winners, but got --no-confirm: leave one of them out"
    )
    text = STUDY_FILE.replace('tasks=[Classification("a", source), Classification("b", source)]', "tasks=TASKS")
    one = text.replace("study = Study(", 'TASKS = [Classification("a", source)]\nstudy = Study(').replace(
        '{"a": 2, "b": 2}', '{"a": 2}'
    )
    (here / "mine.py").write_text(one.replace(', "b": (x[:, 1] > 0).astype(np.int64)', ""))
    assert "the study has one task" in refused(*RUN, "--searches", 2, status=2)
    assert not (here / "mtlsearch.db").exists()


def test_another_definition_under_the_name_of_a_repeat_is_refused(here: Path) -> None:
    done(*RUN, "--searches", 2)
    optuna.delete_study(study_name="mine", storage="sqlite:///mtlsearch.db")
    optuna.delete_study(study_name="mine/confirmation", storage="sqlite:///mtlsearch.db")
    outcome = command(*RUN, "--searches", 2, "--seed", 7)
    assert outcome.status == 1
    assert "study 'mine/search/2' in the store repeats a search of another seed" in outcome.err


def test_damaged_evidence_is_left_out(three: tuple[Path, Any, str], capsys: pytest.CaptureFixture[str]) -> None:
    evidence = three[1]["searches"]
    assert stored_evidence({"searches": evidence}) == evidence
    assert stored_evidence({"searches": {**evidence, "found": [{}]}}) is None
    assert "the evidence over searches is left out: " in capsys.readouterr().err
    assert stored_evidence({"searches": {"format": "other/1"}}) is None
    assert stored_evidence({"searches": {**evidence, "found": []}}) is None
    assert Estimate.of_stored(evidence["gain"]).n == 3
