"""Going on from what is known: configs that are asked first, the region of another search, other widths and lengths."""

import json
import math
import shutil
from pathlib import Path

import pytest
from commands import done, refused, stored
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mtlsearch.errors import UsageError
from mtlsearch.study.study_file import load_study
from mtlsearch.tuning.known.varied import variant_name, varied

STUDY = """
import numpy as np
from mtlsearch import Classification, Data, SharedTrunk, Study, choice, integer, real


def source(directory):
    x = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    labels = {"a": (x[:, 0] > 0).astype(np.int64), "b": (x[:, 1] > 0).astype(np.int64)}
    return Data((x, labels), (x, labels), validation=64)


study = Study(
    tasks=[Classification("a", source), Classification("b", source)],
    model=lambda config: SharedTrunk(4, {"a": 2, "b": 2}, hidden=config["hidden"], norm=config["norm"]),
    space={
        "hidden": integer(4, 16, log=True),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "norm": choice("none", "layer"),
    },
    default={"hidden": 8, "learning_rate": 1e-2, "norm": "none"},
    epochs=2,
)
"""
RUN = ("--threads", "1", "--population", "1", "--no-confirm", "--quiet", "--sampler", "random", "--pruner", "none")
AGAIN = ("--seeds", "2", "--top", "1", "--threads", "1", "--quiet", "--resplit", "0")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of `first`, of eight trials."""
    folder = tmp_path_factory.mktemp("known")
    for name in ("first", "second"):
        (folder / f"{name}.py").write_text(STUDY)
    done("run", folder / "first.py", *RUN, "--trials", "8", "--storage", f"sqlite:///{folder}/s.db")
    return folder


@pytest.fixture
def here(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTLSEARCH_STORAGE", "sqlite:///s.db")
    return tmp_path


def test_given_configs_are_asked_right_after_the_default_one_and_once(here: Path) -> None:
    for number in (3, 5):
        done("export", "first", "--trial", number, "-o", f"{number}.json")
    given = ("--from", "3.json", "--from", "5.json")
    done("run", "second.py", *RUN, "--trials", "4", *given)
    before, now = stored(here / "s.db", "first"), stored(here / "s.db", "second")
    for at, number in ((1, 3), (2, 5)):
        assert now[at].params == pytest.approx(before[number].params)
    done("run", "second.py", *RUN, "--trials", "6", *given)
    now = stored(here / "s.db", "second")
    assert len(now) == 6
    assert sum("fixed_params" in trial.system_attrs for trial in now) == 3


def test_a_given_config_outside_the_space_is_refused_before_the_store_is_touched(here: Path) -> None:
    done("export", "first", "--trial", "3", "-o", "x.json")
    config = json.loads((here / "x.json").read_text())
    config["hyperparameters"]["hidden"] = 64
    (here / "x.json").write_text(json.dumps(config))
    line = refused("run", "second.py", *RUN, "--from", "x.json", status=2)
    assert line.startswith("--from x.json: hidden 64 lies outside what is searched (hidden from 4 to 16)")
    assert "another" not in refused("run", "second.py", *RUN, "--from", "missing.json")


def test_a_narrowed_search_stays_in_the_region_of_the_best_and_goes_on_with_it(here: Path) -> None:
    narrow = ("--narrow", "first")
    done("run", "second.py", *RUN, "--trials", "4", *narrow)
    best = sorted(stored(here / "s.db", "first"), key=lambda trial: (-(trial.value or 0), trial.number))[:4]
    trials = stored(here / "s.db", "second")
    space = trials[0].distributions
    rates, rate = [trial.params["learning_rate"] for trial in best], space["learning_rate"]
    assert isinstance(rate, FloatDistribution)
    assert rate.low == pytest.approx(max(1e-4, min(rates) * 10**-0.3))
    assert rate.high == pytest.approx(min(1e-1, max(rates) * 10**0.3))
    norm = space["norm"]
    assert isinstance(norm, CategoricalDistribution)
    assert set(norm.choices) == {trial.params["norm"] for trial in best}
    ratio, widest = space["log_ratio:a"], math.log(100) / math.sqrt(2)
    assert isinstance(ratio, FloatDistribution)
    assert -widest <= ratio.low <= 0 <= ratio.high <= widest  # equal weights stay in it
    assert all(d.to_internal_repr(t.params[n]) >= 0 or n == "log_ratio:a" for t in trials for n, d in space.items())
    done("run", "first.py", *RUN, "--trials", "12")  # the other search goes on
    done("run", "second.py", *RUN, "--trials", "6", *narrow)
    assert stored(here / "s.db", "second")[5].distributions == space
    assert done("confirm", "second.py", *AGAIN, "--no-single", "--json").json["verdict"]["kind"]


def test_a_search_that_cannot_be_narrowed_from_is_refused(here: Path) -> None:
    done("run", "second.py", *RUN, "--trials", "1", "--name", "short")
    line = refused("run", "second.py", *RUN, "--narrow", "short")
    assert line.startswith("--narrow short: it has 1 complete trials, and 2 are needed")
    assert "holds no study 'nobody'" in refused("run", "second.py", *RUN, "--narrow", "nobody")


def test_weights_are_confirmed_at_another_width_and_length_beside_the_answer_of_the_search(here: Path) -> None:
    done("confirm", "first.py", *AGAIN, "--no-single")
    before = done("best", "first", "--json").json
    wide = done("confirm", "first.py", *AGAIN, "--set", "hidden=64", "--set", "epochs=4", "--json").json
    assert wide["hyperparameters"]["hidden"] == 64
    assert wide["training"]["epochs"] == 4
    assert any("at epochs=4,hidden=64, which the search did not have" in line for line in wide["verdict"]["lines"])
    trials = stored(here / "s.db", "first/confirmation/epochs=4,hidden=64")
    assert {trial.params["hidden"] for trial in trials} == {64}
    assert {trial.user_attrs["epochs"] for trial in trials} == {4}
    assert {trial.user_attrs["kind"] for trial in trials} <= {"config", "twin"}
    assert done("best", "first", "--json").json == before
    many = len(trials)
    done("confirm", "first.py", *AGAIN, "--set", "epochs=4", "--set", "hidden=64")
    assert len(stored(here / "s.db", "first/confirmation/epochs=4,hidden=64")) == many


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"depth": "3"}, "it must be one of hidden, learning_rate, norm, epochs"),
        ({"hidden": "wide"}, "it must be a whole number"),
        ({"epochs": "0"}, "it must be 1 or more"),
        ({"norm": "batch"}, "it must be one of none, layer"),
    ],
)
def test_settings_that_cannot_be_are_refused(here: Path, settings: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        varied(load_study("first.py"), settings)


def test_a_setting_may_lie_outside_the_space_and_is_named_in_one_order(here: Path) -> None:
    study, found = varied(load_study("first.py"), {"hidden": "512", "epochs": "30"})
    assert (study.epochs, found, study.default["hidden"]) == (30, {"hidden": 512}, 512)
    assert study.space["hidden"] == IntDistribution(512, 512)
    assert variant_name({"hidden": "512", "epochs": "30"}) == variant_name({"epochs": "30", "hidden": "512"})
