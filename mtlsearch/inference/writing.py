"""Where an explanation goes: a page or a picture, and a small table or JSON on stdout."""

from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlsearch.errors import UsageError
from mtlsearch.files import check_writable, replacing, write_text
from mtlsearch.inference.attribution import effective_units, relied_on
from mtlsearch.inference.explain import BASELINES, Answer, Example, Explained, Explanation, by_part
from mtlsearch.terminal import notice, show_rows
from mtlsearch.wording import plain

PAGES, PICTURE = (".html", ".htm"), ".png"


def check_place(output: Path) -> None:
    """Raise UsageError for a file of another kind and ConfigError where it cannot be written, before any work."""
    if output.suffix.lower() not in (*PAGES, PICTURE):
        raise UsageError(f"the output must end in .html or .png, but got {output}")
    check_writable(output)


def write_explanation(explanation: Explanation, output: Path) -> None:
    """Write the page, or the sheet of pictures. Raises UsageError for a sheet of what is no picture, ConfigError."""
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
    """One line per input and answer, and how alike the tasks use the trunk."""
    columns = ["input", "task", "prediction", "probability", "attributed", "of", "gap", "trunk"]
    rows = [
        _row(each, task, answer)
        for each in explanation.inputs
        for task, answers in each.answers.items()
        for answer in answers
    ]
    show_rows(columns, rows)
    for line in overlap_lines(explanation):
        print(line)


def _row(each: Explained, task: str, answer: Answer) -> list[str]:
    probability = "" if answer.probability is None else f"{answer.probability:.4f}"
    found, trunk = answer.integral, "–"
    if task in each.uses:
        use = each.uses[task]
        trunk = f"{effective_units(use):.1f} of {len(use)} units"
    sums = [plain(found.change + found.delta), plain(found.change), f"{found.gap:.1%}"]
    return [each.example.name, task, answer.label, probability, *sums, trunk]


def overlap_lines(explanation: Explanation) -> list[str]:
    """The overlap of the two tasks, or of the least and the most alike pair."""
    tasks = list(explanation.uses)
    if len(tasks) < 2:
        return []
    cosines = explanation.overlap
    pairs = {(tasks[i], tasks[j]): float(cosines[i, j]) for i, j in combinations(range(len(tasks)), 2)}
    least, most = min(pairs, key=lambda p: pairs[p]), max(pairs, key=lambda p: pairs[p])
    chosen = dict.fromkeys([least, most])
    return [f"trunk overlap of {a} and {b}: {pairs[a, b]:.2f} (1: the same units alike)" for a, b in chosen]


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The numbers, as one JSON object."""
    found: dict[str, Any] = {
        "study": explanation.study,
        "method": "integrated gradients",
        "inputs": [_input_json(each) for each in explanation.inputs],
        "trunk": None,
    }
    if explanation.uses:
        tasks = list(explanation.uses)
        found["trunk"] = {
            "units": len(explanation.uses[tasks[0]]),
            "tasks": {task: _use_json(use) for task, use in explanation.uses.items()},
            "overlap": {
                task: dict(zip(tasks, row, strict=True))
                for task, row in zip(tasks, explanation.overlap.tolist(), strict=True)
            },
        }
    return found


def _input_json(each: Explained) -> dict[str, Any]:
    return {
        "input": each.example.name,
        "baseline": BASELINES[each.example.kind],
        "tasks": {
            task: [_answer_json(answer, each.example) for answer in answers]
            for task, answers in each.answers.items()
        },
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
