"""The recommendation of a verdict: which tasks to train together, with which weights, and which alone.

**The rule.** A main task with auxiliary ones: together where sharing helps it, else alone, which is simpler. Several
scored tasks: together, which is one model instead of many, except those that sharing hurts; with fewer than two left,
each alone. Where a task is better alone and sharing need not be to blame, the search has not answered yet, and the
recommendation is to search again. Of the auxiliary tasks that the winner keeps, those stay whose effect is better; if
none is while sharing helps, the one with the largest effect. Weights are equal ones where the verdict keeps those.
With loss terms, which cannot be trained alone, the weights are all that there is to recommend.

The sentence has neither numbers nor symbols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mtlsearch.evidence.effects import Effect
from mtlsearch.wording import listed

Kept = Literal["tuned", "equal"]
Action = Literal["together", "alone", "together and alone", "search again"]


@dataclass(frozen=True)
class Findings:
    """The findings of a verdict.

    `scored` and `auxiliary` are the study's tasks, `kept` the auxiliary tasks that the winner trains. `sharing` holds
    the effect on each scored task, empty where no task was trained alone; `left_out` that of each auxiliary task that
    was left out for comparison. `tuning` is the effect of tuned weights on the score. `excused` are the tasks for
    which sharing need not be to blame; `terms` are the losses that are no tasks.
    """

    scored: Sequence[str]
    auxiliary: Sequence[str]
    kept: Sequence[str]
    tuning: Effect
    sharing: Mapping[str, Effect]
    left_out: Mapping[str, Effect]
    excused: Sequence[str] = ()
    terms: Sequence[str] = ()

    def of(self, *kinds: str) -> list[str]:
        """The scored tasks on which sharing has an effect of these kinds."""
        return [task for task, effect in self.sharing.items() if effect.kind in kinds]


@dataclass(frozen=True)
class Recommendation:
    """The advice: the tasks to train `together`, with `weights`, and `alone`; auxiliary ones to leave out."""

    action: Action
    together: tuple[str, ...]
    alone: tuple[str, ...]
    left_out: tuple[str, ...]
    weights: Kept
    sentence: str


def recommend(found: Findings, weights: Kept) -> Recommendation:
    """The module's rule; `weights` are those that the verdict keeps."""
    if found.terms:
        return _terms(found, weights)
    again = [task for task in found.of("worse") if task in found.excused]
    if again:
        return _search_again(found, weights, again)
    if len(found.scored) == 1 and found.auxiliary:
        return _main_task(found, weights)
    return _several(found, weights)


def _terms(found: Findings, weights: Kept) -> Recommendation:
    names = (*found.scored, *found.kept, *found.terms)
    return Recommendation("together", names, (), (), weights, f"Train {_how(weights, found)}.")


def _search_again(found: Findings, weights: Kept, again: Sequence[str]) -> Recommendation:
    verb = "is" if len(again) == 1 else "are"
    sentence = f"Search again before you decide: {listed(again)} {verb} better alone, but sharing need not be to blame."
    return Recommendation("search again", (*found.scored, *found.kept), (), (), weights, sentence)


def _main_task(found: Findings, weights: Kept) -> Recommendation:
    (main,) = found.scored
    kind = found.sharing[main].kind if found.sharing else None
    kept = _kept(found)
    if kind is None:
        sentence = f"{_keep((main, *kept), weights, found)}; whether sharing helps {main} was not tried."
        return Recommendation("together", (main, *kept), (), _rest(found.auxiliary, kept), weights, sentence)
    if kind == "better":
        sentence = f"{_keep((main, *kept), weights, found)}: sharing helps {main}."
        return Recommendation("together", (main, *kept), (), _rest(found.auxiliary, kept), weights, sentence)
    others = listed(list(found.kept or found.auxiliary))
    reasons = {
        "same": f"sharing with {others} makes no difference",
        "worse": f"sharing with {others} hurts it",
        "not better": f"sharing with {others} is no better",
    }
    reason = reasons.get(kind, f"nothing shows that sharing with {others} helps")
    sentence = f"Train {main} alone: {reason}."
    return Recommendation("alone", (), (main,), tuple(found.auxiliary), weights, sentence)


def _several(found: Findings, weights: Kept) -> Recommendation:
    hurt = found.of("worse")
    shared = [task for task in found.scored if task not in hurt]
    kept = _kept(found)
    if hurt and len(shared) < 2:
        sentence = f"Train each task alone: sharing hurts {listed(hurt)}."
        return Recommendation("alone", (), tuple(found.scored), tuple(found.auxiliary), weights, sentence)
    together, rest = (*shared, *kept), _rest(found.auxiliary, kept)
    if hurt:
        sentence = f"Train {listed(hurt)} alone, and {_keep(together, weights, found, first=False)}: {_why(found)}."
        return Recommendation("together and alone", together, tuple(hurt), rest, weights, sentence)
    sentence = f"{_keep(together, weights, found)}: {_why(found)}." if len(found.scored) > 1 else ""
    return Recommendation("together", together, (), rest, weights, sentence)


def _why(found: Findings) -> str:
    """The effect of sharing on the scored tasks, in words."""
    helped, hurt, same = found.of("better"), found.of("worse"), found.of("same", "not worse")
    if not found.sharing:
        return "whether sharing pays was not tried"
    said = [f"sharing helps {listed(helped)}"] if helped else []
    said += [f"sharing hurts {listed(hurt)}"] if hurt else []
    if not said and len(same) == len(found.scored):
        return "one model for all is as good as one for each"
    return " and ".join(said) or "nothing shows that sharing harms a task"


def _keep(tasks: Sequence[str], weights: Kept, found: Findings, first: bool = True) -> str:
    whole = len(tasks) == len(found.scored) + len(found.auxiliary)
    names = "all tasks" if whole and len(tasks) > 4 else listed(tasks)
    return f"{'Keep' if first else 'keep'} {names} together {_how(weights, found)}"


def _how(weights: Kept, found: Findings) -> str:
    if weights == "equal":
        return "with equal weights"
    if found.tuning.kind == "better":
        return "with the tuned weights"
    return "with the weights that were found, though nothing shows that equal ones are worse"


def _kept(found: Findings) -> tuple[str, ...]:
    """The auxiliary tasks to keep."""
    useful = [task for task in found.kept if task not in found.left_out or found.left_out[task].kind == "better"]
    if useful or not found.left_out:
        return tuple(useful)
    helps = any(effect.kind == "better" for effect in found.sharing.values())
    largest = max(found.left_out, key=lambda task: found.left_out[task].difference.mean)
    return (largest,) if helps and len(found.scored) == 1 else ()


def _rest(auxiliary: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    return tuple(task for task in auxiliary if task not in kept)
