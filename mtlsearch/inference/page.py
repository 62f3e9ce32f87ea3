"""An explanation as one HTML file that runs no script and fetches nothing."""

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import torch

from mtlsearch.inference.attribution import MOSTLY, effective_units
from mtlsearch.inference.explain import BASELINES, Answer, Explained, Explanation, by_part
from mtlsearch.inference.picture import map_of, pixels_of, png, said, strength, strip_of
from mtlsearch.offline_page import render
from mtlsearch.wording import MANY_TASKS

if TYPE_CHECKING:
    from PIL.Image import Image

TOP_COLUMNS = 10
MOST_ACROSS = 5
MOST_SHOWN = 16  # answers of an input, tasks of the trunk; the rest is folded
FAINT = 0.08  # weaker tokens stay without colour
SMALL = 100  # pixels; the pixels of smaller pictures are drawn as squares


def page(explanation: Explanation) -> str:
    """The whole page as text."""
    inputs = [_input(each) for each in explanation.inputs]
    kinds = dict.fromkeys(each.example.kind for each in explanation.inputs)
    shared = bool(explanation.uses)
    return render(
        "inference/page.html.j2",
        explanation=explanation,
        inputs=inputs,
        has_values=any(each["answer"].probability is None for found in inputs for each in found["answers"]),
        most_shown=MOST_SHOWN,
        most_across=MOST_ACROSS,
        most_tasks=MANY_TASKS,
        lead=lead(explanation),
        uses=_uses(explanation) if shared else [],
        overlaps=[[f"{v:.2f}" for v in row] for row in explanation.overlap.tolist()] if shared else [],
        mostly=f"{100 * MOSTLY:.0f} %",
        baselines=[BASELINES[kind] for kind in kinds],
        number=_number,
        count=_count,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _number(value: float, form: str = ".4g") -> str:
    return format(value, form).replace("-", "−")


def _data(picture: "Image") -> str:
    return f"data:image/png;base64,{b64encode(png(picture)).decode()}"


def _input(each: Explained) -> dict[str, Any]:
    """An input with its answers: each with its map, or with the parts of the text or row."""
    from PIL import Image

    answers = [(task, answer) for task, found in each.answers.items() for answer in found]
    if each.example.kind != "picture":
        draw = _tokens if each.example.kind == "text" else _columns
        return {"answers": [{"task": t, "answer": a, "parts": draw(each, a)} for t, a in answers]}
    pixels = pixels_of(each.example.x)
    maps = [_data(map_of(answer.weights, each.example.x)) for _, answer in answers]
    return {
        "picture": _data(Image.fromarray(pixels)),
        "small": max(pixels.shape[:2]) < SMALL,
        "answers": [
            {"task": t, "answer": a, "map": m, "about": f"what speaks for and against {t}: {said(a)}"}
            for (t, a), m in zip(answers, maps, strict=True)
        ],
    }


def _part(name: str, weight: float, strength: float) -> dict[str, str]:
    """A token or a column with its attribution, and how strong its colour is, from 0 to 1."""
    side = "for" if weight >= 0 else "against"
    return {"name": name, "side": side, "strength": f"{strength:.3f}", "weight": _number(weight, "+.3g")}


def _tokens(each: Explained, answer: Answer) -> list[dict[str, str]]:
    weights = answer.weights.double().numpy()
    parts = map(_part, each.example.parts, weights, abs(strength(weights)))
    return [part if float(part["strength"]) > FAINT else {**part, "side": "faint"} for part in parts]


def _columns(each: Explained, answer: Answer) -> list[dict[str, str]]:
    """The columns that did most, and all others together."""
    sums = by_part(answer, each.example.parts)
    ranked = sorted(sums, key=lambda column: -abs(sums[column]))
    shown = {column: sums[column] for column in ranked[:TOP_COLUMNS]}
    if rest := ranked[TOP_COLUMNS:]:
        shown[f"{_count(len(rest), 'other')} together"] = sum(sums[column] for column in rest)
    longest = max(map(abs, shown.values())) or 1.0
    return [_part(name, weight, abs(weight) / longest) for name, weight in shown.items()]


def lead(explanation: Explanation) -> str:
    """How many of the shared units serve which tasks, in a sentence."""
    tasks = list(explanation.uses)
    if not tasks:
        return "The tasks share no units."
    users, units = explanation.relied.sum(0), explanation.relied.shape[1]
    if len(tasks) == 1:
        return f"{tasks[0]} relies on {int(users.sum())} of {units} units for {100 * MOSTLY:.0f} % of its answer."
    several, alone, none = (int(n) for n in ((users > 1).sum(), (users == 1).sum(), (users == 0).sum()))
    many, nobody = ("both", "neither") if len(tasks) == 2 else ("several", "none")
    return f"Of {_count(units, 'shared unit')}, {several} serve {many} tasks, {alone} one alone, {none} {nobody}."


def _uses(explanation: Explanation) -> list[dict[str, str]]:
    """Each task's use of the trunk: the strip of its units, and how many count."""
    relied, order, found = explanation.relied, _order(explanation), []
    own = (relied & (relied.sum(0) == 1)).sum(1).tolist()
    for (task, use), mine in zip(explanation.uses.items(), own, strict=True):
        effective, units = effective_units(use), len(use)
        counts = f"{effective:.1f} of {units} ({100 * effective / units:.0f} %) · {mine}"
        found.append({"task": task, "strip": _data(strip_of(use[order])), "counts": counts})
    return found


def _order(explanation: Explanation) -> list[int]:
    """The units by the task that they serve most; within it the units of this task alone come first."""
    uses = torch.stack(list(explanation.uses.values()))
    total = uses.sum(0)
    best = uses.argmax(0).masked_fill(total == 0, len(uses))
    share = uses.amax(0) / total.clamp(min=1e-300)
    return sorted(range(uses.shape[1]), key=lambda u: (int(best[u]), -float(share[u]), -float(total[u])))
