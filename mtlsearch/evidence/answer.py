"""The answer to a search: the plan of a confirmation, the winner, the verdict, and the config that `best` gives.

The winner is chosen on validation. Its parameters are those of the seed that was best on validation. Where the
verdict is that equal weights are as good, they are those of its twin, since the advice is to keep equal weights.
Nothing here needs torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from optuna.trial import FrozenTrial

from mtlsearch.evidence.metric import Score, TaskMetric
from mtlsearch.evidence.statistics import choose
from mtlsearch.evidence.trainings import Found, Repeat, find_confirmation, group_of
from mtlsearch.evidence.verdict import Confirmed, Verdict, judge
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.record import Record, exported
from mtlsearch.store.trials import best_of, busy_seconds, ranked
from mtlsearch.study.space import Config


@dataclass(frozen=True)
class Plan:
    """The trainings of a confirmation: `configs` by the number of their trial, and their twins, with each of `seeds`.

    With `single`, each task is trained alone too, with the winner's hyperparameters.
    """

    configs: Mapping[int, Config]
    seeds: Sequence[int]
    single: bool

    def shared(self) -> list[Repeat]:
        """Configs and twins with every seed, each training once."""
        repeats: dict[str, Repeat] = {}
        for seed in self.seeds:
            configs = [Repeat("config", of, config, seed) for of, config in self.configs.items()]
            twins = [Repeat("twin", of, twin(config), seed) for of, config in self.configs.items()]
            for repeat in configs + twins:
                repeats.setdefault(repeat.key, repeat)
        return list(repeats.values())

    def alone(self, of: int, task: str) -> list[Repeat]:
        """The hyperparameters of trial `of` on one task alone, with every seed."""
        config = self.configs[of]
        weights = {name: float(name == task) for name in config.task_weights}
        return [Repeat("single", of, Config(config.hyperparameters, weights), seed, task) for seed in self.seeds]

    def winner(self, found: Found) -> int:
        """The number of the trial whose config has the best mean validation score."""
        scores = [_scores(self.repeats_of("config", of), found) for of in self.configs]
        return list(self.configs)[int(choose(scores))]

    def repeats_of(self, kind: Literal["config", "twin"], of: int) -> list[Repeat]:
        config = self.configs[of] if kind == "config" else twin(self.configs[of])
        return [Repeat(kind, of, config, seed) for seed in self.seeds]

    def judge(self, found: Found, metrics: Mapping[str, TaskMetric], score: Score) -> Verdict:
        """The verdict on trainings that have all ended. Raises StudyError where every seed failed."""
        winner = self.winner(found)
        confirmed = []
        for of, config in self.configs.items():
            single = None
            if self.single and of == winner:
                single = {task: _metric(self.alone(of, task), found, task, m) for task, m in metrics.items()}
            runs, twins = self.repeats_of("config", of), self.repeats_of("twin", of)
            confirmed.append(
                Confirmed(
                    weights=config.task_weights,
                    validation=_scores(runs, found),
                    tuned={task: _metric(runs, found, task, m) for task, m in metrics.items()},
                    twin={task: _metric(twins, found, task, m) for task, m in metrics.items()},
                    single=single,
                )
            )
        return judge(confirmed, metrics, score)


def candidates(record: Record, top: int) -> dict[int, Config]:
    """The `top` best distinct configs of the search by the number of their trial, the best first."""
    distinct: dict[str, int] = {}
    for trial in ranked(record.trials()):
        distinct.setdefault(group_of(trial, record), trial.number)
    return {n: trial_config(record.info, record.trial(n)) for n in list(distinct.values())[:top]}


def twin(config: Config) -> Config:
    """The same config with equal task weights."""
    return replace(config, task_weights=dict.fromkeys(config.task_weights, 1 / len(config.task_weights)))


def conclusion(record: Record, plan: Plan, found: Found, verdict: Verdict, test_scorings: int) -> dict[str, Any]:
    """The conclusion of a confirmation as it is stored: the verdict, and the training whose parameters are kept.

    Where equal weights are as good, that is a training of the winner's twin. Of the seeds it is the one that was
    best on validation: any other rule would look at test.
    """
    of = list(plan.configs)[verdict.winner]
    keep_equal = verdict.kind == "equal" and len(verdict.weights) > 1
    weights: Literal["equal", "tuned"] = "equal" if keep_equal else "tuned"
    repeats = plan.repeats_of("twin" if weights == "equal" else "config", of)
    kept = best_of(found[repeat.key] for repeat in repeats)
    assert kept is not None
    return {
        "of": of,
        "weights": weights,
        "kept": kept.number,
        "configs": list(plan.configs),
        "seeds": list(plan.seeds),
        "searched": record.counted(),
        "test_scorings": test_scorings,
        "verdict": {**verdict.to_dict(), "lines": verdict.lines()},
    }


def best_answer(record: Record, from_search: bool = False) -> tuple[dict[str, Any], Record, FrozenTrial]:
    """The config that `best` and `export` give, and the record and trial that hold its parameters.

    It is the config of the confirmed winner; before confirmation, or with `from_search`, of the search's best trial.
    """
    confirmation = None if from_search else find_confirmation(record)
    if confirmation is None or confirmation.conclusion is None:
        best = record.best()
        return exported(record, best), record, best
    trial = confirmation.trial(confirmation.conclusion["kept"])
    return confirmed_config(record, confirmation, trial, confirmation.conclusion), confirmation, trial


def confirmed_config(
    record: Record, confirmation: Record, trial: FrozenTrial, concluded: Mapping[str, Any]
) -> dict[str, Any]:
    """The exported config of one training of a confirmation, with its test metrics and the verdict."""
    config = exported(confirmation, trial)
    about = {key: concluded[key] for key in ("weights", "configs", "seeds", "searched")}
    return {
        **config,
        "study": {**config["study"], "name": record.name},
        "trial": concluded["of"],
        "test": trial.user_attrs["test"],
        "test_scorings": concluded["test_scorings"],
        "confirmation": {"study": confirmation.name, "trial": trial.number, **about},
        "verdict": concluded["verdict"],
    }


def outdated(record: Record, config: Mapping[str, Any]) -> str | None:
    """A notice where the search has more trials than the confirmation in `config` has seen, else None."""
    searched = config.get("confirmation", {}).get("searched", record.counted())
    if searched >= record.counted():
        return None
    return (
        f"the confirmation is of the first {searched} of {record.counted()} trials:"
        " `mtlsearch confirm` includes the others, --search shows the best trial of the search"
    )


def expected_seconds(record: Record, trial_epochs: int) -> float | None:
    """The time that `trial_epochs` take at the rate of the search, None where nothing was timed."""
    timed = [trial for trial in record.trials() if trial.datetime_start and trial.datetime_complete]
    epochs = sum(len(trial.intermediate_values) for trial in timed)
    return busy_seconds(timed) / epochs * trial_epochs if epochs else None


def task_metrics(record: Record, test_examples: Mapping[str, int]) -> dict[str, TaskMetric]:
    """The metric of each task in the score, by the study's description and the sizes of its test sets."""
    left_out = record.info.get("left_out", {})
    return {
        name: TaskMetric(about["metric"], about["higher_is_better"], test_examples[name])
        for name, about in record.info["tasks"].items()
        if name not in left_out
    }


def _scores(repeats: Iterable[Repeat], found: Found) -> list[float]:
    """The validation score of each repeat, NaN where it failed."""
    trials = (found[repeat.key] for repeat in repeats)
    return [math.nan if trial.value is None else trial.value for trial in trials]


def _metric(repeats: Iterable[Repeat], found: Found, task: str, metric: TaskMetric) -> list[float]:
    """The test metric of a task in each repeat, NaN where it failed."""
    attrs = (found[repeat.key].user_attrs for repeat in repeats)
    return [math.nan if "test" not in a else a["test"][task][metric.name] for a in attrs]
