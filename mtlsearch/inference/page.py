"""An explanation as one HTML file that runs no script and fetches nothing."""

from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

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


class Part(NamedTuple):
    """A token or a column: the side that it speaks for, how strongly (0 to 1), and its attribution."""

    name: str
    side: str
    strength: str
    weight: str


class ShownAnswer(NamedTuple):
    """An answer with its map, or with the parts of the text or row."""

    task: str
    answer: Answer
    map: str = ""
    about: str = ""
    parts: Sequence[Part] = ()


class ShownInput(NamedTuple):
    """An input with its answers, and the picture itself where it is one."""

    name: str
    kind: str
    answers: Sequence[ShownAnswer]
    picture: str = ""
    small: bool = False


class Use(NamedTuple):
    """A task's use of the trunk: the strip of its units, and how many count."""

    task: str
    strip: str
    counts: str


def page(explanation: Explanation) -> str:
    """The whole page as text."""
    answers = [a for each in explanation.inputs for found in each.answers.values() for a in found]
    kinds = dict.fromkeys(each.example.kind for each in explanation.inputs)
    uses = _uses(explanation) if explanation.uses else []
    return render(
        "inference/page.html.j2",
        explanation=explanation,
        has_values=any(answer.probability is None for answer in answers),
        inputs=[_input(each) for each in explanation.inputs],
        most_shown=MOST_SHOWN,
        most_across=MOST_ACROSS,
        most_tasks=MANY_TASKS,
        lead=lead(explanation),
        uses=uses,
        overlaps=[[f"{v:.2f}" for v in row] for row in explanation.overlap.tolist()] if uses else [],
        mostly=f"{MOSTLY:.0%}",
        baselines=[BASELINES[kind] for kind in kinds],
        number=_number,
        count=_count,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _number(value: float, form: str = ".4g") -> str:
    return format(value, form).replace("-", "−")


def _input(each: Explained) -> ShownInput:
    from PIL import Image

    answers = [_answer(each, task, answer) for task, found in each.answers.items() for answer in found]
    shown = ShownInput(each.example.name, each.example.kind, answers)
    if shown.kind != "picture":
        return shown
    pixels = pixels_of(each.example.x)
    return shown._replace(picture=_data(Image.fromarray(pixels)), small=max(pixels.shape[:2]) < SMALL)


def _answer(each: Explained, task: str, answer: Answer) -> ShownAnswer:
    if each.example.kind == "picture":
        about = f"what speaks for and against {task}: {said(answer)}"
        return ShownAnswer(task, answer, _data(map_of(answer.weights, each.example.x)), about)
    return ShownAnswer(
        task, answer, parts=(_tokens if each.example.kind == "text" else _columns)(each, answer)
    )


def _data(picture: "Image") -> str:
    return f"data:image/png;base64,{b64encode(png(picture)).decode()}"


def _tokens(each: Explained, answer: Answer) -> list[Part]:
    weights = answer.weights.double().numpy()
    return [
        Part(word, _side(w) if abs(s) > FAINT else "faint", f"{abs(s):.2f}", _number(w, "+.3g"))
        for word, w, s in zip(each.example.parts, weights, strength(weights), strict=True)
    ]


def _columns(each: Explained, answer: Answer) -> list[Part]:
    """The columns that did most, and all others together."""
    sums = by_part(answer, each.example.parts)
    ranked = sorted(sums, key=lambda column: -abs(sums[column]))
    shown = {column: sums[column] for column in ranked[:TOP_COLUMNS]}
    if rest := ranked[TOP_COLUMNS:]:
        shown[f"{_count(len(rest), 'other')} together"] = sum(sums[column] for column in rest)
    longest = max(map(abs, shown.values())) or 1.0
    return [Part(name, _side(w), f"{abs(w) / longest:.3f}", _number(w, "+.3g")) for name, w in shown.items()]


def _side(weight: float) -> str:
    return "for" if weight >= 0 else "against"


# The trunk.


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


def _uses(explanation: Explanation) -> list[Use]:
    uses, relied, order = explanation.uses, explanation.relied, _order(explanation)
    own = (relied & (relied.sum(0) == 1)).sum(1).tolist()
    found = []
    for (task, use), mine in zip(uses.items(), own, strict=True):
        effective, units = effective_units(use), len(use)
        counts = f"{effective:.1f} of {units} ({effective / units:.0%}) · {mine}"
        found.append(Use(task, _data(strip_of(use[order])), counts))
    return found


def _order(explanation: Explanation) -> list[int]:
    """The units by the task that they serve most; within it the units of this task alone come first."""
    uses = torch.stack(list(explanation.uses.values()))
    total = uses.sum(0)
    best = uses.argmax(0).masked_fill(total == 0, len(uses))
    share = uses.amax(0) / total.clamp(min=1e-300)
    return sorted(range(uses.shape[1]), key=lambda u: (int(best[u]), -float(share[u]), -float(total[u])))
