"""`mtlsearch group`: finds two groups that contradict each other, trains nothing twice, and exports what runs."""

import html
import json
import re
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import groups
import optuna
import pytest
from commands import STUDY_FILE, done, refused, stored
from problems import NOWHERE, joint

from mtlsearch.study.loaded import load_data
from mtlsearch.study.study import Study
from mtlsearch.training.trainer import Interrupted
from mtlsearch.tuning.grouping import command as module
from mtlsearch.tuning.options.training import GroupOptions
from mtlsearch.tuning.progress import Progress

FILE = Path(groups.__file__)
SHORT = ("--device", "cpu", "--threads", 1, "--resplit", 0)


def store_in(folder: Path) -> str:
    return f"sqlite:///{folder}/store.db"


def grouped(folder: Path, study: Path = FILE, *more: object) -> Any:
    return done("group", study, "--storage", store_in(folder), *SHORT, *more, "--json")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """The answer on two groups that contradict each other, the folder of its store, and stderr."""
    folder = tmp_path_factory.mktemp("groups")
    outcome = grouped(folder, FILE, "--seeds", 3, "--top", 1)
    return outcome.json, folder, outcome.err


def test_contradicting_groups_are_found(found: tuple[dict[str, Any], Path, str]) -> None:
    answer = found[0]
    assert answer["recommended"] == [["a", "b"], ["c", "d"]]
    assert answer["lines"][0].startswith("train a with b; c with d: it beats one trunk of all tasks by ")
    (best,) = (each for each in answer["groupings"] if each["recommended"])
    assert best["p"] <= 0.05
    assert best["difference"]["low"] > 0


def test_every_grouping_tells_its_cost(found: tuple[dict[str, Any], Path, str]) -> None:
    by = {len(each["groups"]): each["parameters"] for each in found[0]["groupings"]}
    trunk, head = groups.FEATURES + 1, 2
    assert by == {k: k * trunk + 4 * head for k in (1, 2, 4)}
    assert all(each["seconds"] > 0 for each in found[0]["groupings"])


def test_cost_is_told_beforehand_in_one_line(found: tuple[dict[str, Any], Path, str]) -> None:
    (line,) = (line for line in found[2].splitlines() if "grouping 4 tasks" in line)
    assert "each pair and each task alone with 3 seeds, 30 trainings" in line
    assert "trial-epochs" in line
    assert found[2].index(line) < found[2].index("confirmation 1 of")
    assert "all of it takes up to about" in found[2]


def test_choice_looks_at_validation_and_whole_groupings_have_other_seeds(
    found: tuple[dict[str, Any], Path, str],
) -> None:
    trials = stored(found[1] / "store.db", "groups/grouping")
    kinds = ("affinity", "grouping")
    seeds = {kind: {t.user_attrs["seed"] for t in trials if t.user_attrs["kind"] == kind} for kind in kinds}
    assert not seeds["affinity"] & seeds["grouping"]
    assert len(seeds["affinity"]) == len(seeds["grouping"]) == 3
    assert all(("test" in t.user_attrs) == (t.user_attrs["kind"] == "grouping") for t in trials)
    assert found[0]["test_scorings"] == sum("test" in t.user_attrs for t in trials)


def test_the_same_command_shows_the_answer_and_trains_nothing(found: tuple[dict[str, Any], Path, str]) -> None:
    answer, folder, _ = found
    before = len(stored(folder / "store.db", "groups/grouping"))
    again = grouped(folder, FILE, "--seeds", 3, "--top", 1)
    assert again.json == answer
    assert "trainings" not in again.err
    assert len(stored(folder / "store.db", "groups/grouping")) == before


def test_interrupted_group_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(STUDY_FILE)
    options = GroupOptions(
        study=str(tmp_path / "two.py"), storage=store_in(tmp_path), device="cpu", threads=1, resplit=0, seeds=2
    )
    stop = Event()

    class Stops(Progress):
        def confirmed(self, number: int, what: str) -> None:
            if number == 2:
                stop.set()

    with pytest.raises(Interrupted):
        module.group_command(options, Stops(quiet=True), stop)
    first = len([t for t in stored(tmp_path / "store.db", "two/grouping") if t.state.is_finished()])
    found = module.group_command(options, Progress(quiet=True), Event())
    trials = [t for t in stored(tmp_path / "store.db", "two/grouping") if "epochs" in t.user_attrs]
    whole = [(t.user_attrs["seed"], tuple(t.user_attrs["tasks"])) for t in trials]
    assert 0 < first < len(whole)
    assert len(set(whole)) == len(whole) == 2 * 3 + 2 * 3
    assert [each["groups"] for each in found["groupings"]] == [[["a", "b"]], [["a"], ["b"]]]


def test_hyperparameters_are_those_of_the_searched_study(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(STUDY_FILE.replace('choice("fine", "broken")', 'choice("fine")'))
    store = ("--storage", store_in(tmp_path), "--threads", 1)
    done("run", tmp_path / "two.py", *store, "--trials", 4, "--no-confirm", "--quiet")
    best = done("best", tmp_path / "two.py", *store[:2], "--json").json
    found = grouped(tmp_path, tmp_path / "two.py", "--seeds", 2)
    assert found.json["hyperparameters"] == best["hyperparameters"]
    assert found.json["trial"] == best["trial"]
    assert f"with the hyperparameters of trial {best['trial']}" in found.err


def test_exported_studies_run(found: tuple[dict[str, Any], Path, str], tmp_path: Path) -> None:
    folder, store = tmp_path / "parts", store_in(found[1])
    outcome = done("export", "groups", "--storage", store, "--grouping", "-o", folder)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["groups_a_b.py", "groups_c_d.py"]
    assert outcome.out.splitlines() == [f"mtlsearch run {path}" for path in files]
    own = ("--storage", store_in(tmp_path), "--threads", 1, "--trials", 1, "--population", 1, "--no-confirm", "--json")
    config = done("run", files[0], *own).json
    assert set(config["task_weights"]) == {"a", "b"}
    assert config["hyperparameters"] == found[0]["hyperparameters"]
    done("export", "groups", "--storage", store, "--grouping", "-o", folder)  # the same files
    files[1].write_text("mine")
    assert "is another file" in refused("export", "groups", "--storage", store, "--grouping", "-o", folder, status=2)
    assert files[1].read_text() == "mine"


def test_report_shows_the_groupings_and_leaves_a_damaged_answer_out(
    found: tuple[dict[str, Any], Path, str], tmp_path: Path
) -> None:
    store, page = store_in(tmp_path), tmp_path / "report.html"
    shutil.copytree(found[1], tmp_path, dirs_exist_ok=True)
    done("report", "groups", "--storage", store, "-o", page)
    text = re.sub("</?span>", "", html.unescape(page.read_text()))
    section = text[text.index('<section id="grouping">') :]
    section = section[: section.index("</section>")]
    assert all(line in section for line in found[0]["lines"])
    assert '<th scope="row">a with b; c with d *</th>' in section
    assert section.count("<tr>") == 2 + len(found[0]["groupings"]) + len(found[0]["tasks"])
    assert f"mtlsearch group {FILE} --seeds 3 --resplit 0 --top 1 --storage sqlite:///again.db" in text
    assert "mtlsearch run" not in text[text.index('<section id="reproduce">') :]  # nothing was searched
    study = optuna.load_study(study_name="groups", storage=store)
    study.set_user_attr("grouping", {**found[0], "recommended": "all"})
    assert "the grouping is left out" in done("report", "groups", "--storage", store, "-o", page).err
    assert '<section id="grouping">' not in page.read_text()


def test_export_before_a_grouping_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(STUDY_FILE)
    store = ("--storage", store_in(tmp_path))
    done("run", tmp_path / "two.py", *store, "--trials", 1, "--no-confirm", "--quiet", "--threads", 1)
    assert "`mtlsearch group` finds one" in refused("export", "two", *store, "--grouping", "-o", tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("count", [1, 13])
def test_too_few_or_too_many_tasks_are_refused(tmp_path: Path, count: int) -> None:
    tasks = [f"t{i}" for i in range(count)]
    text = STUDY_FILE.replace('{"a": 2, "b": 2}', str(dict.fromkeys(tasks, 2)))
    text = text.replace('{"a": (x[:, 0] > 0).astype(np.int64), "b": (x[:, 1] > 0).astype(np.int64)}', "dict.fromkeys("
                        f"{tasks}, (x[:, 0] > 0).astype(np.int64))")  # fmt: skip
    listed = ", ".join(f'Classification("{task}", source)' for task in tasks)
    (tmp_path / "many.py").write_text(text.replace('Classification("a", source), Classification("b", source)', listed))
    said = refused("group", tmp_path / "many.py", "--storage", store_in(tmp_path), *SHORT, status=2)
    assert ("has one task" if count == 1 else "group takes 12 tasks at most") in said
    assert not (tmp_path / "store.db").exists()


def test_some_tasks_keep_their_part_of_the_score() -> None:
    study: Study = joint(score={"kind": 3.0, "tags": 1.0, "amount": 0.0, "own": 0.0}, at_least={"kind": 0.1})
    some = load_data(study, NOWHERE).only("kind", "amount")
    assert some.study.task_names == ["kind", "amount"]
    assert some.study.scoring.weights(some.study.task_names) == {"kind": 1.0}
    assert some.study.at_least == {"kind": 0.1}
    assert set(some.splits[0].train.labels) == {"kind", "amount"}
    assert study.only("amount", "own").score_name == "mean"


def test_answer_is_stored_with_its_study(found: tuple[dict[str, Any], Path, str]) -> None:
    kept = optuna.load_study(study_name="groups", storage=store_in(found[1])).user_attrs["grouping"]
    assert {"study": "groups", **kept} == found[0]
    assert json.loads(json.dumps(kept)) == kept
