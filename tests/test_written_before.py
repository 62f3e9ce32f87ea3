"""A store and a config that commit 3c1a122 wrote are read, gone on with, and verified.

It wrote them with `mtlsearch run digits --trials 6 --epochs 2 --threads 1 --top 1 --seeds 2 --seed 7`, then
`mtlsearch export digits -o best.json`. The SQL leaves out the dashboard's figures, which every run writes anew.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import counted, done, stored

WRITTEN = Path(__file__).parent / "written_by_3c1a122"
CONFIG: dict[str, Any] = json.loads((WRITTEN / "best.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store, in the folder in which every test runs its commands."""
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("mtlsearch.db")) as connection:
        connection.executescript((WRITTEN / "mtlsearch.sql").read_text(encoding="utf-8"))
    return tmp_path / "mtlsearch.db"


def without_versions(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the versions of today's packages."""
    return {**config, "provenance": {**config["provenance"], "versions": None}}


def test_best_is_what_was_exported() -> None:
    assert without_versions(done("best", "digits", "--json").json) == without_versions(CONFIG)


def test_trials_are_what_was_stored() -> None:
    rows = done("trials", "digits", "--format", "json").json
    assert [(row["number"], row["state"], row["epochs"]) for row in rows] == [
        (number, "complete", 2) for number in range(6)
    ]
    (best,) = (row for row in rows if row["number"] == CONFIG["trial"])
    assert best["score"] == max(row["score"] for row in rows) == 0.935
    for task, weight in CONFIG["task_weights"].items():
        assert best[f"task_weight.{task}"] == weight
    for name, value in CONFIG["hyperparameters"].items():
        assert best[f"params.{name}"] == value


def test_report_has_the_verdict() -> None:
    done("report", "digits", "-o", "report.html")
    assert CONFIG["verdict"]["sentence"] in Path("report.html").read_text(encoding="utf-8")


def test_search_goes_on_to_its_total_and_leaves_the_old_trials_as_they_were(store: Path) -> None:
    before = stored(store)
    done("run", "digits", "--trials", "8", "--epochs", "2", "--no-confirm", "--threads", "1", "--quiet")
    after = stored(store)
    assert len(before) == 6
    assert after[:6] == before
    assert len(counted(after)) == len(after) == 8


def test_confirmation_knows_every_training_and_comes_to_the_same_verdict(store: Path) -> None:
    before = stored(store, "digits/confirmation")
    again = done("confirm", "digits", "--seeds", "2", "--top", "1", "--threads", "1", "--json", "--quiet").json
    assert stored(store, "digits/confirmation") == before
    assert without_versions(again) == without_versions(bounded(CONFIG))


def bounded(config: dict[str, Any]) -> dict[str, Any]:
    """The config with intervals of accuracies that end at 100 %; in that version they went on beyond."""
    verdict = json.loads(json.dumps(config["verdict"]))
    for found in (*verdict["equal_metrics"].values(), *verdict["single_metrics"].values()):
        found["high"] = min(found["high"], 1.0)
    beyond = {"(85 to 105)": "(85 to 100)", "(89 to 102)": "(89 to 100)"}
    for old, new in beyond.items():
        verdict["lines"] = [line.replace(old, new) for line in verdict["lines"]]
    return {**config, "verdict": verdict}


def test_verify_agrees_with_the_exported_config() -> None:
    # As if trained with two threads: another CPU may differ in the last bits, so equal bits are not asked for.
    elsewhere = {**CONFIG, "training": {**CONFIG["training"], "threads": 2}}
    Path("best.json").write_text(json.dumps(elsewhere), encoding="utf-8")
    found = done("verify", "best.json", "--threads", "1", "--json").json
    assert (found["agrees"], found["rule"]) == (True, "tolerance")
