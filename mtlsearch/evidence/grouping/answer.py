"""The answer on groupings: the one to train, in words, with what each gains and costs.

Every candidate is trained as a whole with the same fresh seeds. The scores on test of each two are held against each
other, paired over the seeds, with Holm's correction over all pairs, by the rule of `effects`.

**The rule.** All tasks together, one trunk, is recommended unless another grouping is shown to be better. From the
fewest trunks to the most (of as many, the best on validation first), a grouping takes the place of the recommended one
where it is *better* than that. So the simplest is kept where no difference is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mtlsearch.evidence.arms import Comparison, Measure
from mtlsearch.evidence.effects import GROUPING, Effect, tuning_phrase
from mtlsearch.evidence.grouping.affinity import Affinities, Grouping, in_words
from mtlsearch.evidence.metric import PerSeed, TaskMetric, score_bounds
from mtlsearch.evidence.sentences import Limits, Unit, shown
from mtlsearch.evidence.statistics import ALPHA, Estimate, claims_of, estimate, holm, t_interval
from mtlsearch.study.score import Score

GROUPING_FORMAT = "mtlsearch/grouping/1"
LEVEL = 1 - ALPHA


@dataclass(frozen=True)
class Tried:
    """One grouping, trained as a whole: its test metrics by seed, its score on validation, and its cost.

    `left_out` are auxiliary tasks that would be in groups of their own, which are not trained. `parameters` are those
    that the outputs depend on, `seconds` those of one seed's trainings.
    """

    grouping: Grouping
    left_out: Sequence[str]
    test: PerSeed
    validation: float
    parameters: int
    seconds: float

    @property
    def trunks(self) -> int:
        return len(self.grouping)

    @property
    def name(self) -> str:
        return in_words(self.grouping, self.left_out)


@dataclass(frozen=True)
class Answer:
    """Groupings, all together first, and the effect of each pair of them: the second minus the first."""

    tried: Sequence[Tried]
    measure: Measure
    effects: Mapping[tuple[int, int], Effect]
    seeds: int

    @classmethod
    def of(cls, tried: Sequence[Tried], metrics: Mapping[str, TaskMetric], score: Score, seeds: int) -> "Answer":
        measure = Measure.of(metrics, score, tried[0].test, None)
        pairs = list(combinations(range(len(tried)), 2))
        found = [measure.by_score(GROUPING, None, tried[b].test, tried[a].test) for a, b in pairs]
        return cls(tried, measure, dict(zip(pairs, effects_of(found), strict=True)), seeds)

    @property
    def recommended(self) -> int:
        """The number of the grouping to train, by the module's rule."""
        kept = 0
        for number in sorted(
            range(1, len(self.tried)), key=lambda n: (self.tried[n].trunks, -self.tried[n].validation)
        ):
            if self.effect(kept, number).kind == "better":
                kept = number
        return kept

    def effect(self, less: int, more: int) -> Effect:
        """The score of grouping `more` minus that of `less`."""
        if (less, more) in self.effects:
            return self.effects[less, more]
        found = self.effects[more, less]
        claim = type(found.claim)(-found.difference, found.claim.p, found.claim.p_holm)
        return Effect(found.about, None, claim, found.margin, found.unit, found.claims, found.overlap)

    def lines(self) -> list[str]:
        """The recommendation, what each other grouping does, what it costs, and what the intervals cover."""
        kept = self.recommended
        best = self.tried[kept]
        lines = [self._first(kept), *(self._line(n) for n in range(1, len(self.tried)) if n != kept)]
        if kept:
            lines.append(f"against all together, by task: {self._by_task(best)}")
            lines.append(self._cost(best))
        else:
            lines += [f"{each.name}: {self._cost(each)}" for each in self.tried[1:]]
        return [*lines, self._limits()]

    def _first(self, kept: int) -> str:
        if kept:
            effect, best = self.effect(0, kept), self.tried[kept]
            return f"train {best.name}: it beats one trunk of all tasks {effect.gain}"
        others = [self.effect(0, n).kind for n in range(1, len(self.tried))]
        if all(kind in ("same", "worse", "not better") for kind in others):
            return "train all tasks together: no other grouping is better"
        return "train all tasks together, the simplest: nothing shows that another grouping is better"

    def _line(self, number: int) -> str:
        """The sentence on a grouping that is not recommended, against all together."""
        effect, name = self.effect(0, number), self.tried[number].name
        if effect.difference.low is None:
            return f"undecided whether {name} beats all together: {effect.limits}"
        if effect.kind == "better":
            return f"{name} beats all together too {effect.gain}"
        if effect.kind == "worse":
            return f"{name} is worse than all together {effect.gain}"
        between = f"the difference is {effect.span}"
        ends = {"same": "is as good as all together", "not better": "is as good as all together or worse"}
        if effect.kind in ends:
            return f"{name} {ends[effect.kind]}: {between}"
        return f"undecided whether {name} beats all together: {between}; {effect.limits}"

    def _by_task(self, best: Tried) -> str:
        """What the grouping does to each scored task; these only inform, and are corrected among themselves."""
        together = self.tried[0].test
        tasks = self.measure.scored
        found = [self.measure.by_task(GROUPING, task, best.test, together, together) for task in tasks]
        return ", ".join(map(tuning_phrase, effects_of(found)))

    def _cost(self, each: Tried) -> str:
        """What a grouping costs beside all together."""
        first = self.tried[0]
        size, time = each.parameters / max(first.parameters, 1), each.seconds / max(first.seconds, 1e-9)
        trunks = "1 trunk" if each.trunks == 1 else f"{each.trunks} trunks"
        return (
            f"{trunks} with {each.parameters:,} parameters, {size:.2g} times those of one trunk; training took"
            f" {time:.2g} times as long"
        )

    def _limits(self) -> str:
        metrics = self.measure.metrics
        together = self.tried[0].test
        means = {task: estimate(together[task], LEVEL).mean if task in together else np.nan for task in metrics}
        pairs = min((effect.difference.n for effect in self.effects.values()), default=0)
        return Limits.of(pairs, self.seeds, LEVEL, means, metrics).sentence(metrics)

    def stored(self) -> list[dict[str, Any]]:
        """Each grouping with its numbers, as it is stored."""
        score = self.measure
        bounds = score_bounds(score.metrics, score.score)
        return [
            {
                "groups": [list(group) for group in each.grouping],
                "left_out": list(each.left_out),
                "recommended": number == self.recommended,
                "score": estimate(score.scores(each.test), LEVEL, score.floor, score.overlap).within(*bounds).stored(),
                "difference": self.effect(0, number).difference.stored() if number else None,
                "p": self.effect(0, number).claim.p_holm if number else None,
                "parameters": each.parameters,
                "seconds": round(each.seconds, 3),
            }
            for number, each in enumerate(self.tried)
        ]


def effects_of(found: Sequence[Comparison]) -> list[Effect]:
    """The comparisons as effects, with Holm's correction over all of them."""
    intervals = [t_interval(each.difference, each.floor, LEVEL, each.overlap) for each in found]
    adjusted = holm([float(each.p) for each in intervals])
    claims = [claims_of(_one(each), adjusted[i : i + 1])[0] for i, each in enumerate(intervals)]
    return [
        Effect(each.about, each.task, claim, each.margin, each.unit, len(found), each.overlap)
        for each, claim in zip(found, claims, strict=True)
    ]


def _one(interval: Any) -> Any:
    """An interval of one difference as one of an array of them."""
    return type(interval)(*(np.atleast_1d(each) for each in interval))


def affinity_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a stored answer's gains: what each task gains from each other one, on validation."""
    tasks = list(found["tasks"])
    gains = {(each["task"], each["with"]): each for each in found["affinities"]}

    def cell(task: str, other: str) -> str:
        each = gains.get((task, other))
        if each is None:
            return "–"
        metric = TaskMetric(each["metric"], each["higher_is_better"])
        return shown(Estimate.of_stored(each["gain"]), metric.scale)

    names = {
        each["task"]: f"{each['task']} ({Unit.of_metric(TaskMetric(each['metric'])).word})"
        for each in found["affinities"]
    }
    return ["gain of", *(f"with {task}" for task in tasks)], [
        [names[task], *(cell(task, other) for other in tasks)] for task in tasks if task in names
    ]


def grouping_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a stored answer's groupings, all together first."""
    first = found["groupings"][0]
    scale, word = found["unit"]["scale"], found["unit"]["word"]
    rows: list[list[object]] = [
        [
            in_words(tuple(map(tuple, each["groups"])), each["left_out"]) + (" *" if each["recommended"] else ""),
            shown(Estimate.of_stored(each["score"]), scale, " %" if scale == 100 else ""),
            "–" if each["difference"] is None else shown(Estimate.of_stored(each["difference"]), scale),
            each["parameters"],
            f"{each['seconds'] / max(first['seconds'], 1e-9):.2g}",
        ]
        for each in found["groupings"]
    ]
    return ["grouping", "score", f"minus together ({word})", "parameters", "time"], rows


def concluded(affinities: Affinities, best: Sequence[tuple[Grouping, float]], answer: Answer) -> dict[str, Any]:
    """The part of a stored answer that follows from trainings."""
    unit = answer.measure.unit
    return {
        "tasks": list(affinities.tasks),
        "affinities": affinities.stored(),
        "best": [{"groups": [list(g) for g in grouping], "predicted": value} for grouping, value in best],
        "groupings": answer.stored(),
        "unit": {"scale": unit.scale, "word": unit.word},
        "recommended": [list(group) for group in answer.tried[answer.recommended].grouping],
        "lines": answer.lines(),
    }
