"""Confirmation: the known weights are found and called tuned; what is trained again, once, resumably; what it gives."""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import known_weights as known
import optuna
import optuna_dashboard
import pytest
import torch
from click.testing import CliRunner, Result
from optuna.trial import FrozenTrial, TrialState
from sessions import session
from torch import Tensor, nn

from mtlsearch import Config, Data, Study, real
from mtlsearch.cli.main import main
from mtlsearch.errors import ModelError, StoreError, StudyError
from mtlsearch.evidence.answer import best_answer, candidates, expected_seconds, outdated, twin
from mtlsearch.evidence.trainings import Confirmation, ended, find_confirmation, group_of, open_confirmation
from mtlsearch.report.dashboard_figures import figures_of
from mtlsearch.report.reading import read_report
from mtlsearch.store.config_file import check_config
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record, open_record
from mtlsearch.store.model_file import read_model
from mtlsearch.store.record import Record
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.study.study_file import load_study
from mtlsearch.training.population import maker as makers
from mtlsearch.training.population.cost import Plan
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SoloTrainer, evaluate_state
from mtlsearch.training.trainer import Interrupted, Training
from mtlsearch.tuning.confirm import confirm
from mtlsearch.tuning.confirming.plans import fresh_seeds, make_plan
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.options.groups import AgainOptions
from mtlsearch.tuning.options.training import ConfirmOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.single_task import alone
from mtlsearch.tuning.studies import as_recorded

FILE = Path(known.__file__)
NOWHERE = Path("nowhere")
QUICK = AgainOptions(seeds=2, top=2)


def trained(storage: Any, folder: Path, study: Study, trials: int, name: str = "known") -> tuple[Record, Training]:
    """A record with a finished search by random sampling, and its training."""
    loaded = load_data(study, NOWHERE)
    record = open_record(storage, name, describe(loaded), 0, folder)
    record.study.sampler = optuna.samplers.RandomSampler(seed=0)
    training = Training(loaded, 0)
    enqueue_default(record, study)
    search(session(record, training), trials)
    return record, training


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Any]:
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as opened:
        yield opened


@pytest.fixture
def searched(storage: Any, tmp_path: Path) -> tuple[Record, Training]:
    return trained(storage, tmp_path, known.study, trials=6)


def confirmed(record: Record, training: Training, amount: AgainOptions = QUICK) -> Confirmation:
    """The confirmation after a whole run of it."""
    assert confirm(session(record, training), amount)
    return open_confirmation(record)


def command(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


class Stopping(SoloTrainer):
    """Is stopped after some trainings."""

    def __init__(self, training: Training, ends: list[int]) -> None:
        super().__init__(training)
        self.ends = ends

    def advance(self) -> list[EpochResult]:
        if not self.ends:
            raise Interrupted
        self.ends.pop()
        return super().advance()


# The answer.


@pytest.fixture(scope="module")
def known_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The commands' answer on the study of known weights: the config, what was told on stderr, the folder."""
    folder = tmp_path_factory.mktemp("known")
    store = f"sqlite:///{folder}/store.db"
    options = ("--trials", 40, "--storage", store, "--threads", 1, "--device", "cpu", "--population", 1)
    result = command("run", FILE, *options, "--json")
    return json.loads(result.stdout), result.stderr, folder


def test_search_finds_the_known_weights(known_run: tuple[dict[str, Any], str, Path]) -> None:
    config, _, _ = known_run
    assert abs(config["task_weights"]["clean"] - known.BEST_WEIGHT) < 0.05


def test_verdict_on_the_known_weights_is_tuned(known_run: tuple[dict[str, Any], str, Path]) -> None:
    verdict = known_run[0]["verdict"]
    assert verdict["kind"] == "tuned"
    assert any(line.startswith("tuned weights beat equal ones by") for line in verdict["sentences"])
    for task in ("clean", "noisy"):
        assert verdict["metrics"][task]["mean"] == pytest.approx(known.BEST_ERROR, rel=0.05)
        assert verdict["equal_metrics"][task]["mean"] == pytest.approx(known.EQUAL_ERROR, rel=0.05)
    assert verdict["difference"]["mean"] == pytest.approx(known.EQUAL_ERROR - known.BEST_ERROR, rel=0.05)


def test_single_tasks_reach_what_they_reach_alone(known_run: tuple[dict[str, Any], str, Path]) -> None:
    single = known_run[0]["verdict"]["single_metrics"]
    assert single["clean"]["mean"] == pytest.approx(known.CLEAN**2, rel=0.05)
    assert single["noisy"]["mean"] == pytest.approx(known.NOISY**2, rel=0.05)


def test_weights_that_do_not_matter_are_not_called_tuned(storage: Any, tmp_path: Path) -> None:
    """Nothing is shared, and Adam takes no notice of a loss's scale: equal weights are the advice and the export."""
    default = {"optimizer": "adam", "learning_rate": 0.3, "schedule": "cosine"}
    study = replace(known.study, model=lambda config: known.OwnMaps(), default=default, epochs=4)
    record, training = trained(storage, tmp_path, study, trials=8)
    confirmed(record, training, AgainOptions(seeds=5, top=2))
    config, _, _ = best_answer(record)
    assert config["verdict"]["kind"] == "equal"
    assert config["task_weights"] == {"clean": 0.5, "noisy": 0.5}
    assert config["confirmation"]["weights"] == "equal"


def test_cost_is_told_before_anything_is_trained(known_run: tuple[dict[str, Any], str, Path]) -> None:
    """Two configs share one twin, as the space is empty; so 3 × 5 trainings, and 2 single tasks × 5."""
    lines = known_run[1].splitlines()
    (cost,) = (i for i, line in enumerate(lines) if "25 trainings, up to 25 trial-epochs, about" in line)
    assert "--no-confirm skips it" in lines[cost]
    assert [line.startswith("confirmation ") for line in lines].index(True) > cost


def test_verdict_stands_below_the_table(known_run: tuple[dict[str, Any], str, Path]) -> None:
    config, _, folder = known_run
    shown = command("best", "--storage", f"sqlite:///{folder}/store.db").stdout
    assert shown.index("tuned weights beat") > shown.index("learning_rate")
    assert all(line in shown for line in config["verdict"]["lines"])


def test_exported_winner_is_whole(known_run: tuple[dict[str, Any], str, Path]) -> None:
    """The config follows its schema, its checkpoint gives its metrics, and it can be verified to the bit."""
    _, _, folder = known_run
    store = f"sqlite:///{folder}/store.db"
    command("export", "--storage", store, "-o", folder / "e.json", "--checkpoint", folder / "e.safetensors")
    config = json.loads((folder / "e.json").read_text())
    check_config(config, "it")
    state, inside = read_model(folder / "e.safetensors")
    assert inside == config
    loaded = load_data(load_study(str(FILE)), NOWHERE)
    weights = Config(config["hyperparameters"], config["task_weights"])
    for split in ("validation", "test"):
        assert evaluate_state(loaded, weights, state, split) == config[split]
    verified = command("verify", folder / "e.json", "--study", FILE, "--device", "cpu", "--json")
    assert json.loads(verified.stdout)["rule"] == "bitwise"


def test_search_option_gives_the_searchs_best(known_run: tuple[dict[str, Any], str, Path]) -> None:
    _, _, folder = known_run
    store = f"sqlite:///{folder}/store.db"
    best = optuna.load_study(study_name="known_weights", storage=store).best_trial
    for name in ("best", "export"):
        options = ("--json",) if name == "best" else ()
        config = json.loads(command(name, "--search", "--storage", store, *options).stdout)
        assert (config["trial"], config["score"]["value"]) == (best.number, best.value)
        assert "verdict" not in config
        assert "test" not in config


def test_plain_optuna_reads_the_confirmation(known_run: tuple[dict[str, Any], str, Path]) -> None:
    config, _, folder = known_run
    store = f"sqlite:///{folder}/store.db"
    study = optuna.load_study(study_name="known_weights/confirmation", storage=store)
    assert study.user_attrs["role"] == "confirmation"
    assert study.user_attrs["of"] == "known_weights"
    kinds = [trial.user_attrs["kind"] for trial in study.trials]
    assert {kind: kinds.count(kind) for kind in kinds} == {"config": 10, "twin": 5, "single": 10}
    kept = study.trials[config["confirmation"]["trial"]]
    assert kept.user_attrs["task_weights"] == config["task_weights"]
    assert kept.user_attrs["test"] == config["test"]
    assert config["test_scorings"] == sum("test" in trial.user_attrs for trial in study.trials) == 25


def test_dashboard_shows_the_verdict_once_a_run_has_ended(
    known_run: tuple[dict[str, Any], str, Path],
) -> None:
    config, _, folder = known_run
    study = optuna.load_study(study_name="known_weights", storage=f"sqlite:///{folder}/store.db")
    assert config["verdict"]["sentence"] in optuna_dashboard.get_note(study).replace("\\", "")
    with open_storage(f"sqlite:///{folder}/store.db", create=False) as storage:
        figures = figures_of(read_report(find_record(storage, "known_weights", folder)))
    titles = [json.loads(figure)["layout"]["title"]["text"] for figure in figures.values()]
    assert {"Task trade-off", "Confirmation on test"} <= set(titles)


# What is trained again.


def test_fresh_seeds_are_others_than_the_searchs(searched: tuple[Record, Training]) -> None:
    seeds = fresh_seeds(int(searched[0].info["seed"]), 20)
    assert len(set(seeds)) == 20
    assert searched[0].info["seed"] not in seeds
    assert list(seeds[:5]) == list(fresh_seeds(int(searched[0].info["seed"]), 5))


def test_candidates_are_the_best_distinct_configs(searched: tuple[Record, Training]) -> None:
    record, training = searched
    best = candidates(record, 2)
    again = record.trial(next(iter(best)))
    record.study.enqueue_trial(again.params)
    search(session(record, training), 7)
    assert record.trial(6).params == again.params
    assert candidates(record, 2) == best
    scores = [record.trial(number).value for number in candidates(record, 7)]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)


def test_twin_differs_in_its_task_weights_alone() -> None:
    config = Config({"hidden": 3}, {"a": 0.7, "b": 0.2, "c": 0.1})
    assert twin(config) == Config({"hidden": 3}, dict.fromkeys("abc", 1 / 3))


def test_config_of_equal_weights_is_its_own_twin(storage: Any, tmp_path: Path) -> None:
    record, training = trained(storage, tmp_path, known.study, trials=1)
    confirmation = confirmed(record, training)
    kinds = [trial.user_attrs["kind"] for trial in confirmation.trials()]
    assert kinds == ["config"] * 2 + ["single"] * 4
    verdict = best_answer(record)[0]["verdict"]
    assert (verdict["kind"], verdict["difference"]["mean"]) == ("equal", 0)


def test_config_and_twin_of_a_seed_differ_in_nothing_but_weights(storage: Any, tmp_path: Path) -> None:
    study = replace(known.study, space={"learning_rate": real(0.2, 0.6)})
    record, training = trained(storage, tmp_path, study, trials=4)
    trials = confirmed(record, training, AgainOptions(seeds=2, top=2, single=False)).trials()
    assert len(trials) == 8
    for of in candidates(record, 2):
        mine = [t for t in trials if t.user_attrs["of"] == of]
        assert {t.params["learning_rate"] for t in mine} == {record.trial(of).params["learning_rate"]}
        for kind, weights in (("config", record.trial(of).user_attrs["task_weights"]), ("twin", EQUAL)):
            chosen = [t.user_attrs for t in mine if t.user_attrs["kind"] == kind]
            assert [attrs["task_weights"] for attrs in chosen] == [weights] * 2
            assert len({attrs["seed"] for attrs in chosen}) == 2


EQUAL = {"clean": 0.5, "noisy": 0.5}


def test_single_task_training_sees_its_task_alone() -> None:
    seen: set[tuple[bool, tuple[str, ...]]] = set()

    class Watched(known.OneMap):  # type: ignore[name-defined, misc, unused-ignore]
        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            seen.add((self.training, tuple(inputs)))
            return dict(super().forward(inputs))

    loaded = load_data(replace(known.study, model=lambda config: Watched(), score="min"), NOWHERE).only("noisy")
    seen.clear()
    trainer = SoloTrainer(Training(loaded))
    trainer.add(0, Config(known.study.default, {"clean": 0.0, "noisy": 1.0}))
    (result,) = trainer.advance()
    assert seen == {(True, ("noisy",)), (False, ("noisy",))}
    assert result.score == -result.validation["noisy"]["mse"]
    assert list(result.validation) == ["noisy"]


def test_model_that_needs_all_tasks_is_confirmed_without_single_ones(
    storage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Both(known.OneMap):  # type: ignore[name-defined, misc, unused-ignore]
        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {task: self.map((inputs["clean"] + inputs["noisy"]) / 2) for task in inputs}

    record, training = trained(storage, tmp_path, replace(known.study, model=lambda config: Both()), trials=4)
    with pytest.raises(ModelError, match="the model fails on inputs clean"):
        training.loaded.only("clean")
    confirmation = confirmed(record, training)
    assert "no single-task training: the model fails on inputs clean" in capsys.readouterr().err
    assert all("task" not in trial.user_attrs for trial in confirmation.trials())
    assert best_answer(record)[0]["verdict"]["delta_m"] is None


def test_single_tasks_are_trained_of_up_to_eight_tasks_or_on_request() -> None:
    def studied(count: int) -> LoadedStudy:
        names = [f"t{i}" for i in range(count)]

        def source(directory: Path) -> Any:
            x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
            pair = x, dict.fromkeys(names, x[:, 0])
            return Data(pair, test=pair, validation=pair)

        tasks = [known.error_task(name, source) for name in names]
        loaded: LoadedStudy = load_data(replace(known.study, tasks=tasks), NOWHERE)
        return loaded

    def trained_alone(count: int, single: bool | None) -> int:
        return len(alone(studied(count), single, Progress(0, quiet=True)))

    assert trained_alone(8, None) == 8
    assert trained_alone(9, None) == 0
    assert trained_alone(9, True) == 9
    assert trained_alone(3, False) == 0


def test_single_tasks_follow_the_winner_on_validation(searched: tuple[Record, Training]) -> None:
    record, training = searched
    trials = confirmed(record, training, AgainOptions(seeds=3, top=3)).trials()
    configs = candidates(record, 3)
    means = {
        of: sum(t.value or 0 for t in trials if t.user_attrs["kind"] == "config" and t.user_attrs["of"] == of)
        for of in configs
    }
    winner = max(means, key=means.__getitem__)
    assert {t.user_attrs["of"] for t in trials if t.user_attrs["kind"] == "single"} == {winner}
    plan = make_plan(record, training.loaded, AgainOptions(seeds=3, top=3), [])
    others_first = dict(sorted(configs.items(), key=lambda item: item[0] == winner))
    assert replace(plan, configs=others_first).winner(ended(open_confirmation(record))) == winner


def test_test_split_is_scored_once_per_training(storage: Any, tmp_path: Path) -> None:
    scored: list[int] = []

    def counting(outputs: Tensor, labels: Tensor) -> Tensor:
        scored.append(len(labels))
        return known.mean_squared_error(outputs, labels)

    def source(directory: Path) -> Any:
        data = known.circle(directory)
        data.test = data.test.rows(torch.arange(0, known.EXAMPLES, 4))
        return data

    tasks = [replace(known.error_task(name, source), metric_fn=counting) for name in ("clean", "noisy")]
    record, training = trained(storage, tmp_path, replace(known.study, tasks=tasks), trials=4)
    in_test = known.EXAMPLES // 4
    assert in_test not in scored
    trials = confirmed(record, training).trials()
    assert scored.count(in_test) == sum(len(trial.user_attrs["test"]) for trial in trials)
    assert best_answer(record)[0]["test_scorings"] == len(trials)


# Searches of tasks alone, and more arms.


def lone(storage: Any, name: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)


def test_each_task_alone_gets_a_search_within_the_budget_of_the_shared_one(
    storage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = replace(known.study, space={"learning_rate": real(0.05, 0.6)}, epochs=2)
    record, training = trained(storage, tmp_path, study, trials=6)
    confirmed(record, training)
    shared = sum(trial.user_attrs["epochs"] for trial in record.trials())
    own = {task: lone(storage, f"known/alone/{task}") for task in ("clean", "noisy")}
    for trials in own.values():
        epochs = sum(trial.user_attrs["epochs"] for trial in trials)
        assert 0 < epochs <= shared // 2
        assert all(set(trial.params) == {"learning_rate"} for trial in trials)
    told = capsys.readouterr().err
    assert f"and clean and noisy alone after a search of its own in {2 * (shared // 2)} trial-epochs" in told
    config = best_answer(record)[0]
    spent = ", ".join(f"{task} alone {sum(t.user_attrs['epochs'] for t in trials)}" for task, trials in own.items())
    assert f"trial-epochs of the searches: shared {shared}, {spent}" in config["verdict"]["lines"]
    best = max(own["clean"], key=lambda trial: trial.value or -math.inf)
    rates = {t.params["learning_rate"] for t in open_confirmation(record).trials() if t.user_attrs["kind"] == "alone"}
    assert best.params["learning_rate"] in rates
    assert find_record(storage, None, tmp_path).name == "known"


def test_an_interrupted_search_alone_goes_on(storage: Any, tmp_path: Path) -> None:
    study = replace(known.study, space={"learning_rate": real(0.05, 0.6)})
    record, training = trained(storage, tmp_path, study, trials=6)
    other, same = trained(storage, tmp_path, study, trials=6, name="undisturbed")
    ends = [0] * 9  # eight trainings of configs and twins, then one trial of clean alone
    with pytest.raises(Interrupted):
        confirm(session(record, training, lambda t: Stopping(t, ends)), QUICK)
    assert "verdict" not in best_answer(record)[0]
    confirmed(record, training)
    confirmed(other, same)
    counted = [t for t in lone(storage, "known/alone/clean") if t.state is TrialState.COMPLETE]
    assert len(counted) == len(lone(storage, "undisturbed/alone/clean")) == 3
    assert best_answer(record)[0]["verdict"]["kind"] == best_answer(other)[0]["verdict"]["kind"]


def test_search_of_a_task_alone_is_shown_by_its_budget(
    storage: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = replace(known.study, space={"learning_rate": real(0.05, 0.6)})
    record, training = trained(storage, tmp_path, study, trials=6)
    with Progress() as progress:
        assert confirm(replace(session(record, training), watcher=progress), AgainOptions(seeds=1, top=1))
    told = capfd.readouterr().err.splitlines()
    assert "mtlsearch: searching clean alone, in at most 3 trial-epochs: at most 6 trials" in told
    assert (
        sum(line.startswith("trial 2 complete after 1 epochs") and "3 of 3 trial-epochs" in line for line in told) == 2
    )


def test_without_single_tasks_nothing_is_searched_alone(storage: Any, tmp_path: Path) -> None:
    study = replace(known.study, space={"learning_rate": real(0.05, 0.6)})
    record, training = trained(storage, tmp_path, study, trials=3)
    confirmed(record, training, AgainOptions(seeds=2, top=1, single=False))
    assert [s.study_name for s in storage.get_all_studies()] == ["known", "known/confirmation"]
    assert best_answer(record)[0]["verdict"]["sentence"].endswith("whether sharing pays was not tried.")


def test_a_task_that_does_not_count_is_not_trained_alone(storage: Any, tmp_path: Path) -> None:
    """And a main task that sharing hurts is recommended, exported and verified alone."""
    study = replace(known.study, score="noisy", space={"learning_rate": real(0.05, 0.6)})
    study = replace(study, tasks=[study.tasks[1], known.error_task("far", far_away)])
    record, training = trained(storage, tmp_path, study, trials=8)
    confirmed(record, training, AgainOptions(seeds=4, top=2))
    trials = open_confirmation(record).trials()
    assert {t.user_attrs.get("task") for t in trials} == {None, "noisy"}
    config = best_answer(record)[0]
    assert config["verdict"]["recommendation"]["action"] == "alone"
    assert config["verdict"]["recommendation"]["left_out"] == ["far"]
    assert (config["alone"], config["task_weights"]) == ("noisy", {"noisy": 1.0})
    check_config(config, "it")


def far_away(directory: Path) -> Data:
    """Labels with another map than the main task's, even for validation: sharing with them can only hurt."""
    data = known.circle(directory)
    parts = [(part.inputs, {"far": -5 * part.labels["noisy"]}) for part in (data.train, data.validation, data.test)]
    return Data(parts[0], validation=parts[1], test=parts[2])


def test_the_plain_sum_is_an_arm_where_units_differ(storage: Any, tmp_path: Path) -> None:
    clean, noisy = known.study.tasks
    study = replace(known.study, tasks=[clean, replace(noisy, unit=4.0)])
    record, training = trained(storage, tmp_path, study, trials=4)
    trials = confirmed(record, training).trials()
    sums = [t.user_attrs["task_weights"] for t in trials if t.user_attrs["kind"] == "plain sum"]
    assert sums == [{"clean": 0.2, "noisy": 0.8}] * 2
    verdict = best_answer(record)[0]["verdict"]
    assert any("the plain sum of the losses" in line for line in verdict["sentences"])
    assert best_answer(record)[0]["raw_task_weights"]["noisy"] == best_answer(record)[0]["task_weights"]["noisy"] / 4


# Going on.


def test_interrupted_confirmation_goes_on_and_trains_nothing_twice(storage: Any, tmp_path: Path) -> None:
    record, training = trained(storage, tmp_path, known.study, 6)
    other, same = trained(storage, tmp_path, known.study, 6, name="undisturbed")
    ends = [0] * 4
    with pytest.raises(Interrupted):
        confirm(session(record, training, lambda t: Stopping(t, ends)), QUICK)
    (cut,) = open_confirmation(record).trials(TrialState.FAIL)
    assert cut.user_attrs["interrupted"] is True
    assert "verdict" not in best_answer(record)[0]
    confirmation = confirmed(record, training)
    assert len(confirmation.trials(TrialState.COMPLETE)) == len(ended(confirmation)) == 10
    assert not confirmation.trials(TrialState.RUNNING, TrialState.WAITING)
    confirmed(other, same)
    assert best_answer(record)[0]["verdict"] == best_answer(other)[0]["verdict"]


def test_training_of_a_dead_process_is_trained_again(searched: tuple[Record, Training]) -> None:
    record, training = searched
    confirmation = open_confirmation(record)
    plan = make_plan(record, training.loaded, QUICK, ["clean", "noisy"])
    number = confirmation.begin(plan.shared()[0], training.loaded.study)
    trial = confirmation.running.pop(number).trial
    dead = {**confirmation.trial(number).user_attrs["owner"], "pid": 2**22 + 1}
    trial.set_user_attr("owner", dead)
    trials = confirmed(record, training).trials()
    assert [t.number for t in trials if t.state is TrialState.FAIL] == [number]
    assert len(trials) == 11


def test_training_of_a_living_process_is_waited_for(searched: tuple[Record, Training]) -> None:
    """It is not trained here too; when the other is interrupted, it is."""
    record, training = searched
    open_confirmation(record)
    with open_storage(str(record.storage.url), create=True) as theirs:
        other = open_confirmation(find_record(theirs, "known", record.artifacts))
        plan = make_plan(record, training.loaded, QUICK, ["clean", "noisy"])
        number = other.begin(plan.shared()[0], training.loaded.study)
        theirs.flush()
        ended_there = threading.Timer(1.5, other.interrupt)
        ended_there.start()
        begun = time.monotonic()
        trials = confirmed(record, training).trials()
        ended_there.join()
    assert time.monotonic() - begun > 1.5
    assert [t.number for t in trials if t.state is TrialState.FAIL] == [number]
    assert len({t.user_attrs["seed"] for t in trials}) == 2
    assert len(trials) == 11


def test_two_confirmations_that_see_the_same_left_train_it_once(searched: tuple[Record, Training]) -> None:
    """Both look before either begins, as two processes do that begin at once."""
    record, training = searched
    open_confirmation(record)
    with open_storage(str(record.storage.url), create=True) as theirs:
        books = open_confirmation(record), open_confirmation(find_record(theirs, "known", record.artifacts))
        repeats = make_plan(record, training.loaded, QUICK, ["clean", "noisy"]).shared()
        assert [book.left(repeats) for book in books] == [repeats, repeats]
        begun = [book.begin(repeat, training.loaded.study) for repeat in repeats for book in books]
        assert begun[1::2] == [None] * len(repeats)
        assert [number for number in begun if number is not None] == list(range(len(repeats)))
        for book in books:
            book.interrupt()


def test_two_confirmations_at_once_score_each_training_once(searched: tuple[Record, Training]) -> None:
    record, training = searched
    url, problems = str(record.storage.url), []

    def confirm_too() -> None:
        try:
            with open_storage(url, create=True) as theirs:
                other = find_record(theirs, "known", record.artifacts)
                assert confirm(session(other, training), QUICK)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=confirm_too) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    confirmation = open_confirmation(record)
    trials = confirmation.trials()
    assert len(trials) == len(ended(confirmation)) == confirmation.test_scorings() == 10


def test_stop_ends_a_confirmation_that_waits(searched: tuple[Record, Training]) -> None:
    record, training = searched
    open_confirmation(record)
    with open_storage(str(record.storage.url), create=True) as theirs:
        other = open_confirmation(find_record(theirs, "known", record.artifacts))
        for repeat in make_plan(record, training.loaded, QUICK, ["clean", "noisy"]).shared():
            other.begin(repeat, training.loaded.study)
        theirs.flush()
        threading.Timer(0.5, training.stop.set).start()
        with pytest.raises(Interrupted):
            confirm(session(record, training), QUICK)
        other.interrupt()


def test_confirmation_in_a_population_says_what_it_says_alone(storage: Any, tmp_path: Path) -> None:
    answers = []
    for name, make in (
        ("alone", SoloTrainer),
        ("together", lambda training: PopulationTrainer(training, 8, Eager())),
    ):
        record, training = trained(storage, tmp_path, known.study, trials=6, name=name)
        confirm(session(record, training, make), QUICK)
        answers.append(best_answer(record)[0]["verdict"])
    alone, together = answers
    assert together["kind"] == alone["kind"]
    for part in ("metrics", "equal_metrics", "single_metrics"):
        for task in ("clean", "noisy"):
            assert together[part][task]["mean"] == pytest.approx(alone[part][task]["mean"], rel=1e-4)


def test_more_seeds_take_over_what_is_there(searched: tuple[Record, Training]) -> None:
    record, training = searched
    before = len(confirmed(record, training, AgainOptions(seeds=2, top=2)).trials())
    after = confirmed(record, training, AgainOptions(seeds=3, top=2)).trials()
    assert (before, len(after)) == (10, 15)
    assert best_answer(record)[0]["verdict"]["seeds"] == 3
    assert len(confirmed(record, training, AgainOptions(seeds=3, top=2)).trials()) == 15


def test_deadline_leaves_the_rest_for_later(searched: tuple[Record, Training]) -> None:
    record, training = searched
    late = session(record, training, deadline=time.monotonic() - 1)
    assert not confirm(late, QUICK)
    assert not ended(open_confirmation(record))
    assert "verdict" not in best_answer(record)[0]


def test_failed_seed_is_recorded_and_left_out(storage: Any, tmp_path: Path) -> None:
    """A model that starts at NaN for some seeds alone."""

    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = known.OneMap()
            if torch.rand(()) > 0.25:
                nn.init.constant_(self.inner.map.weight, math.nan)

        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return dict(self.inner(inputs))

    record, training = trained(storage, tmp_path, replace(known.study, model=lambda config: Fragile()), trials=4)
    confirmation = confirmed(record, training, AgainOptions(seeds=6, top=1, single=False))
    failed = confirmation.trials(TrialState.FAIL)
    config = best_answer(record)[0]
    assert 0 < len(failed) < 12
    assert all("was not finite in epoch 0" in trial.user_attrs["reason"] for trial in failed)
    assert config["verdict"]["difference"]["n"] == 6 - len({trial.user_attrs["seed"] for trial in failed})
    assert config["test_scorings"] == 12 - len(failed)


def test_confirmation_in_which_all_fail_says_so(searched: tuple[Record, Training]) -> None:
    record, training = searched

    def broken(config: Config) -> nn.Module:
        model = known.OneMap()
        nn.init.constant_(model.map.weight, math.nan)
        return model

    hopeless = replace(training, loaded=load_data(replace(known.study, model=broken), NOWHERE))
    with pytest.raises(StudyError, match="all of them failed"):
        confirm(session(record, hopeless), QUICK)
    assert "verdict" not in best_answer(record)[0]


def test_best_seed_on_validation_is_kept(searched: tuple[Record, Training]) -> None:
    record, training = searched
    confirmation = confirmed(record, training, AgainOptions(seeds=4, top=2))
    config, holder, trial = best_answer(record)
    group = [
        t.value
        for t in confirmation.trials()
        if t.user_attrs["kind"] == trial.user_attrs["kind"] and t.user_attrs["of"] == config["trial"]
    ]
    assert len(group) == 4
    assert config["score"]["value"] == trial.value == max(value for value in group if value is not None)
    assert config["training"]["seed"] == trial.user_attrs["seed"]
    state, inside = read_model(holder.parameters(trial))
    assert inside["study"]["name"] == "known"
    assert list(state) == ["map.weight"]


def test_parameters_are_there_of_each_configs_best_seed(searched: tuple[Record, Training]) -> None:
    record, training = searched
    confirmation = confirmed(record, training, AgainOptions(seeds=10, top=2, single=False))
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in confirmation.trials():
        groups.setdefault(group_of(trial, confirmation), []).append(trial)
    best = [max(group, key=lambda trial: trial.value or -math.inf) for group in groups.values()]
    assert len(best) == 3
    assert any(trial is not group[0] for trial, group in zip(best, groups.values(), strict=True))
    for trial in best:
        assert confirmation.parameters(trial).is_file()


def test_later_trials_outdate_a_confirmation(searched: tuple[Record, Training]) -> None:
    record, training = searched
    confirmed(record, training)
    assert outdated(record, best_answer(record)[0]) is None
    search(session(record, training), 8)
    assert "of the first 6 of 8 trials" in str(outdated(record, best_answer(record)[0]))
    confirmed(record, training)
    assert outdated(record, best_answer(record)[0]) is None


def test_confirmation_is_no_study_to_be_found(searched: tuple[Record, Training]) -> None:
    record, training = searched
    assert find_confirmation(record) is None
    confirmed(record, training)
    assert find_record(record.storage, None, record.artifacts).name == "known"
    found = find_confirmation(record)
    assert found is not None
    assert found.name == "known/confirmation"


def test_confirmation_of_another_definition_is_left_alone(storage: Any, tmp_path: Path) -> None:
    """As when a study was deleted and another one begun under its name."""
    record, training = trained(storage, tmp_path, known.study, trials=2)
    before = confirmed(record, training).trials()
    optuna.delete_study(study_name="known", storage=storage)
    record, training = trained(storage, tmp_path, replace(known.study, epochs=2), trials=2)
    with pytest.raises(StoreError, match="another definition: give this study a name"):
        confirmed(record, training)
    study = optuna.load_study(study_name="known/confirmation", storage=storage)
    assert [trial.number for trial in study.trials] == [trial.number for trial in before]


def test_study_of_one_task_has_no_weights_to_judge(storage: Any, tmp_path: Path) -> None:
    study = replace(known.study, tasks=known.study.tasks[:1], space={"learning_rate": real(0.2, 0.6)})
    record, training = trained(storage, tmp_path, study, trials=3)
    assert len(confirmed(record, training).trials()) == 4
    config, _, _ = best_answer(record)
    assert config["verdict"]["sentence"].startswith("one task has one weight")
    assert config["confirmation"]["weights"] == "tuned"


def test_expected_time_counts_overlapping_trials_once(searched: tuple[Record, Training]) -> None:
    record, _ = searched
    trials = record.trials()
    starts = [t.datetime_start for t in trials if t.datetime_start]
    ends = [t.datetime_complete for t in trials if t.datetime_complete]
    whole = (max(ends) - min(starts)).total_seconds()
    seconds = expected_seconds(record, 12)
    assert seconds is not None
    assert 0 < seconds <= 2 * whole + 1e-6


# The commands.


def test_confirm_command_takes_the_study_as_it_was_searched(tmp_path: Path) -> None:
    """With what `run` had changed in it; and nothing is confirmed before it is asked for."""
    store = ("--storage", f"sqlite:///{tmp_path}/store.db")
    changed = ("--score", "min", "--epochs", 2, "--set", "weight:clean=0.75")
    common = ("--threads", 1, "--device", "cpu")
    command("run", FILE, "--trials", 3, "--no-confirm", "--population", 1, *changed, *store, *common)
    before = json.loads(command("best", *store, "--json").stdout)
    assert "verdict" not in before
    options = ("--seeds", 2, "--top", 1, "--no-single", "--json")
    result = command("confirm", FILE, *options, *store, *common)
    assert "2 seeds each: 4 trainings, up to 8 trial-epochs" in result.stderr
    config = json.loads(result.stdout)
    assert config["score"]["kind"] == "min"
    assert config["confirmation"]["weights"] == "tuned"
    assert config["task_weights"] == {"clean": 0.75, "noisy": 0.25}
    assert json.loads(command("best", *store, "--json").stdout) == config


def test_confirm_command_measures_all_its_trainings_once_and_trains_seeds_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ("--storage", f"sqlite:///{tmp_path}/store.db")
    command("run", FILE, "--trials", 4, "--no-confirm", "--population", 4, *store)
    measured: list[int] = []

    def noted(training: Training, configs: Sequence[Config], population: int) -> Plan:
        measured.append(len(configs))
        return Plan(population, compiles=False, gain=2.0)

    monkeypatch.setattr(makers, "planned_repeats", noted)
    command("confirm", FILE, "--top", 4, "--seeds", 3, "--no-single", *store)
    trials = optuna.load_study(study_name="known_weights/confirmation", storage=store[1]).trials
    shared = [trial for trial in trials if trial.user_attrs["kind"] in ("config", "twin")]
    assert measured[0] == len(shared) >= 12
    trained_on = [trial.user_attrs["trained_on"] for trial in shared]
    assert {about["trainer"] for about in trained_on} == {"population"}
    assert all(about["own_batches"] for about in trained_on)
    again = len(measured)
    command("confirm", FILE, "--top", 4, "--seeds", 3, "--no-single", *store)
    assert len(measured) == again


def test_confirm_command_does_not_make_a_store(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["confirm", "digits", "--storage", f"sqlite:///{tmp_path}/none.db"])
    assert result.exit_code == 1
    assert "`mtlsearch run` makes it" in result.output
    assert not list(tmp_path.iterdir())


def test_recorded_study_is_the_one_that_was_searched() -> None:
    study = replace(known.study, space={"learning_rate": real(0.1, 0.5)})
    changed = replace(study.fixed("learning_rate", "0.25"), epochs=3, score="min")
    info = describe(load_data(replace(changed, source=str(FILE)), NOWHERE))
    again = describe(load_data(replace(as_recorded(study, info), source=str(FILE)), NOWHERE))
    assert again["fingerprint"] == info["fingerprint"]
    assert again["default"] == info["default"]


def test_a_trial_that_is_asked_for_is_confirmed_instead_of_the_best(searched: tuple[Record, Training]) -> None:
    record, training = searched
    asked = next(trial.number for trial in record.trials() if trial.number not in candidates(record, 2))
    assert confirm(session(record, training), ConfirmOptions(seeds=2, top=1, trial=asked, single=False))
    best = best_answer(record)[0]
    assert (best["trial"], best["confirmation"]["configs"]) == (asked, [asked])
    assert any(f"trial {asked} was asked for" in line for line in best["verdict"]["lines"])
    assert confirm(session(record, training), QUICK)
    assert best_answer(record)[0]["trial"] in candidates(record, 2)
