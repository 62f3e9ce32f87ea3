"""Output of an explanation: a page or a picture in a file, and a small table or JSON on stdout."""

from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlsearch.errors import UsageError
from mtlsearch.files import check_writable, replacing, write_text
from mtlsearch.inference.attribution import effective_units, relied_on
from mtlsearch.inference.explain import BASELINES, Answer, Example, Explained, Explanation, by_part
from mtlsearch.terminal import notice, show_rows
from mtlsearch.wording import plain, visible

PAGES, PICTURE = (".html", ".htm"), ".png"


def check_place(output: Path) -> None:
    """Raise UsageError for a file of another kind, and ConfigError where it cannot be written."""
    if output.suffix.lower() not in (*PAGES, PICTURE):
        raise UsageError(f"the output must end in .html or .png, but got {output}")
    check_writable(output)


def write_explanation(explanation: Explanation, output: Path) -> None:
    """Write the page, or the sheet of pictures. Raises ConfigError, and UsageError for a sheet of other inputs."""
    if output.suffix.lower() == PICTURE:
        _write_sheet(explanation, output)
    else:
        from mtlsearch.inference.page import page

        write_text(output, page(explanation))
    notice(f"{output} is written")


def _write_sheet(explanation: Explanation, output: Path) -> None:
    from mtlsearch.inference.picture import sheet

    other = next((each.example for each in explanation.inputs if each.example.kind != "picture"), None)
    if other is not None:
        raise UsageError(f"a .png shows pictures, but {other.name} is none: use -o NAME.html")
    picture = sheet(explanation)
    with replacing(output) as partial:
        picture.save(partial, "PNG")


def show_explanation(explanation: Explanation) -> None:
    """Print a line per input and answer, and the overlap of the tasks in the trunk."""
    columns = ["input", "task", "prediction", "probability", "attributed", "of", "gap", "trunk"]
    asked = ((each, t, a) for each in explanation.inputs for t, found in each.answers.items() for a in found)
    show_rows(columns, (_row(*answer) for answer in asked))
    for line in overlap_lines(explanation):
        print(visible(line))


def _row(each: Explained, task: str, answer: Answer) -> list[str]:
    probability = "" if answer.probability is None else f"{answer.probability:.4f}"
    found, trunk = answer.integral, "–"
    if task in each.uses:
        use = each.uses[task]
        trunk = f"{effective_units(use):.1f} of {len(use)} units"
    sums = [plain(found.change + found.delta), plain(found.change), f"{found.gap:.1%}"]
    return [each.example.name, task, answer.label, probability, *sums, trunk]


def overlap_lines(explanation: Explanation) -> list[str]:
    """The overlap of two tasks; of more tasks that of the least and of the most alike pair."""
    if len(explanation.uses) < 2:
        return []
    cosines = explanation.overlap
    tasks = list(enumerate(explanation.uses))
    pairs = sorted((float(cosines[i, j]), a, b) for (i, a), (j, b) in combinations(tasks, 2))
    chosen = dict.fromkeys([pairs[0], pairs[-1]])
    return [f"trunk overlap of {a} and {b}: {cosine:.2f} (1: the same units alike)" for cosine, a, b in chosen]


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The numbers, as one JSON object."""
    return {
        "study": explanation.study,
        "method": "integrated gradients",
        "inputs": [_input_json(each) for each in explanation.inputs],
        "trunk": _trunk_json(explanation) if explanation.uses else None,
    }


def _trunk_json(explanation: Explanation) -> dict[str, Any]:
    uses, rows = explanation.uses, explanation.overlap.tolist()
    return {
        "units": explanation.relied.shape[1],
        "tasks": {task: _use_json(use) for task, use in uses.items()},
        "overlap": {task: dict(zip(uses, row, strict=True)) for task, row in zip(uses, rows, strict=True)},
    }


def _input_json(each: Explained) -> dict[str, Any]:
    return {
        "input": each.example.name,
        "baseline": BASELINES[each.example.kind],
        "tasks": {t: [_answer_json(a, each.example) for a in found] for t, found in each.answers.items()},
        "trunk": {task: effective_units(use) / len(use) for task, use in each.uses.items()},
    }


def _answer_json(answer: Answer, example: Example) -> dict[str, Any]:
    weights: Any = answer.weights.tolist()
    if example.kind == "text":
        weights = [[token, weight] for token, weight in zip(example.parts, weights, strict=True)]
    elif example.kind == "table":
        weights = by_part(answer, example.parts)
    return {
        "prediction": answer.label,
        "probability": answer.probability,
        "output": answer.integral.end,
        "baseline_output": answer.integral.start,
        "delta": answer.integral.delta,
        "attributions": weights,
    }


def _use_json(use: Tensor) -> dict[str, Any]:
    return {
        "effective_units": effective_units(use),
        "effective_share": effective_units(use) / len(use),
        "relied_on": relied_on(use).nonzero().flatten().tolist(),
        "use": use.tolist(),
    }
