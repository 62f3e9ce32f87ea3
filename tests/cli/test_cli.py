"""The commands from run to predict: what they print where, their JSON, tables, and how fast they answer."""

import csv
import io
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from commands import SHORT, SOLO, STUDY_FILE, command, contents, done, stored

from mtlsearch.cli.main import GROUPS, main

MTLSEARCH = Path(sys.executable).with_name("mtlsearch")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search of `digits`, which no test changes."""
    folder = tmp_path_factory.mktemp("searched")
    done("run", "digits", *SHORT, "--storage", f"sqlite:///{folder}/s.db", "--quiet")
    return folder


@pytest.fixture
def here(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, as the working directory and the default store."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTLSEARCH_STORAGE", "sqlite:///s.db")
    return tmp_path


def test_run_puts_the_result_on_stdout_and_progress_on_stderr(here: Path) -> None:
    outcome = done("run", "digits", *SHORT, "--name", "again")
    assert outcome.out.startswith("again: trial ")
    assert "3 of 3" not in outcome.out
    assert [line.split(";")[1].strip() for line in outcome.err.splitlines() if line.startswith("trial ")] == [
        "1 of 3",
        "2 of 3",
        "3 of 3",
    ]


def test_quiet_run_says_nothing_on_stderr(here: Path) -> None:
    assert done("run", "digits", *SHORT, "--name", "quiet", "--quiet").err == ""


def test_json_of_run_and_best_is_one_object_with_validation_by_task(here: Path) -> None:
    ran = done("run", "digits", *SHORT, "--json").json
    best = done("best", "digits", "--json").json
    assert ran == best
    assert set(best["validation"]) == {"left", "right"}
    trial = max(stored(here / "s.db"), key=lambda t: t.value or 0)
    assert best["trial"] == trial.number
    assert best["validation"] == trial.user_attrs["validation"]
    assert sum(best["task_weights"].values()) == pytest.approx(1)


def test_finished_study_says_so_and_ends_well(here: Path) -> None:
    before = stored(here / "s.db")
    outcome = done("run", "digits", *SHORT)
    assert "already has 3 of 3 trials" in outcome.err
    assert stored(here / "s.db") == before


def test_larger_total_goes_on_from_the_trials_there_are(here: Path) -> None:
    before = stored(here / "s.db")
    outcome = done("run", "digits", *SHORT, "--trials", "4")
    assert "goes on at trial 3 of 4" in outcome.err
    assert stored(here / "s.db")[:3] == before
    assert len(stored(here / "s.db")) == 4


def test_command_without_study_takes_the_latest_and_names_it_on_stderr(here: Path) -> None:
    (here / "mine.py").write_text(STUDY_FILE)
    done("run", "mine.py", "--trials", "1", *SOLO)
    outcome = done("best")
    assert outcome.err == "mtlsearch: study mine\n"
    assert outcome.out.startswith("mine: ")


def test_study_file_and_its_stem_name_the_same_study(here: Path) -> None:
    (here / "mine.py").write_text(STUDY_FILE)
    done("run", here / "mine.py", "--trials", "1", *SOLO)
    assert done("best", "mine.py").out == done("best", "mine").out


def test_best_shows_weights_metrics_and_hyperparameters(here: Path) -> None:
    best = done("best", "digits", "--json").json
    shown = done("best", "digits").out
    for task, weight in best["task_weights"].items():
        line = next(line for line in shown.splitlines() if line.startswith(task))
        assert f"{weight:.4f}" in line
        assert f"accuracy {best['validation'][task]['accuracy']:.4f}" in line
    assert all(name in shown for name in best["hyperparameters"])


def test_trials_are_the_same_in_every_format(here: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(done("trials", "digits", "--format", "csv").out)))
    records = done("trials", "digits", "--format", "json").json
    done("trials", "digits", "--format", "parquet", "-o", "t.parquet")
    frame = pd.read_parquet("t.parquet")
    truth = stored(here / "s.db")
    for trial, row, record, (_, line) in zip(truth, rows, records, frame.iterrows(), strict=True):
        assert int(row["number"]) == record["number"] == line["number"] == trial.number
        assert float(row["score"]) == record["score"] == line["score"] == trial.value
        weights = trial.user_attrs["task_weights"]
        assert record["task_weight.left"] == pytest.approx(weights["left"], abs=1e-9)
        assert line["validation.left.accuracy"] == trial.user_attrs["validation"]["left"]["accuracy"]
        assert row["params.optimizer"] == trial.params["optimizer"]


def test_trials_go_to_a_file_with_output(here: Path) -> None:
    outcome = done("trials", "digits", "--format", "csv", "-o", "t.csv")
    assert outcome.out == ""
    assert Path("t.csv").read_text() == done("trials", "digits", "--format", "csv").out


def test_table_of_trials_in_a_pipe_cuts_nothing(here: Path) -> None:
    lines = done("trials", "digits").out.splitlines()
    assert lines[0].split()[:3] == ["number", "state", "score"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2"]
    assert not any("…" in line for line in lines)


def test_table_of_trials_on_a_narrow_terminal_says_how_many_columns_it_leaves_out(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    outcome = done("trials", "digits")
    assert "columns do not fit here: --format csv has them all" in outcome.err
    assert "norm" not in outcome.out


def test_studies_are_listed_with_what_each_needs() -> None:
    names = {row["study"]: row for row in done("studies", "--json").json}
    assert set(names) >= {"digits", "mnist-fashion", "mnist-fashion-separate"}
    assert names["digits"]["needs"] == "nothing"
    assert all(name in done("studies").out for name in names)


def test_reading_commands_change_nothing(here: Path) -> None:
    before = contents(here)
    for arguments in (("best",), ("export",), ("trials",), ("best", "--search", "--json")):
        done(*arguments)
    assert contents(here) == before


def test_interrupted_reader_of_the_output_leaves_no_traceback(here: Path) -> None:
    line = f"{MTLSEARCH} trials digits --format csv | true"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=here)
    assert "Traceback" not in ended.stderr


def best_cpu_seconds(arguments: Sequence[str], folder: Path, times: int) -> float:
    """The least processor time of several runs: what the command costs when nothing disturbs it."""
    spent = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(MTLSEARCH), *arguments], check=True, capture_output=True, cwd=folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def test_help_answers_within_a_third_of_a_second(tmp_path: Path) -> None:
    assert best_cpu_seconds(["--help"], tmp_path, times=5) < 0.3


def test_best_answers_within_two_seconds(here: Path) -> None:
    assert best_cpu_seconds(["best", "digits"], here, times=3) < 2


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["best", "digits"], ["trials", "digits"]])
def test_commands_that_only_read_do_not_import_torch(here: Path, arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from mtlsearch.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print('torch' in sys.modules, file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
    assert ended.stderr.splitlines()[-1] == "False"


def test_every_command_has_help_of_its_own() -> None:
    assert len(main.commands) >= 10
    for name in main.commands:
        assert done(name, "--help").out.startswith(f"Usage: mtlsearch {name}")


def test_version_is_the_package_version() -> None:
    import mtlsearch

    assert done("--version").out.strip().endswith(mtlsearch.__version__)


def test_options_come_before_the_environment_and_that_before_the_study_file(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine.py").write_text(STUDY_FILE)
    monkeypatch.setenv("MTLSEARCH_STORAGE", "sqlite:///environment.db")
    done("run", "mine.py", "--trials", "1", *SOLO)
    assert Path("environment.db").exists()
    done("run", "mine.py", "--trials", "1", "--epochs", "1", *SOLO, "--storage", "sqlite:///flag.db")
    assert stored(here / "flag.db", "mine")[0].user_attrs["epochs"] == 1
    assert stored(here / "environment.db", "mine")[0].user_attrs["epochs"] == 2


def test_set_fixes_a_dimension_in_every_trial(here: Path) -> None:
    settings = ("--set", "hidden=32", "--set", "weight:left=0.25")
    done("run", "digits", *SHORT, "--name", "fixed", *settings)
    for trial in stored(here / "s.db", "fixed"):
        assert trial.params["hidden"] == 32
        assert trial.user_attrs["task_weights"] == {"left": 0.25, "right": 0.75}


def test_json_without_a_reader_of_results_is_still_one_line(here: Path) -> None:
    out = done("best", "--json").out
    assert out.count("\n") == 1
    assert json.loads(out)["format"] == "mtlsearch/config/1"


def test_fallback_without_data_and_network_is_told_and_only_where_no_study_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for kind in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:9/"])
    store = f"sqlite:///{tmp_path}/s.db"
    options = (*SHORT, "--trials", "1", "--data", tmp_path / "none", "--storage", store)
    named = command("run", "mnist-fashion", *options)
    assert (named.status, named.out) == (1, "")
    assert "cannot be downloaded" in named.err
    assert not (tmp_path / "s.db").exists()
    outcome = done("run", *options)
    assert outcome.out.startswith("digits: trial 0")
    notices = [line for line in outcome.err.splitlines() if line.startswith("mtlsearch: ")]
    assert "MNIST" in notices[0]
    assert "'digits' instead" in notices[1]


def test_the_package_is_the_command_too() -> None:
    asked = ["--help"], ["best", "--storage", "sqlite:///:memory:"]
    for arguments in asked:
        ran, script = (
            subprocess.run([*way, *arguments], capture_output=True, text=True, check=False, timeout=60)
            for way in ([sys.executable, "-m", "mtlsearch"], [str(MTLSEARCH)])
        )
        assert (ran.returncode, ran.stderr) == (script.returncode, script.stderr)
        assert ran.stdout == script.stdout


def test_help_lists_every_command_once_in_a_group_and_cuts_no_line_at_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = done("--help").out
    assert [line for line in text.splitlines() if line.endswith(":")] == [
        "Options:",
        *(f"{title}:" for title in GROUPS),
    ]
    for name, each in main.commands.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {name} ")]
        assert line.split(maxsplit=1)[1] == (each.help or "").splitlines()[0]
