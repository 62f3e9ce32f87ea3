"""Each ask is a function of seed, number and history: runs at once repeat nothing, and a resumed run goes on alike."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from commands import SOLO, STUDY_FILE, counted, done, stored
from crash_harness import POPULATION, Book, Run
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from postgres_server import PostgresServer

from mtlsearch.store.database.opening import open_storage
from mtlsearch.training.seeds import derived_seed
from mtlsearch.tuning.choices import SeededAsks, make_sampler, seeded_asks

SPACE: dict[str, BaseDistribution] = {
    "hidden": IntDistribution(16, 128, log=True),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer": CategoricalDistribution(("adam", "rmsprop", "sgd")),
}
SAMPLERS = ["tpe", "random", "gp", "optuna.samplers.NSGAIISampler", "optuna.samplers.TPESampler"]
Suggested = tuple[Any, ...]


def asked(study: optuna.Study, total: int = 10**6) -> tuple[optuna.Trial, Suggested] | None:
    trial = study._storage.ask(study, total)  # type: ignore[attr-defined]
    if trial is None:
        return None
    return trial, tuple(trial._suggest(name, distribution) for name, distribution in SPACE.items())


def score(suggested: Suggested) -> float:
    hidden, rate, optimizer = suggested
    return float(-abs(np.log(rate / 1e-2)) - abs(hidden - 64) / 64 + (optimizer == "adam"))


def opened(stack: ExitStack, url: str, sampler: BaseSampler) -> optuna.Study:
    storage = stack.enter_context(open_storage(url, create=True))
    study = optuna.create_study(
        storage=storage, study_name="s", direction="maximize", load_if_exists=True, sampler=sampler
    )
    storage.refresh(study._study_id)
    return study


def alone(url: str, sampler: str, trials: int, at_once: int = 1) -> Iterator[Suggested]:
    """The suggestions of one run, which is stopped and resumed after every `at_once` trials."""
    for begun in range(0, trials, at_once):
        with ExitStack() as stack:
            study = opened(stack, url, seeded_asks(sampler, 3))
            for _ in range(begun, min(begun + at_once, trials)):
                trial, suggested = asked(study) or pytest.fail("nothing was asked")
                study.tell(trial, score(suggested))
                yield suggested


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_that_is_stopped_between_trials_asks_what_it_asks_at_one_go(tmp_path: Path, sampler: str) -> None:
    whole, stopped = (list(alone(f"sqlite:///{tmp_path}/{at_once}.db", sampler, 14, at_once)) for at_once in (14, 5))
    assert whole == stopped
    assert len(set(whole)) == 14


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_ask_is_answered_as_by_a_new_sampler_with_the_seed_of_that_ask(tmp_path: Path, sampler: str) -> None:
    """Whatever a kept sampler keeps of the history and of its generators changes no answer."""

    class Anew(SeededAsks):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            self._sampler = make_sampler(sampler, derived_seed(3, "ask", trial.number))
            self._sampler.before_trial(study, trial)

    found = []
    for name, made in (("kept", seeded_asks(sampler, 3)), ("anew", Anew(RandomSampler, 3))):
        with ExitStack() as stack:
            study = opened(stack, f"sqlite:///{tmp_path}/{name}.db", made)
            found.append([])
            for _ in range(13):
                trial, suggested = asked(study) or pytest.fail("nothing was asked")
                study.tell(trial, score(suggested))
                found[-1].append(suggested)
    assert found[0] == found[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("runs", [2, 4])
def test_runs_at_once_repeat_no_suggestion(tmp_path: Path, sampler: str, runs: int) -> None:
    # After its random start the Gaussian process may well ask for its optimum again, whose score is noisy.
    suggestions, total = [], 10 if sampler == "gp" else 24
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/store.db"
        studies = [opened(stack, url, seeded_asks(sampler, 0)) for _ in range(runs)]
        while True:
            turn = [(study, found) for study in studies if (found := asked(study, total))]
            if not turn:
                break
            for study, (trial, suggested) in turn:
                suggestions.append(suggested)
                study.tell(trial, score(suggested))
            for study in studies:
                study._storage.refresh(study._study_id)  # type: ignore[attr-defined]
    assert len(suggestions) == len(set(suggestions)) == total


class OwnGenerator(RandomSampler):
    """A sampler whose randomness Optuna does not know."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        del self._rng
        self.own = np.random.default_rng(seed)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: BaseDistribution) -> Any:
        low, high = getattr(distribution, "low", 0), getattr(distribution, "high", 2)
        value = self.own.uniform(low, high)
        return distribution.to_external_repr(value if isinstance(distribution, FloatDistribution) else int(value))


def test_sampler_with_a_generator_of_its_own_is_seeded_by_its_first_trial(tmp_path: Path) -> None:
    def suggestions(url: str, trials: int) -> list[Suggested]:
        with ExitStack() as stack:
            study = opened(stack, url, SeededAsks(OwnGenerator, 0))
            return [
                suggested for _, suggested in (asked(study) or pytest.fail("nothing was asked") for _ in range(trials))
            ]

    first = suggestions(f"sqlite:///{tmp_path}/one.db", 4)
    assert suggestions(f"sqlite:///{tmp_path}/two.db", 4) == first
    assert not set(suggestions(f"sqlite:///{tmp_path}/one.db", 4)) & set(first)


# Whole runs.


def params(trials: list[FrozenTrial]) -> list[tuple[tuple[str, Any], ...]]:
    return [tuple(sorted(trial.params.items())) for trial in trials]


def runs_at_once(url: str, folder: Path, runs: int, total: int) -> None:
    book, held = Book(url, total), folder / "go"
    started = [Run(url, total, folder, epochs=1, held=held) for _ in range(runs)]

    def all_have_asked() -> bool:
        return len({t.user_attrs["owner"]["pid"] for t in book.trials() if "owner" in t.user_attrs}) == runs

    started[0].until(all_have_asked, every=0.2)
    held.touch()
    assert [run.wait() for run in started] == [0] * runs, "\n".join(run.said() for run in started)
    trials = book.trials()
    assert len(trials) == total
    assert len(set(params(trials))) == total, "a config was trained twice"


@pytest.mark.slow
def test_four_runs_at_once_on_sqlite_train_no_config_twice(tmp_path: Path) -> None:
    runs_at_once(f"sqlite:///{tmp_path}/store.db", tmp_path, 4, 24)


@pytest.mark.slow
def test_two_runs_at_once_on_postgres_train_no_config_twice(server: PostgresServer, tmp_path: Path) -> None:
    runs_at_once(server.url(), tmp_path, 2, 24)


def test_run_interrupted_before_its_first_counted_trial_repeats_no_config(tmp_path: Path) -> None:
    book = Book(f"sqlite:///{tmp_path}/store.db", 8)
    first = Run(book.url, book.total, tmp_path, epochs=1, held=tmp_path / "go")
    first.until(lambda: sum("task_weights" in t.user_attrs for t in book.trials()) == POPULATION, every=0.1)
    first.signal(signal.SIGINT)
    time.sleep(0.2)
    (tmp_path / "go").touch()
    assert first.wait() == 130, first.said()
    assert first.announced() == {}
    again = Run(book.url, book.total, tmp_path, epochs=1)
    assert again.wait() == 0, again.said()
    ended = counted(book.trials())
    assert len(set(params(ended))) == len(ended) == 8


def test_two_runs_that_begin_a_study_at_once_enqueue_its_default_once(tmp_path: Path) -> None:
    from mtlsearch.store.record import Record
    from mtlsearch.study.study_file import load_study
    from mtlsearch.tuning.loop import enqueue_default

    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/store.db"
        study = load_study("digits")
        both = [opened(stack, url, RandomSampler()) for _ in range(2)]
        for each in both:
            enqueue_default(Record(each._storage, each, {}, tmp_path), study)  # type: ignore[arg-type]
        both[0]._storage.refresh(both[0]._study_id)  # type: ignore[attr-defined]
        assert [t.state for t in both[0].trials] == [TrialState.WAITING]


def test_search_in_steps_trains_what_a_search_at_one_go_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STUDY_FILE)
    options = ("run", "mine.py", *SOLO, "--quiet", "--set", "kind=fine", "--storage")
    done(*options, "sqlite:///one.db", "--trials", "13")
    for total in (1, 2, 5, 11, 12, 13):  # TPE draws at random before it has ten trials
        done(*options, "sqlite:///steps.db", "--trials", str(total))
    one, steps = (stored(tmp_path / f"{name}.db", "mine") for name in ("one", "steps"))
    assert params(one) == params(steps)
    assert [t.value for t in one] == [t.value for t in steps]
