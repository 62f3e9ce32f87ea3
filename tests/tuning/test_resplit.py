"""Confirmation on new divisions of the data: every arm on the same ones, with corrected intervals."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import STUDY_FILE, command, counted, done, refused, stored

from mtlsearch.evidence.statistics import t_interval
from mtlsearch.study.loaded import load_data
from mtlsearch.study.study_file import load_study
from mtlsearch.tuning.confirming.divisions import new_divisions
from mtlsearch.tuning.options.groups import AgainOptions

# A table of 200 rows, whose parts are drawn; two targets.
TABLE = """
from pathlib import Path
from mtlsearch import Regression, SharedTrunk, Study, Table, real

table = Table(
    Path(__file__).resolve().parent / "rows.csv", numbers=["x", "y"], targets={"a": "number", "b": "number"}GROUPS
)
study = Study(
    tasks=[Regression("a", table), Regression("b", table)],
    model=lambda config: SharedTrunk(2, {"a": 1, "b": 1}, hidden=4),
    space={"learning_rate": real(1e-3, 1e-1, log=True)},
    default={"learning_rate": 3e-2},
    epochs=2,
    batch_size=32,
)
"""
OPTIONS = ("--threads", 1, "--seeds", 3, "--top", 1)
RUN = ("run", "rows.py", "--trials", 2, "--population", 1)


def written(folder: Path, rows: int, groups: str = "") -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    noise = rng.normal(size=(rows, 2))
    frame = pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "a": x[:, 0] + noise[:, 0], "b": x[:, 1] + noise[:, 1]})
    frame.assign(patient=np.arange(rows) // 4).to_csv(folder / "rows.csv", index=False)
    (folder / "rows.py").write_text(TABLE.replace("GROUPS", groups))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return written(tmp_path, 200)


def trainings(folder: Path) -> dict[tuple[str, str | None], dict[int, Any]]:
    """The trainings of a confirmation on new divisions by kind and task, each by its division."""
    found: dict[tuple[str, str | None], dict[int, Any]] = defaultdict(dict)
    for trial in counted(stored(folder / "mtlsearch.db", "rows/confirmation")):
        if "division" in trial.user_attrs:
            key = trial.user_attrs["kind"], trial.user_attrs.get("task")
            found[key][trial.user_attrs["division"]] = trial
    return found


def test_small_data_are_divided_anew_and_the_verdict_holds_on_new_data(here: Path) -> None:
    outcome = done(*RUN, *OPTIONS, "--json")
    told = "mtlsearch: 200 examples have a label of a: train, validation and test are dealt anew 3 times"
    assert told in outcome.err
    assert "on 3 new divisions: " in outcome.err
    assert "--resplit 0 keeps the one division" in outcome.err
    assert "confirmed on 3 new divisions; the test split was scored " in outcome.err
    config = outcome.json
    verdict = config["verdict"]
    assert len(config["confirmation"]["divisions"]) == len(config["confirmation"]["seeds"]) == 3
    assert verdict["sentence"].startswith("On new data of this kind, keep a and b together ")
    assert verdict["covers"] == (
        "95 % t intervals over 3 new divisions of train, validation and test, each with a fresh seed, hold on new data"
        " of this kind: they allow for what divisions share"
    )
    assert "the best on validation of 3 new divisions" in done("best", "rows").out
    arms = trainings(here)
    assert {("config", None), ("alone", "a"), ("alone", "b")} <= set(arms)
    assert all(set(by_division) == set(config["confirmation"]["divisions"]) for by_division in arms.values())
    # The interval is that of the differences with the corrected variance.
    kept, alone = arms["twin", None] or arms["config", None], arms["alone", "a"]
    (effect,) = [e for e in verdict["effects"] if (e["about"], e["task"]) == ("sharing", "a")]
    assert effect["difference"]["n"] == 3
    assert kept.keys() == alone.keys()


def test_a_training_on_a_new_division_verifies_and_trains_again(here: Path) -> None:
    done(*RUN, *OPTIONS)
    done("export", "rows", "-o", "best.json", "--checkpoint", "best.safetensors")
    config = json.loads(Path("best.json").read_text())
    assert config["training"]["resplit"] in config["confirmation"]["divisions"]
    assert done("verify", "best.json", "--study", "rows.py", "--json").json["rule"] == "bitwise"
    again = done("train", "best.json", "--study", "rows.py", "--json", "--quiet", "--threads", 1).json
    assert again["validation"] == config["validation"]
    assert again["test"] == config["test"]
    Path("again.json").write_text(json.dumps(again))
    assert done("verify", "again.json", "--study", "rows.py", "--json").json["agrees"]


def test_a_confirmation_keeps_both_kinds_of_trainings_apart_and_goes_on(here: Path) -> None:
    done(*RUN, *OPTIONS, "--no-confirm")
    first = done("confirm", "rows.py", *OPTIONS, "--resplit", 2, "--json").json
    more = done("confirm", "rows.py", *OPTIONS, "--resplit", 4, "--json")
    assert " are done)" in more.err
    assert more.json["confirmation"]["divisions"][:2] == first["confirmation"]["divisions"]
    one = done("confirm", "rows.py", *OPTIONS, "--resplit", 0, "--json").json
    assert "divisions" not in one["confirmation"]
    assert "resplit" not in one["training"]
    assert "cover the randomness of training on this split" in one["verdict"]["covers"]
    before = len(stored(here / "mtlsearch.db", "rows/confirmation"))
    again = done("confirm", "rows.py", *OPTIONS, "--resplit", 4, "--json").json
    assert again["verdict"] == more.json["verdict"]
    assert len(stored(here / "mtlsearch.db", "rows/confirmation")) == before


def test_the_report_shows_how_to_divide_anew(here: Path) -> None:
    done(*RUN, *OPTIONS)
    done("report", "rows", "-o", "report.html")
    page = (here / "report.html").read_text()
    assert "--resplit 3" in re.sub(r"<[^>]*>", "", page)
    assert "new divisions" in page


def test_groups_stay_whole_and_a_study_of_ones_own_test_part_is_pooled_where_asked(here: Path) -> None:
    written(here, 200, ', groups="patient"')
    study = load_data(load_study("rows.py"), here)
    groups = [p.groups for p in (study.redivided(1).splits[0].train, study.redivided(1).splits[0].test)]
    assert groups[0] is not None
    assert groups[1] is not None
    assert not set(groups[0].tolist()) & set(groups[1].tolist())
    (here / "own.py").write_text(STUDY_FILE)
    run = ("run", "own.py", "--set", "kind=fine", "--trials", 1, "--population", 1, *OPTIONS, "--epochs", 1)
    assert "new division" not in done(*run).err
    told = done("confirm", "own.py", "--resplit", 2, "--threads", 1, "--top", 1).err
    assert "512 examples have a label of a: train, validation and test are dealt anew 2 times" in told
    assert "the test part of a, b is the study's own and is pooled too" in told


def test_large_data_and_parts_of_ones_own_are_divided_anew_only_where_asked(here: Path) -> None:
    again = AgainOptions(seeds=7)
    assert new_divisions(load_data(load_study("rows.py"), here), again) == 7
    assert new_divisions(load_data(load_study("rows.py"), here), AgainOptions(resplit=0)) == 0
    written(here, 2000)
    large = load_data(load_study("rows.py"), here)
    assert new_divisions(large, again) == 0
    assert new_divisions(large, AgainOptions(resplit=3)) == 3


def test_groups_of_train_alone_refuse_new_divisions_in_one_line(here: Path) -> None:
    given = STUDY_FILE.replace("validation=64", "validation=64, groups=np.arange(256) // 2")
    (here / "own.py").write_text(given)
    done("run", "own.py", "--set", "kind=fine", "--trials", 1, "--population", 1, "--no-confirm", "--threads", 1)
    told = refused("confirm", "own.py", "--resplit", 2, "--threads", 1)
    assert told.startswith("examples of several parts are divided anew, which needs the groups of all of them")
    assert command("confirm", "own.py", "--resplit", "-1").status == 2


def test_the_correction_is_that_of_nadeau_and_bengio() -> None:
    values, ratio = np.random.default_rng(0).normal(0.1, 1, 5), 0.25
    plain, corrected = t_interval(values), t_interval(values, overlap=ratio)
    assert corrected.mean == plain.mean
    assert (corrected.high - corrected.low) / (plain.high - plain.low) == pytest.approx(np.sqrt(1 + 5 * ratio))
    t = values.mean() / (values.std(ddof=1) * np.sqrt(1 / 5 + ratio))
    from scipy import stats

    assert corrected.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
