"""The answer to a search: the plan of a confirmation, the winner, the verdict, and the config that `best` gives.

The winner is chosen on validation. Its parameters are those of the seed that was best on validation. Where the
verdict is that equal weights are as good, they are those of its twin, since the advice is to keep equal weights.
Nothing here needs torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from optuna.trial import FrozenTrial

from mtlsearch.evidence.arms import Confirmed
from mtlsearch.evidence.effects import Blame
from mtlsearch.evidence.judge import judge, reaching
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.searches import older_evidence, stored_evidence
from mtlsearch.evidence.statistics import choose
from mtlsearch.evidence.trainings import Found, Kind, Repeat, find_confirmation, group_of
from mtlsearch.evidence.verdict import Verdict
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.curves import epochs_reported
from mtlsearch.store.record import Record, exported
from mtlsearch.store.trials import best_of, busy_seconds, ranked, shortfall_of
from mtlsearch.study.score import Score
from mtlsearch.study.space import Config

# Units whose ratio is at most this are equal: the plain sum of such losses is nearly what equal weights are.
SAME_UNITS = 1.1
MOST_TRIED = 8  # auxiliary tasks, each of which is left out in trainings of its own


@dataclass(frozen=True)
class Plan:
    """The trainings of a confirmation: `configs` by the number of their trial, and other arms, with each of `seeds`.

    `scored` are the tasks that are trained alone too, and `own` the configs that a search of a task alone has found,
    by task and number of trial there. `dropped` is the best config of the search that trains the main task alone.
    `units` are those of the losses, and `auxiliary` the tasks that may be left out; `terms` have a weight and no
    metric. `divisions` are the seeds of new divisions of the data, one for each of `seeds`; without them all trainings
    have the study's own.
    """

    configs: Mapping[int, Config]
    seeds: Sequence[int]
    scored: Sequence[str] = ()
    auxiliary: Sequence[str] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, Mapping[int, Config]] = field(default_factory=dict)
    dropped: Mapping[int, Config] = field(default_factory=dict)
    terms: Sequence[str] = ()
    divisions: Sequence[int] = ()

    def shared(self) -> list[Repeat]:
        """Configs and twins with every seed, each training once."""
        repeats: dict[str, Repeat] = {}
        arms = [self.repeats_of("config", of) for of in self.configs]
        arms += [self.repeats_of("twin", of) for of in self.configs]
        for of_seed in zip(*arms, strict=True):
            for repeat in of_seed:
                repeats.setdefault(repeat.key, repeat)
        return list(repeats.values())

    def arms(self, of: int) -> list[Repeat]:
        """More arms of the winner: the plain sum of the losses, and without an auxiliary task."""
        return [*self.plain_sum(of), *(repeat for task in self.tried(of) for repeat in self.without(of, task))]

    def plain_sum(self, of: int) -> list[Repeat]:
        """The plain sum of the losses with every seed, none where their units are equal."""
        units = [self.units.get(task, 1.0) for task in self.configs[of].task_weights]
        if max(units) <= SAME_UNITS * min(units):
            return []
        total, tasks = math.fsum(units), self.configs[of].task_weights
        weights = {task: unit / total for task, unit in zip(tasks, units, strict=True)}
        return self._every_seed("plain sum", of, replace(self.configs[of], task_weights=weights))

    def tried(self, of: int) -> list[str]:
        """The auxiliary tasks that the config is trained without: where another task than a scored one stays."""
        weights = self.configs[of].task_weights
        kept = [task for task, weight in weights.items() if weight > 0]
        found = [task for task in self.auxiliary if task in kept]
        return found if len(kept) > 2 and len(found) <= MOST_TRIED else []

    def without(self, of: int, task: str) -> list[Repeat]:
        """The config without an auxiliary task, whose weight the others share, with every seed."""
        weights = self.configs[of].task_weights
        left = math.fsum(weight for name, weight in weights.items() if name != task)
        shares = {name: 0.0 if name == task else weight / left for name, weight in weights.items()}
        return self._every_seed("without", of, replace(self.configs[of], task_weights=shares), left_out=task)

    def alone(self, of: int, task: str) -> list[list[Repeat]]:
        """Configs of a task alone with every seed: of its own search, of the winner, of a search's dropped config."""
        found = {
            **{("alone", number): config for number, config in self.own.get(task, {}).items()},
            ("single", of): self.configs[of],
            **{("single", number): config for number, config in self.dropped.items()},
        }
        candidates: dict[str, list[Repeat]] = {}
        for (kind, number), config in found.items():
            weights = {name: float(name == task) for name in config.task_weights}
            repeats = self._every_seed(cast(Kind, kind), number, replace(config, task_weights=weights), task=task)
            candidates.setdefault(repeats[0].group, repeats)
        return list(candidates.values())

    def chosen_alone(self, of: int, task: str, found: Found) -> list[Repeat]:
        """The config of a task alone that is best on validation, with every seed."""
        candidates = self.alone(of, task)
        return candidates[int(choose([_scores(repeats, found) for repeats in candidates]))]

    def winner(self, found: Found) -> int:
        """The number of the trial whose config has the best mean validation score, and reaches what it must."""
        runs = [self.repeats_of("config", of) for of in self.configs]
        short = [_short(repeats, found) for repeats in runs]
        scores = [_scores(repeats, found) for repeats in runs]
        return list(self.configs)[int(choose(reaching(scores, short)))]

    def repeats_of(self, kind: Literal["config", "twin"], of: int) -> list[Repeat]:
        return self._every_seed(kind, of, self.configs[of] if kind == "config" else twin(self.configs[of]))

    def _every_seed(self, kind: Kind, of: int, config: Config, **about: Any) -> list[Repeat]:
        divisions: Sequence[int | None] = self.divisions or [None] * len(self.seeds)
        each = zip(self.seeds, divisions, strict=True)
        return [Repeat(kind, of, config, seed, division=division, **about) for seed, division in each]

    def judge(
        self,
        found: Found,
        metrics: Mapping[str, TaskMetric],
        score: Score,
        blame: Blame | None = None,
        notes: Sequence[str] = (),
    ) -> Verdict:
        """The verdict on trainings that have all ended. Raises StudyError where every seed failed."""
        winner = self.winner(found)
        confirmed = [self._confirmed(of, found, metrics, won=of == winner) for of in self.configs]
        auxiliary = [task for task in self.auxiliary if len(metrics) > 1]
        return judge(confirmed, metrics, score, auxiliary=auxiliary, terms=self.terms, blame=blame, notes=notes)

    def _confirmed(self, of: int, found: Found, metrics: Mapping[str, TaskMetric], won: bool) -> Confirmed:
        """The numbers of one config, and of the winner's other arms."""

        def tested(repeats: Sequence[Repeat]) -> dict[str, list[float]]:
            return {task: _metric(repeats, found, task, metric) for task, metric in metrics.items()}

        runs, twins = self.repeats_of("config", of), self.repeats_of("twin", of)
        made = Confirmed(
            weights=self.configs[of].task_weights,
            validation=_scores(runs, found),
            tuned=tested(runs),
            twin=tested(twins),
            short=_short(runs, found),
            twin_short=_short(twins, found),
        )
        if not won:
            return made
        chosen = {task: self.chosen_alone(of, task, found) for task in self.scored}
        plain = self.plain_sum(of)
        return replace(
            made,
            single={t: _metric(runs, found, t, metrics[t]) for t, runs in chosen.items()} if chosen else None,
            plain_sum=tested(plain) if plain else None,
            without={task: tested(self.without(of, task)) for task in self.tried(of)},
        )


def candidates(record: Record, top: int) -> dict[int, Config]:
    """The `top` best distinct configs of the search by the number of their trial, the best first.

    Where auxiliary tasks may be dropped beside one main task, those that drop all of them are left out: they train a
    task alone, which is held against sharing. If nothing else is complete, the best one is taken with equal weights.
    """
    found = _distinct(record)
    sharing = {n: c for n, c in found.items() if len(c.task_weights) == 1 or not _is_alone(c)}
    if not sharing:
        sharing = {n: twin(config) for n, config in list(found.items())[:1]}
    return dict(list(sharing.items())[:top])


def dropped(record: Record) -> dict[int, Config]:
    """The best config of the search that trains one task alone, by the number of its trial; empty where none does."""
    found = _distinct(record).items()
    alone = [(number, config) for number, config in found if len(config.task_weights) > 1 and _is_alone(config)]
    return dict(alone[:1])


def _distinct(record: Record) -> dict[int, Config]:
    """The distinct configs of the complete trials, the best first; where some reach what they must, only those."""
    complete = ranked(record.trials())
    reaching = [trial for trial in complete if not shortfall_of(trial)] or complete
    first: dict[str, int] = {}
    for trial in reaching:
        first.setdefault(group_of(trial, record), trial.number)
    return {n: trial_config(record.info, record.trial(n)) for n in first.values()}


def _is_alone(config: Config) -> bool:
    return sum(weight > 0 for weight in config.task_weights.values()) == 1


def twin(config: Config) -> Config:
    """The same config with equal task weights."""
    return replace(config, task_weights=dict.fromkeys(config.task_weights, 1 / len(config.task_weights)))


def conclusion(record: Record, plan: Plan, found: Found, verdict: Verdict, test_scorings: int) -> dict[str, Any]:
    """The conclusion of a confirmation as it is stored: the verdict, and the training whose parameters are kept.

    Where equal weights are as good, that is a training of the winner's twin; where the recommendation is to train one
    main task alone, one of that. Of the seeds it is the one that was best on validation: any other rule would look at
    test.
    """
    of = list(plan.configs)[verdict.winner]
    recommended = verdict.recommendation
    chosen = {task: plan.chosen_alone(of, task, found) for task in plan.scored}
    weights: Literal["equal", "tuned", "alone"] = "tuned"
    repeats = plan.repeats_of("config", of)
    if recommended.action == "alone" and len(recommended.alone) == 1:
        weights, repeats = "alone", chosen[recommended.alone[0]]
    elif recommended.weights == "equal" and len(verdict.weights) > 1:
        weights, repeats = "equal", plan.repeats_of("twin", of)
    kept = best_of(found[repeat.key] for repeat in repeats)
    if kept is None:  # every seed of the recommended arm failed
        weights, kept = "tuned", best_of(found[repeat.key] for repeat in plan.repeats_of("config", of))
    assert kept is not None
    return {
        "of": of,
        "weights": weights,
        "kept": kept.number,
        "configs": list(plan.configs),
        "seeds": list(plan.seeds),
        "divisions": list(plan.divisions),
        "alone": {task: repeats[0].group for task, repeats in chosen.items()},
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
    alone = trial.user_attrs.get("task")
    about = {key: concluded[key] for key in ("weights", "configs", "seeds", "searched")}
    if concluded.get("divisions"):
        about["divisions"] = concluded["divisions"]
    return {
        **(config if alone is None else of_one_task(config, alone)),
        "study": {**config["study"], "name": record.name},
        "trial": concluded["of"],
        "test": trial.user_attrs["test"],
        "test_scorings": concluded["test_scorings"],
        "confirmation": {"study": confirmation.name, "trial": trial.number, **about},
        "verdict": concluded["verdict"],
        **({} if (searches := stored_evidence(record.study.user_attrs)) is None else {"searches": searches}),
    }


def of_one_task(config: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The exported config of a task that was trained alone: it knows no other task."""
    by_task = ("task_weights", "units", "raw_task_weights", "validation", "tasks")
    provenance = {**config["provenance"], "data_sha256": {task: config["provenance"]["data_sha256"][task]}}
    own = {part: {task: config[part][task]} for part in by_task if part in config}
    return {**config, **own, "alone": task, "provenance": provenance}


def outdated(record: Record, config: Mapping[str, Any]) -> str | None:
    """A notice where the search has more trials than the confirmation in `config` has seen, or evidence is older."""
    searched = config.get("confirmation", {}).get("searched", record.counted())
    if searched >= record.counted():
        return older_evidence(config)
    return (
        f"the confirmation is of the first {searched} of {record.counted()} trials:"
        " `mtlsearch confirm` includes the others, --search shows the best trial of the search"
    )


def expected_seconds(record: Record, trial_epochs: float) -> float | None:
    """The time that `trial_epochs` take at the rate of the search, None where nothing was timed."""
    timed = [trial for trial in record.trials() if trial.datetime_start and trial.datetime_complete]
    epochs = sum(map(epochs_reported, timed))
    return busy_seconds(timed) / epochs * trial_epochs if epochs else None


def task_metrics(
    record: Record, test_examples: Mapping[str, int], overlaps: Mapping[str, float] | None = None
) -> dict[str, TaskMetric]:
    """The metric of each task in the score, by the study's description and the sizes of its test sets.

    `overlaps` are those of new divisions of the data, by task.
    """
    left_out, overlaps = record.info.get("left_out", {}), overlaps or {}
    return {
        name: TaskMetric(about["metric"], about["higher_is_better"], test_examples[name], overlaps.get(name, 0.0))
        for name, about in record.info["tasks"].items()
        if name not in left_out
    }


def _short(repeats: Iterable[Repeat], found: Found) -> float:
    """How far the mean of the repeats is from the metrics that they must reach, 0 where it reaches them."""
    trials = (found[repeat.key] for repeat in repeats)
    short: dict[str, list[float]] = {}
    for trial in trials:
        for task, by in trial.constraints.items():
            short.setdefault(task, []).append(float(by))
    return sum(max(0.0, math.fsum(by) / len(by)) for by in short.values())


def _scores(repeats: Iterable[Repeat], found: Found) -> list[float]:
    """The validation score of each repeat, NaN where it failed."""
    trials = (found[repeat.key] for repeat in repeats)
    return [math.nan if trial.value is None else trial.value for trial in trials]


def _metric(repeats: Iterable[Repeat], found: Found, task: str, metric: TaskMetric) -> list[float]:
    """The test metric of a task in each repeat, NaN where it failed."""
    attrs = (found[repeat.key].user_attrs for repeat in repeats)
    return [math.nan if "test" not in a else a["test"][task][metric.name] for a in attrs]
