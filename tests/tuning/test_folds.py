"""Cross-validation from the command line: the mean is the score, its spread is stored and shown, all of it verifies."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from commands import SOLO, STUDY_FILE, command, counted, done, refused, stored

import mtlsearch
from mtlsearch import load_model
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.study.loaded import load_data
from mtlsearch.study.study_file import load_study
from mtlsearch.training.folds import search_trainer, whole_state
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.retrain import budgeted, last_result

RUN = ("run", "mine.py", "--epochs", "3", "--set", "kind=fine", "--quiet")
THREE = ("--folds", "3")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    return tmp_path


def searched(*more: str, trials: int = 3) -> Any:
    return done(*RUN, *THREE, *SOLO, "--trials", trials, "--json", *more).json


def test_the_score_is_the_mean_over_folds_and_its_spread_is_shown(here: Path) -> None:
    config = searched()
    folds = config["folds"]
    assert config["training"]["folds"] == len(folds["scores"]) == 3
    assert config["score"]["value"] == pytest.approx(sum(folds["scores"]) / 3)
    for task in ("a", "b"):
        assert config["validation"][task]["accuracy"] == pytest.approx(sum(folds["validation"][task]["accuracy"]) / 3)
    sd = torch.tensor(folds["scores"], dtype=torch.float64).std()
    assert (
        f"mean score {config['score']['value']:.4f} ± {sd:.4f} over 3 folds on validation" in done("best", "mine").out
    )
    first, *_ = counted(stored(here / "mtlsearch.db", "mine"))
    row = json.loads(done("trials", "mine", "--format", "json").out)[0]
    assert [row[f"fold.{n}.score"] for n in (1, 2, 3)] == first.user_attrs["folds"]["scores"]
    assert row["score.sd"] == pytest.approx(torch.tensor(first.user_attrs["folds"]["scores"]).double().std().item())
    assert "score.sd" in done("trials", "mine").out


@pytest.mark.parametrize("population", ["1", "2"])
def test_an_exported_trial_of_folds_verifies(here: Path, population: str) -> None:
    config = searched("--population", population)
    assert config["training"].get("own_batches", False) == (population == "2")  # lanes hold members of all folds
    done("export", "mine", "-o", "best.json")
    result = done("verify", "best.json", "--study", "mine.py", "--json").json
    assert result["agrees"]
    assert result["rule"] == "bitwise"


def test_the_checkpoint_is_trained_on_all_of_train_for_the_best_number_of_epochs(here: Path) -> None:
    config = searched()
    done("export", "mine", "-o", "best.json", "--checkpoint", "best.safetensors")
    epochs = config["training"]["best_epoch"] + 1
    assert config["parameters"] == {"trained_on": "train and validation", "epochs": epochs}
    study = budgeted(load_study("mine.py"), config)
    loaded = load_data(study, here)
    assert loaded.whole.splits[0].examples == 256
    model = load_model("best.safetensors", study="mine.py")
    given = mtlsearch.Config(config["hyperparameters"], config["task_weights"])
    state = whole_state(Training(loaded, 0), given, epochs, 0, 0)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.model.state_dict().items())
    trained = done("train", "best.json", "--study", "mine.py", "--json", "--quiet", "-o", "again.safetensors").json
    assert trained["validation"] == config["validation"]
    assert trained["folds"] == config["folds"]
    again = load_model("again.safetensors", study="mine.py").model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.items())


def test_the_confirmed_answer_of_folds_has_such_parameters_too(here: Path) -> None:
    options = ("--trials", 3, "--threads", 1, "--population", 1, "--seeds", 2, "--top", 1)
    config = done(*RUN, *THREE, *options, "--json").json
    assert "folds" not in config
    assert config["parameters"]["epochs"] == config["training"]["best_epoch"] + 1
    done("export", "mine", "-o", "best.json", "--checkpoint", "best.safetensors")
    done("export", "mine", "--search", "--checkpoint", "searched.safetensors")
    assert done("verify", "best.json", "--study", "mine.py", "--json").json["rule"] == "bitwise"
    load_model("best.safetensors", study="mine.py")
    alone = [t for t in stored(here / "mtlsearch.db", "mine/alone/a") if t.state.is_finished()]
    assert alone
    assert all(len(trial.user_attrs["folds"]["scores"]) == 3 for trial in alone if trial.values)


def test_a_resumed_search_keeps_its_folds_and_refuses_others(here: Path) -> None:
    searched(trials=2)
    assert done(*RUN, *SOLO, "--trials", 3, "--json").json["training"]["folds"] == 3
    told = refused(*RUN, *SOLO, "--trials", 4, "--folds", "4")
    assert told == (
        "study 'mine' is in the store with another definition (folds: 3, now 4): give this one a name of its own"
        " with --name"
    )


def test_folds_on_a_study_that_was_begun_without_them_are_refused(here: Path) -> None:
    done(*RUN, *SOLO, "--trials", 1)
    assert "with another definition (folds: None, now 3)" in refused(*RUN, *THREE, *SOLO, "--trials", 2)


def test_what_becomes_of_the_data_is_told_before_the_search(here: Path) -> None:
    given = STUDY_FILE.replace("validation=64", "validation=(x, labels)")
    (here / "own.py").write_text(given)
    own = done("run", "own.py", *THREE, *SOLO, "--trials", 1, "--epochs", 1).err
    assert "mtlsearch: a, b: 3 folds of 512 examples, its own validation part among them; each trial trains 3" in own
    drawn = done(*RUN[:-1], *THREE, *SOLO, "--trials", 1).err
    assert "mtlsearch: a, b: 3 folds of 256 examples; each trial trains 3 times" in drawn
    assert "training trial 0 once more, on train and validation together" in drawn


def test_more_folds_than_examples_of_a_class_are_refused_in_one_line(here: Path) -> None:
    (here / "few.py").write_text(STUDY_FILE.replace("(x[:, 0] > 0)", "(x[:, 0] > 2.2)"))
    told = refused("run", "few.py", "--folds", "20", *SOLO, "--trials", 1)
    assert told.startswith("20 folds need 20 examples of each class or more, but class '1' of task 'a' has ")
    assert command("run", "few.py", "--folds", "1").status == 2


def test_parameters_that_are_not_trained_yet_are_told(here: Path) -> None:
    searched()
    with open_storage("sqlite:///mtlsearch.db", create=False) as storage:
        record = find_record(storage, "mine", here / "mtlsearch.artifacts")
        record.parameters(record.best()).unlink()
    told = refused("export", "mine", "-o", "best.json", "--checkpoint", "best.safetensors")
    assert "they are trained on all of train when its search or confirmation has ended; give the same command" in told
    done(*RUN, *SOLO, "--trials", 3)
    done("export", "mine", "-o", "best.json", "--checkpoint", "best.safetensors")


def test_an_objective_of_a_study_with_folds_gives_the_mean(here: Path) -> None:
    study = replace(load_study("mine.py"), folds=3)
    own = optuna.create_study(direction="maximize")
    own.enqueue_trial(study.search_space.params(study.default_config()))
    own.optimize(mtlsearch.objective(study), n_trials=1)
    trainer = search_trainer(SoloTrainer, Training(load_data(study, here)))
    assert own.best_value == last_result(trainer, study.default_config(), 0, None).best_score
