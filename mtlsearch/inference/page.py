"""An explanation as one HTML file that runs no script and asks nothing of any other place.

Everything that a user has named, and every token and cell of an input, is escaped.
"""

import html
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from mtlsearch.inference.attribution import MOSTLY, effective_units
from mtlsearch.inference.explain import BASELINES, Answer, Explained, Explanation, by_part
from mtlsearch.inference.picture import map_of, pixels_of, png, said, strength, strip_of
from mtlsearch.wording import MANY_TASKS

if TYPE_CHECKING:
    from PIL.Image import Image

TOP_COLUMNS = 10
MOST_ACROSS = 5
MOST_SHOWN = 16  # answers to an input, tasks of the trunk; the rest is there on request
FAINT = 0.08  # tokens of less strength stay bare
SMALL = 100  # pixels; smaller pictures are shown as squares
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(explanation: Explanation) -> str:
    """The whole page as text."""
    inputs = [_input(each) for each in explanation.inputs]
    style = "".join(
        files(room).joinpath(name).read_text(encoding="utf-8")
        for room, name in (("mtlsearch", "page.css"), ("mtlsearch.inference", "explain.css"))
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(explanation.study)} explained – mtlsearch</title>",
            f"<style>\n{style}</style>\n</head>\n<body>\n<main>",
            _header(explanation),
            *inputs,
            _trunk(explanation),
            _method(explanation),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _header(explanation: Explanation) -> str:
    counts = f"{_count(len(explanation.inputs), 'input')} · {_count(len(explanation.tasks), 'task')}"
    left = f" · not explained: {_text(', '.join(explanation.left_out))}" if explanation.left_out else ""
    values = any(
        answer.probability is None
        for each in explanation.inputs
        for a in each.answers.values()
        for answer in a
    )
    return (
        f"<header><p>mtlsearch explain</p><h1>{_text(explanation.study)}</h1><p>{counts}{left}</p>"
        f'<p class="legend"><span class="for">speaks for the answer{" (a value: raises it)" if values else ""}</span>'
        f'<span class="against">speaks against it{" (lowers it)" if values else ""}</span></p></header>'
    )


def _input(each: Explained) -> str:
    """One input with every task's answers; of very many tasks the rest on request."""
    draw = {"picture": _maps, "text": _texts, "table": _bars}[each.example.kind]
    shown = [(task, answer) for task, answers in each.answers.items() for answer in answers]
    first, rest = draw(each, shown[:MOST_SHOWN], True), ""
    if shown[MOST_SHOWN:]:
        more = _count(len(shown) - MOST_SHOWN, "more answer")
        rest = f"<details><summary>{more}</summary>{draw(each, shown[MOST_SHOWN:], False)}</details>"
    return f"<section>\n<h2>{_text(each.example.name)}</h2>\n{first}{rest}\n</section>"


def _said(answer: Answer) -> str:
    probability = "" if answer.probability is None else f" <i>{answer.probability:.1%}</i>"
    return f'<span class="said">{_text(answer.label)}{probability}</span>'


def _check(answer: Answer) -> str:
    """What was explained at the baseline and at the input, and what the attributions sum to beside what they should."""
    found = answer.integral
    start, end, given, due = map(_number, (found.start, found.end, found.change + found.delta, found.change))
    return (
        f'<span class="check"><span>{_text(answer.output)} {start} → {end}</span>'
        f" <span>attributed {given} of {due}</span></span>"
    )


def _number(value: float, form: str = ".4g") -> str:
    return format(value, form).replace("-", "−")


# Pictures.


def _maps(each: Explained, answers: Sequence[tuple[str, Answer]], first: bool) -> str:
    from PIL import Image

    small = max(pixels_of(each.example.x).shape[:2]) < SMALL
    figures = []
    if first:
        picture = Image.fromarray(pixels_of(each.example.x))
        figures.append(_figure(picture, "the input", small, "<b>input</b>"))
    for task, answer in answers:
        words = f"<b>{_text(task)}</b>{_said(answer)}{_check(answer)}"
        about = f"what speaks for and against {task}: {said(answer)}"
        figures.append(_figure(map_of(answer.weights, each.example.x), about, small, words))
    across = min(len(figures), MOST_ACROSS)
    return f'<div class="maps" style="--n:{across}">{"".join(figures)}</div>'


def _figure(picture: "Image", about: str, small: bool, caption: str) -> str:
    kind = "map small" if small else "map"
    return (
        f'<figure><img class="{kind}" src="{_data(picture)}" alt="{_text(about)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data(picture: "Image") -> str:
    return f"data:image/png;base64,{b64encode(png(picture)).decode()}"


# Texts and tables.


def _texts(each: Explained, answers: Sequence[tuple[str, Answer]], first: bool) -> str:
    return "".join(_answer(task, answer, _tokens(each, answer)) for task, answer in answers)


def _answer(task: str, answer: Answer, drawn: str) -> str:
    return f'<div class="answer"><b>{_text(task)}</b>{_said(answer)}{drawn}{_check(answer)}</div>'


def _tokens(each: Explained, answer: Answer) -> str:
    """The text, each token on a ground as strong as its weight."""
    weights = answer.weights.double().numpy()
    words = zip(each.example.parts, weights, strength(weights), strict=True)
    spans = (
        f'<span class="{_side(weight) if abs(strong) > FAINT else "faint"}" style="--w:{abs(strong):.2f}"'
        f' title="{_number(weight, "+.3g")}">{_text(word)}</span>'
        for word, weight, strong in words
    )
    return f'<p class="text">{" ".join(spans)}</p>'


def _bars(each: Explained, answers: Sequence[tuple[str, Answer]], first: bool) -> str:
    return "".join(_answer(task, answer, _columns(each, answer)) for task, answer in answers)


def _columns(each: Explained, answer: Answer) -> str:
    """A bar for each of the columns that did most, and one for all others together."""
    sums = by_part(answer, each.example.parts)
    ranked = sorted(sums, key=lambda column: -abs(sums[column]))
    shown = {column: sums[column] for column in ranked[:TOP_COLUMNS]}
    if len(ranked) > TOP_COLUMNS:
        rest = ranked[TOP_COLUMNS:]
        shown[f"{_count(len(rest), 'other')} together"] = sum(sums[column] for column in rest)
    longest = max(map(abs, shown.values())) or 1.0
    rows = (
        f'<span class="name">{_text(column)}</span><span class="bar"><span class="{_side(weight)}"'
        f' style="--w:{abs(weight) / longest:.3f}"></span></span><span class="number">{_number(weight, "+.3g")}</span>'
        for column, weight in shown.items()
    )
    return f'<div class="bars">{"".join(rows)}</div>'


def _side(weight: float) -> str:
    return "for" if weight >= 0 else "against"


# The trunk.


def _trunk(explanation: Explanation) -> str:
    """How much of what the tasks share each of them uses, and how much of that in common."""
    title = "<h2>How much of the trunk each task uses</h2>"
    if not explanation.uses:
        return f'<section id="trunk">{title}<p class="lead">The tasks share no units.</p></section>'
    few = _overlap(explanation) if len(explanation.uses) > 1 else ""
    if len(explanation.uses) > MANY_TASKS:
        few = f"<details><summary>Overlap of each pair of tasks</summary>{few}</details>"
    averaged = f" Means over {len(explanation.inputs)} inputs." if len(explanation.inputs) > 1 else ""
    caption = (
        "A line is a task, a column of it a unit of the trunk; the fuller its colour, the more of the task's answer"
        " it carries. Units stand by the task that they serve most. Effective units: as many units, used alike,"
        " would be as spread out (e to the power of the entropy). A unit serves a task if it is among the fewest that"
        f" carry {MOSTLY:.0%} of its answer; its own serve no other.{averaged}"
    )
    return (
        f'<section id="trunk">{title}<p class="lead">{_text(lead(explanation))}</p>{_strips(explanation)}'
        f'<p class="caption">{caption}</p>{few}</section>'
    )


def lead(explanation: Explanation) -> str:
    """How many of the shared units serve whom, in a sentence."""
    relied = explanation.relied
    users, units = relied.sum(0), relied.shape[1]
    tasks = list(explanation.uses)
    if len(tasks) == 1:
        return f"{tasks[0]} relies on {int(relied.sum())} of {units} units for 90 % of its answer."
    several, alone, none = (int(n) for n in ((users > 1).sum(), (users == 1).sum(), (users == 0).sum()))
    counts = (
        f"Of {_count(units, 'shared unit')}, {several} serve several tasks, {alone} one alone, {none} none"
    )
    if len(tasks) == 2:
        counts = f"Of {_count(units, 'shared unit')}, {several} serve both tasks, {alone} one alone, {none} neither"
    return f"{counts}."


def _strips(explanation: Explanation) -> str:
    tasks, uses = list(explanation.uses), list(explanation.uses.values())
    relied = explanation.relied
    units = len(uses[0])
    order = _order(explanation)
    rows = [
        '<div class="row head"><span class="name">task</span><span class="units">units</span>'
        '<span class="number">effective units · its own</span></div>'
    ]
    for i, (task, use) in enumerate(zip(tasks, uses, strict=True)):
        own = int((relied[i] & (relied.sum(0) == 1)).sum())
        effective = effective_units(use)
        rows.append(
            f'<div class="row"><span class="name">{_text(task)}</span>'
            f'<img class="strip" src="{_data(strip_of(use[order]))}" alt="the units that {_text(task)} uses">'
            f'<span class="number">{effective:.1f} of {units} ({effective / units:.0%}) · {own}</span></div>'
        )
    few, rest = rows[: MOST_SHOWN + 1], rows[MOST_SHOWN + 1 :]
    more = (
        f"<details><summary>{_count(len(rest), 'more task')}</summary>{''.join(rest)}</details>"
        if rest
        else ""
    )
    return "".join(few) + more


def _order(explanation: Explanation) -> list[int]:
    """The units by the task that they serve most; within it those that serve it alone first."""
    import torch

    uses = torch.stack(list(explanation.uses.values()))
    total = uses.sum(0)
    best = uses.argmax(0).masked_fill(total == 0, len(uses))
    share = uses.amax(0) / total.clamp(min=1e-300)
    return sorted(range(uses.shape[1]), key=lambda u: (int(best[u]), -float(share[u]), -float(total[u])))


def _overlap(explanation: Explanation) -> str:
    tasks = list(explanation.uses)
    head = "".join(f'<th scope="col">{_text(task)}</th>' for task in tasks)
    rows = "".join(
        f'<tr><th scope="row">{_text(task)}</th>'
        + "".join(f'<td style="--w:{value:.2f}">{value:.2f}</td>' for value in row)
        + "</tr>"
        for task, row in zip(tasks, explanation.overlap.tolist(), strict=True)
    )
    caption = "Overlap: the cosine between two tasks' uses. 1: the same units alike; 0: no unit in common."
    table = f'<table class="overlap"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div><p class="caption">{caption}</p>'


def _method(explanation: Explanation) -> str:
    baselines = " or ".join(dict.fromkeys(BASELINES[each.example.kind] for each in explanation.inputs))
    return (
        "<section><h2>How to read this</h2>"
        f'<p class="caption">Integrated gradients (Sundararajan, Taly and Yan, 2017): what the answer\'s logit, or'
        f" value, changes by on the way from {_text(baselines)} to the input is divided among the input's parts. Under"
        " each answer stands what they sum to, and what they should. Colours are scaled for each answer alone."
        "</p>"
        '<p class="caption">It tells what this model reacts to, not what is so in the world: a part that speaks for an'
        " answer need not cause it.</p></section>"
    )
