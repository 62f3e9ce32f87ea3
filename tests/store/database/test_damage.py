"""Damaged stores: each value that was changed by hand is told in a line or is harmless, and the rest is shown."""

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import report_stores
from commands import command, done

TASKS = {"left": "accuracy", "right": "mae"}
ODD = (
    "null", "[]", "{}", "3", "-1", '"text"', "true", "NaN", "1e999", "[1, [2]]",
    '{"left": "x"}', '{"left": {"accuracy": []}}',
    '{"left": null, "right": null}', "not json", "", "9" * 400, '"\\ud800"', '"\\u001b[2J"',
)  # fmt: skip
READERS = (("best",), ("best", "--search", "--json"), ("export",), ("trials", "--format", "csv"), ("trials",))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of a confirmed and compared study, which no test changes."""
    folder = tmp_path_factory.mktemp("whole")
    with report_stores.store(folder, TASKS, report_stores.states(6), seeds=2, compared=True, repeated=True):
        pass
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the store's folder as the working directory."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    return tmp_path


def change(statement: str, *values: object) -> None:
    """Change the store in the working directory by hand; at least one row."""
    with closing(sqlite3.connect("mtlsearch.db")) as connection:
        assert connection.execute(statement, values).rowcount >= 1
        connection.commit()


def answered(*arguments: str) -> str:
    """Call a command: it succeeds, or is refused in one line; what it told."""
    outcome = command(*arguments)  # raises what would end with a traceback
    assert outcome.status in (0, 1), outcome
    lines = outcome.err.splitlines()
    assert all(line.startswith("mtlsearch: ") and len(line) <= 500 for line in lines), lines
    assert "\x1b" not in outcome.out + outcome.err
    return outcome.err


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE trials SET state = 'ODD' WHERE number = 1 AND study_id = 1", "'ODD' is not among"),
        ("UPDATE trials SET datetime_start = 'noon' WHERE number = 1 AND study_id = 1", "noon"),
        ("UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 2 AND key = 'validation'", "Expecting"),
        (
            "UPDATE trial_user_attributes SET value_json = '3' WHERE trial_id = 2 AND key = 'validation'",
            "not an object",
        ),
        ("DELETE FROM trial_user_attributes WHERE trial_id = 2 AND key = 'task_weights'", "has no 'task_weights'"),
        ("DELETE FROM trial_values WHERE trial_id = 2", "its score is None"),
        ("UPDATE trial_values SET value = 9e999 WHERE trial_id = 2", "its score is"),
        ("UPDATE trial_params SET distribution_json = '[]' WHERE trial_id = 2", ""),
    ],
)
def test_damaged_trial_is_named_and_the_others_are_shown(here: Path, statement: str, said: str) -> None:
    change(statement)
    outcome = done("trials", "--format", "csv")
    line = next(line for line in outcome.err.splitlines() if "trial 1 is left out: it is damaged in the store" in line)
    assert said in line
    assert len(outcome.out.splitlines()) == 7
    assert json.loads(done("best", "--search", "--json").out)["trial"] != 1


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("key", ["mtlsearch", "conclusion", "comparison", "confirmation", "searches"])
def test_odd_attribute_of_a_study_is_told_or_harmless(here: Path, key: str, value: str) -> None:
    change("UPDATE study_user_attributes SET value_json = ? WHERE key = ?", value, key)
    for reader in READERS[:3]:
        answered(*reader)


def test_conclusion_and_comparison_that_are_damaged_are_told_and_left_out(here: Path) -> None:
    statement = "UPDATE study_user_attributes SET value_json = ? WHERE key = ?"
    change(statement, '{"of": 1}', "conclusion")
    change(statement, '{"format": "mtlsearch/comparison/1"}', "comparison")
    err = done("report", "-o", "r.html").err
    assert "the conclusion of made/confirmation is left out: it is damaged in the store: it has no 'weights'" in err
    assert "the comparison is left out: it is damaged in the store: it has no 'trials'" in err
    assert json.loads(done("best", "--json").out)["study"]["name"] == "made"


CELLS = {
    "trials": ("number", "state", "datetime_start", "datetime_complete"),
    "trial_values": ("value", "value_type", "objective"),
    "trial_params": ("param_name", "param_value", "distribution_json"),
    "trial_user_attributes": ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
    "trial_intermediate_values": ("step", "intermediate_value", "intermediate_value_type"),
    "study_user_attributes": ("key", "value_json"),
    "study_system_attributes": ("key", "value_json"),
    "study_directions": ("direction", "objective"),
    "studies": ("study_name",),
}


@pytest.mark.parametrize("seed", range(60))
def test_cell_changed_at_random_is_told_or_harmless(here: Path, seed: int) -> None:
    draw = random.Random(seed)
    with closing(sqlite3.connect("mtlsearch.db")) as connection:
        for _ in range(3):
            table = draw.choice(list(CELLS))
            rows = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
            if rows:
                column, value = draw.choice(CELLS[table]), draw.choice((*ODD, None, 7, -7, 1e308, b"\xff\x00"))
                try:
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, draw.choice(rows)))
                except sqlite3.IntegrityError:
                    continue  # the schema itself refuses it
        connection.commit()
    answered(*draw.choice(READERS))
    answered("report", "-o", "r.html")
