"""Bad input: one line that says the rule and what was got, the exit status, and nothing created or half-written."""

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SHORT, SOLO, STUDY_FILE, command, contents, done, misused, refused, stored
from PIL import Image
from safetensors.torch import save_file

RUN = ("run", "digits", *SHORT)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, an exported config and its parameters, which no test changes."""
    folder = tmp_path_factory.mktemp("searched")
    store = ("--storage", f"sqlite:///{folder}/mtlsearch.db")
    done(*RUN, "--trials", "1", "--quiet", *store)
    done("export", "digits", *store, "-o", folder / "best.json", "--checkpoint", folder / "best.safetensors")
    return folder


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def here(searched: Path, empty: Path) -> Path:
    """A copy of the searched folder as the working directory."""
    shutil.copytree(searched, empty, dirs_exist_ok=True)
    return empty


def refused_and_nothing_changed(folder: Path, *arguments: object, status: int = 1) -> str:
    before = contents(folder)
    line = refused(*arguments, status=status)
    assert contents(folder) == before
    return line


# Studies.


def test_study_that_does_not_exist_names_the_shipped_ones(empty: Path) -> None:
    line = refused_and_nothing_changed(empty, "run", "nonsense", *SHORT)
    assert all(name in line for name in ("'nonsense'", "digits", "mnist-fashion", "mnist-fashion-separate"))
    assert "nonsense" in refused_and_nothing_changed(empty, "train", "nonsense")


def test_study_file_that_is_not_there_is_named(empty: Path) -> None:
    assert "no study file ./no.py" in refused_and_nothing_changed(empty, "run", "./no.py", *SHORT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("x = 1", "must define `study = Study(...)`, but got nothing of that name"),
        ("study = 3", "must define `study = Study(...)`, but got a int"),
        (STUDY_FILE.replace('"b", source', '"a", source'), "'a' is there twice"),
        (STUDY_FILE.replace("> 0", "> 99"), "two classes or more"),
        (STUDY_FILE.replace("astype(np.int64)", "astype(np.int64) * 10**12"), "but got 1000000000000: number the"),
        (STUDY_FILE.replace("size=(256, 4)", "size=(0, 4)"), "it is empty"),
        (STUDY_FILE.replace("    labels =", "    x[3] = np.nan\n    labels ="), "NaN"),
        (
            STUDY_FILE.replace("Data((x, labels)", 'Data((x, {**labels, "a": labels["a"] - 7 * (x[:, 2] > 1)})'),
            "-7",
        ),
        (STUDY_FILE.replace('"b": 2}', '"b": 3}'), "must have a column for each of its 2 classes (0, 1), but has 3"),
    ],
)
def test_broken_study_file_is_told_in_one_line(empty: Path, text: str, said: str) -> None:
    Path("mine.py").write_text(text)
    assert said in refused_and_nothing_changed(empty, "run", "mine.py", "--trials", "1", *SOLO)


# Options.


@pytest.mark.parametrize("trials", ["0", "-1", "abc"])
def test_total_of_trials_must_be_a_positive_number(empty: Path, trials: str) -> None:
    assert trials in misused("run", "digits", "--trials", trials)
    assert contents(empty) == {}


@pytest.mark.parametrize(
    ("option", "value"),
    [("--epochs", "0"), ("--timeout", "0"), ("--seed", "-1"), ("--threads", "0"), ("--precision", "fp8")],
)
def test_option_outside_its_range_is_wrong_usage(empty: Path, option: str, value: str) -> None:
    assert option in misused("run", "digits", option, value)
    assert contents(empty) == {}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--sampler", "foo", "tpe, random, gp"),
        ("--sampler", "optuna.samplers.Foo", "cannot be imported"),
        ("--sampler", "nothing.of.that.name", "cannot be imported"),
        ("--sampler", "optuna.pruners.NopPruner", "is no BaseSampler"),
        ("--sampler", "optuna.samplers.GridSampler", "without arguments"),
        ("--pruner", "foo", "median, hyperband, halving, none"),
        ("--pruner", "optuna.samplers.TPESampler", "is no BasePruner"),
        ("--pruner", "optuna.pruners.PercentilePruner", "without arguments"),
        ("--score", "median", "must name mean, min, log_error, pareto or tasks (left, right)"),
        ("--set", "width=3", "the space has no 'width'; it has hidden"),
        ("--set", "hidden=9999", "must lie in [16, 128]"),
        ("--set", "hidden=wide", "must be a whole number"),
        ("--set", "learning_rate=nan", "must lie in"),
        ("--set", "norm=group", "one of none, batch, layer"),
        ("--set", "weight:left=2", "must lie in [0.0, 1.0]"),
        ("--score", "left=0", "must give a task a weight above 0"),
        ("--score", "left=-1", "must be 0 or more, but 'left' has -1"),
        ("--at-least", "middle=0.9", "the study has no task 'middle'; it has left, right"),
        ("--at-least", "left=high", "it must be a number"),
        ("--device", "cuda:77", "--device cuda:77: this machine has"),
        ("--device", "cpu:3", "auto, cpu, cuda or cuda:N"),
        ("--device", "tpu", "auto, cpu, cuda or cuda:N"),
        ("--device", "meta", "auto, cpu, cuda or cuda:N"),
        ("--device", "nonsense", "auto, cpu, cuda or cuda:N"),
    ],
)
def test_value_that_an_option_cannot_take_is_told_with_those_it_can(
    empty: Path, option: str, value: str, said: str
) -> None:
    assert said in refused_and_nothing_changed(empty, *RUN, option, value, status=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it needs a machine without a GPU")
@pytest.mark.parametrize("arguments", [RUN, ("train", "digits"), ("verify", "best.json")])
def test_absent_gpu_is_told_by_every_command_that_trains(here: Path, arguments: tuple[str, ...]) -> None:
    line = refused_and_nothing_changed(here, *arguments, "--device", "cuda", status=2)
    assert "this machine has 0 CUDA devices; use --device cpu or auto" in line


def test_set_without_a_value_is_wrong_usage(empty: Path) -> None:
    assert "NAME=VALUE" in misused("run", "digits", "--set", "hidden")


# Stores.


@pytest.mark.parametrize("arguments", [RUN, ("best",), ("export",), ("trials",), ("dashboard",)])
@pytest.mark.parametrize("path", ["foo.db", "./folder/foo.db"])
def test_path_in_place_of_a_url_is_answered_with_the_url(empty: Path, arguments: tuple[str, ...], path: str) -> None:
    line = refused_and_nothing_changed(empty, *arguments, "--storage", path)
    assert line.endswith(f"write sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/name", "cannot be kept in 'mysql'"),
        ("nonsense://host/name", "cannot be kept in 'nonsense'"),
        ("postgresql+nonsense://host/name", "unknown database driver 'postgresql+nonsense'"),
        ("postgresql+psycopg2://host/name", "pip install 'mtlsearch[postgres]'"),
        ("sqlite://", "write sqlite:///FILE"),
        ("sqlite:///no/such/folder/s.db", "mkdir -p no/such/folder"),
        ("sqlite:////proc/s.db", "/proc/s.db"),
    ],
)
@pytest.mark.parametrize("arguments", [RUN, ("best",)])
def test_store_that_cannot_be_opened_is_told(empty: Path, arguments: tuple[str, ...], url: str, said: str) -> None:
    line = refused_and_nothing_changed(empty, *arguments, "--storage", url)
    assert said in line or (arguments == ("best",) and "there is no such file" in line)


def test_store_below_a_file_cannot_be_made(empty: Path) -> None:
    Path("file").write_text("text")
    assert "file/s.db" in refused_and_nothing_changed(empty, *RUN, "--storage", "sqlite:///file/s.db")


def test_artifact_folder_that_cannot_be_made_is_told_before_anything_is_trained(empty: Path) -> None:
    Path("file").write_text("text")
    line = refused_and_nothing_changed(empty, *RUN, "--artifacts", "file/below")
    assert "file/below must be writable" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("best",),
        ("best", "digits"),
        ("export",),
        ("export", "-o", "best.json", "--checkpoint", "best.safetensors"),
        ("trials",),
        ("trials", "-o", "t.csv", "--format", "csv"),
        ("dashboard",),
        ("confirm",),
    ],
)
def test_store_that_does_not_exist_is_not_made(empty: Path, arguments: tuple[str, ...]) -> None:
    assert "there is no such file" in refused_and_nothing_changed(empty, *arguments)


@pytest.mark.parametrize(
    "arguments", [("best",), ("export", "-o", "new.json"), ("trials",), ("confirm",)], ids=lambda a: a[0]
)
def test_study_that_the_store_does_not_hold_is_named_with_those_it_does(here: Path, arguments: tuple[str, ...]) -> None:
    line = refused_and_nothing_changed(here, *arguments, "--name", "other")
    assert "no study 'other'; it holds: digits" in line


@pytest.mark.parametrize("arguments", [RUN, ("best",), ("export",), ("trials",), ("dashboard",)])
def test_store_of_another_program_is_left_as_it_is(empty: Path, arguments: tuple[str, ...]) -> None:
    connection = sqlite3.connect("mtlsearch.db")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()
    assert "another program" in refused_and_nothing_changed(empty, *arguments)


@pytest.mark.parametrize("arguments", [RUN, ("best",)])
def test_file_that_is_no_database_is_left_as_it_is(empty: Path, arguments: tuple[str, ...]) -> None:
    Path("mtlsearch.db").write_text("a letter")
    assert "not a SQLite database" in refused_and_nothing_changed(empty, *arguments)


def test_optuna_study_of_another_program_is_left_as_it_is(empty: Path) -> None:
    import optuna

    storage = optuna.storages.RDBStorage("sqlite:///mtlsearch.db")
    optuna.create_study(storage=storage, study_name="digits").add_trial(optuna.create_trial(value=1.0))
    storage.remove_session()
    storage.engine.dispose()
    before = stored(empty / "mtlsearch.db")
    assert "not written by mtlsearch" in refused(*RUN)
    assert "not written by mtlsearch" in refused("best", "digits")
    assert stored(empty / "mtlsearch.db") == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--epochs", "3"), "epochs: 2, now 3"),
        (("--score", "min"), "score: mean, now min"),
        (("--set", "norm=batch"), "space norm"),
    ],
)
def test_changed_study_of_the_same_name_is_told_with_what_differs(
    here: Path, changes: tuple[str, ...], said: str
) -> None:
    before = stored(here / "mtlsearch.db")
    line = refused(*RUN, *changes)
    assert said in line
    assert "--name" in line
    assert stored(here / "mtlsearch.db") == before


def test_changed_model_data_or_split_of_a_study_file_is_told(empty: Path) -> None:
    arguments = ("run", "mine.py", "--trials", "1", *SOLO)
    Path("mine.py").write_text(STUDY_FILE)
    done(*arguments)
    for old, new, said in (
        ("hidden=8", "hidden=9", "model "),
        ("default_rng(0)", "default_rng(1)", "data a"),
        ("batch_size=64", "batch_size=64, split_seed=1", "split split_seed: 0, now 1"),
        ("batch_size=64", "batch_size=32", "batch size: 64, now 32"),
        ('"fine", "broken"', '"fine"', "space kind"),
    ):
        Path("mine.py").write_text(STUDY_FILE.replace(old, new))
        assert said in refused(*arguments)
    Path("mine.py").write_text("# a comment is no change\n" + STUDY_FILE)
    assert "nothing is left to do" in done(*arguments).err


def test_another_seed_on_resume_is_refused_and_the_same_is_not(here: Path) -> None:
    assert "begun with --seed 0, but got --seed 1" in refused(*RUN, "--seed", "1")
    done(*RUN, "--trials", "1", "--seed", "0")


# Files that are written.


def test_output_that_cannot_be_written_is_told_before_any_work(here: Path) -> None:
    for arguments in (
        ("export", "-o", "no/best.json"),
        ("export", "--checkpoint", "no/best.safetensors"),
        ("export", "--checkpoint", "new.safetensors", "-o", "no/best.json"),
        ("export", "-o", "new.json", "--checkpoint", "no/best.safetensors"),
        ("export", "-o", here),
        ("train", "digits", "-o", "no/model.safetensors"),
    ):
        assert "cannot be written" in refused_and_nothing_changed(here, *arguments)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_trials_into_a_folder_that_is_not_there_are_refused(here: Path, kind: str) -> None:
    line = refused_and_nothing_changed(here, "trials", "digits", "--format", kind, "-o", "no/t")
    assert "no/t cannot be written" in line


def test_trials_as_parquet_need_a_file_and_as_a_table_take_none(here: Path) -> None:
    assert "name it with -o" in refused("trials", "digits", "--format", "parquet", status=2)
    assert "name csv, json or parquet" in refused("trials", "digits", "-o", "t.txt", status=2)
    assert not Path("t.txt").exists()


# Exported configs.


def changed(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda config: json.dumps({**config, **changes})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda config: json.dumps(config)[:300], "not whole JSON"),
        (lambda config: "", "is empty"),
        (lambda config: "[]", "but got 'list'"),
        (lambda config: "[" * 100_000, "not whole JSON"),
        (changed(format="other/1"), "but got 'other/1'"),
        (changed(task_weights={"left": 0.5, "right": 0.4}), "must sum to 1, but sum to 0.9"),
        (changed(task_weights={"left": 1.5, "right": -0.5}), "task_weights"),
        (
            changed(task_weights={"left": 0.5, "up": 0.5}),
            "for the tasks left, up, but the study has left, right",
        ),
        (changed(hyperparameters={"hidden": 32}), "no hyperparameter 'dropout'"),
        (changed(training={}), "training"),
        (changed(validation={"left": {"accuracy": "high"}}), "validation"),
    ],
    ids=[
        "truncated",
        "empty",
        "list",
        "deep",
        "other format",
        "sum",
        "negative",
        "other tasks",
        "hyperparameter",
        "no training",
        "no number",
    ],
)
@pytest.mark.parametrize("verb", ["train", "verify"])
def test_config_that_cannot_be_used_is_told(
    here: Path, verb: str, spoil: Callable[[dict[str, Any]], str], said: str
) -> None:
    Path("bad.json").write_text(spoil(json.loads(Path("best.json").read_text())))
    assert said in refused_and_nothing_changed(here, verb, "bad.json", "--threads", "1")


def test_config_that_is_not_there_or_no_text_is_told(empty: Path) -> None:
    assert "none.json cannot be read" in refused("verify", "none.json")
    Path("bytes.json").write_bytes(bytes(range(128, 256)))
    assert "it is not text" in refused("verify", "bytes.json")


def test_config_of_a_study_file_needs_it_named_before_its_code_runs(empty: Path) -> None:
    Path("mine.py").write_text(STUDY_FILE)
    done("run", "mine.py", "--trials", "1", *SOLO)
    done("export", "-o", "best.json", "--checkpoint", "best.safetensors")
    Path("mine.py").write_text("raise AssertionError('this code must not run')")
    np.save("x.npy", np.zeros((1, 4), np.float32))
    for arguments in (
        ("train", "best.json"),
        ("verify", "best.json"),
        ("predict", "best.safetensors", "x.npy"),
    ):
        assert "add --study PATH" in refused(*arguments)


def test_config_with_a_study_of_other_tasks_is_told(here: Path) -> None:
    Path("mine.py").write_text(STUDY_FILE)
    line = refused("verify", "best.json", "--study", "mine.py")
    assert "for the tasks left, right, but the study has a, b" in line


# Checkpoints and inputs.


def test_checkpoint_that_is_missing_or_no_safetensors_is_told(here: Path) -> None:
    Path("random.safetensors").write_bytes(np.random.default_rng(0).bytes(400))
    Path("cut.safetensors").write_bytes(Path("best.safetensors").read_bytes()[:9000])
    Path("empty.safetensors").write_bytes(b"")
    Path("pickle.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.")
    np.save("x.npy", np.zeros((12, 12), np.uint8))
    assert "no file of parameters none" in refused("predict", "none", "x.npy")
    for name in ("random", "cut", "empty", "pickle"):
        line = refused_and_nothing_changed(here, "predict", f"{name}.safetensors", "x.npy")
        assert f"{name}.safetensors is not a whole safetensors file" in line


def test_checkpoint_of_another_model_is_told(here: Path) -> None:
    from safetensors import safe_open

    np.save("x.npy", np.zeros((12, 12), np.uint8))
    with safe_open("best.safetensors", "pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    save_file({"weight": torch.zeros(3)}, "other.safetensors", metadata)
    assert "do not fit the study's model" in refused("predict", "other.safetensors", "x.npy")
    save_file(state, "bare.safetensors")
    assert "holds no mtlsearch config" in refused("predict", "bare.safetensors", "x.npy")
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    save_file({**state, name: state[name] * torch.nan}, "nan.safetensors", metadata)
    assert "hold NaN or infinity" in refused("predict", "nan.safetensors", "x.npy")


def test_input_of_the_wrong_size_or_kind_is_told(here: Path) -> None:
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("wide.png")
    np.save("wide.npy", np.zeros((2, 13, 12), np.uint8))
    np.save("none.npy", np.zeros((0, 12, 12), np.uint8))
    np.save("text.npy", np.full((12, 12), "a"))
    np.save("object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save("nan.npy", np.full((12, 12), np.nan))
    np.save("scaled.npy", np.full((12, 12), 0.5))
    np.save("bright.npy", np.full((12, 12), 300.0))
    Path("cut.npy").write_bytes(Path("wide.npy").read_bytes()[:140])
    Path("cut.png").write_bytes(Path("wide.png").read_bytes()[:40])
    Path("short.csv").write_text("1,2,3\n")
    Path("words.csv").write_text(f"{','.join('1' * 144)}\n{','.join('x' * 144)}\n")
    Path("empty.csv").write_text("")
    Path("letter.txt").write_text("Dear reader")
    for name, said in {
        "wide.png": "inputs of the shape (12, 12), but got (28, 28)",
        "wide.npy": "inputs of the shape (12, 12), but got (2, 13, 12)",
        "none.npy": "inputs of the shape (12, 12), but got (0, 12, 12)",
        "text.npy": "must be numbers",
        "object.npy": "no whole .npy array",
        "nan.npy": "must be finite",
        "scaled.npy": "must be whole numbers",
        "bright.npy": "must lie in 0 … 255",
        "cut.npy": "no whole .npy array",
        "cut.png": "no readable picture",
        "short.csv": "takes 144 numbers a line, but got 3",
        "words.csv": "words.csv, line 2: every cell must be a number",
        "empty.csv": "takes 144 numbers a line, but got 0",
        "letter.txt": "no readable picture",
        "absent.png": "no input file absent.png",
    }.items():
        assert said in refused("predict", "best.safetensors", name)


# Data.


def test_data_archive_cut_short_is_named_with_what_to_delete(empty: Path) -> None:
    raw = empty / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    archive = raw / "train-images-idx3-ubyte.gz"
    archive.write_bytes(gzip.compress(b"cut short")[:-4])
    for study in (("run", "mnist-fashion"), ("run",), ("train", "mnist-fashion")):
        line = refused_and_nothing_changed(empty, *study, "--threads", "1", "--data", "data")
        assert "train-images-idx3-ubyte.gz is cut short or damaged" in line
        assert "delete it" in line
    archive.unlink()
    (raw / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 234, 96, 0, 0, 0, 28, 0, 0, 0, 28, 7]))
    line = refused_and_nothing_changed(empty, "run", "mnist-fashion", *SHORT, "--data", "data")
    assert "train-images-idx3-ubyte is cut short or damaged: delete it" in line


def test_data_directory_below_a_file_cannot_be_written(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    Path("file").write_text("text")
    line = refused_and_nothing_changed(empty, "run", "mnist-fashion", *SHORT, "--data", "file/data")
    assert "file/data" in line


# Training.


def test_model_that_gives_nan_fails_its_trial_and_the_search_goes_on(empty: Path) -> None:
    Path("mine.py").write_text(STUDY_FILE)
    outcome = command("run", "mine.py", "--trials", "8", "--sampler", "random", "--no-confirm", "--threads", "1")
    assert outcome.status == 0
    trials = stored(empty / "mtlsearch.db", "mine")
    broken = [t for t in trials if t.params["kind"] == "broken"]
    assert len(trials) == 8
    assert 0 < len(broken) < 8
    for trial in trials:
        failed = trial.state.name == "FAIL"
        assert failed == (trial in broken)
        assert ("reason" in trial.user_attrs) == failed
    for trial in broken:
        assert trial.user_attrs["reason"] == "the loss of a, b was not finite in epoch 0, step 0"
    assert outcome.err.count("the loss of a, b was not finite in epoch 0, step 0") == len(broken)


def test_study_of_which_every_trial_fails_says_that_none_is_complete(empty: Path) -> None:
    Path("mine.py").write_text(STUDY_FILE)
    outcome = command("run", "mine.py", "--trials", "2", *SOLO, "--set", "kind=broken", "--quiet")
    assert (outcome.status, outcome.out) == (1, "")
    assert "no complete trial" in outcome.err.splitlines()[-1]
    assert len(stored(empty / "mtlsearch.db", "mine")) == 2
