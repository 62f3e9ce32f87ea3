"""The search from Python: what `mtlsearch.search` gives, where it goes on, and in a notebook."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import known_weights as known
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

import mtlsearch
from mtlsearch import Result, Study
from mtlsearch.errors import MtlsearchError, UsageError
from mtlsearch.study.loaded import load_data

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
QUICK: dict[str, Any] = {"trials": 6, "population": 1, "threads": 1, "quiet": True, "sampler": "random"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study() -> Study:
    return replace(known.study, source="")


def test_search_gives_what_the_command_exports(study: Study) -> None:
    result = mtlsearch.search(study, name="mine", confirm=False, **QUICK)
    assert result.best["study"]["name"] == "mine"
    assert len(result.frame) == 6
    assert result.best["score"]["value"] == result.frame["score"].max()
    assert result.verdict is None
    assert "mine: trial" in str(result)
    assert "noisy" in str(result)
    assert str(result).splitlines()[0] in result._repr_html_()


def test_confirmed_search_gives_the_verdict(study: Study) -> None:
    result = mtlsearch.search(study, name="mine", seeds=2, top=1, **QUICK)
    assert result.verdict is not None
    assert result.verdict["kind"] in {"tuned", "equal", "undecided", "harm", "worse"}
    assert all(line in " ".join(str(result).split()) for line in (" ".join(x.split()) for x in result.verdict["lines"]))


def test_same_call_goes_on_where_it_stopped(study: Study) -> None:
    mtlsearch.search(study, name="mine", confirm=False, **QUICK)
    result = mtlsearch.search(study, name="mine", confirm=False, **{**QUICK, "trials": 8})
    assert len(result.frame) == 8


def test_front_holds_the_trials_that_no_other_beats_everywhere(study: Study) -> None:
    result = mtlsearch.search(study, name="mine", confirm=False, **{**QUICK, "trials": 12, "pruner": "none"})
    signs = [1 if about["higher_is_better"] else -1 for about in result.best["tasks"].values()]
    names = [f"validation.{task}.{about['metric']}" for task, about in result.best["tasks"].items()]
    every = result.frame[names].to_numpy() * signs
    best = [not any((b >= a).all() and (b > a).any() for b in every) for a in every]
    assert result.front["number"].tolist() == result.frame["number"][np.array(best)].tolist()
    assert 0 < len(result.front) <= 12


def test_model_of_a_study_defined_in_python_is_the_best_one(study: Study) -> None:
    result = mtlsearch.search(study, name="mine", confirm=False, **QUICK)
    loaded = load_data(study, Path("nowhere"))
    model = result.model()
    with torch.no_grad():
        outputs = model({task: splits.test.inputs[:3] for splits in loaded.splits for task in splits.tasks})
    assert set(outputs) == set(study.task_names)
    assert not model.training


def test_plots_are_the_figures_of_the_report(study: Study) -> None:
    figures = mtlsearch.search(study, name="mine", confirm=False, **QUICK).plots()
    assert figures
    assert all(figure.data for figure in figures.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "a study that is defined in Python needs a name"),
        ({"name": "mine", "trials": 0}, "trials must be 1 or more, but got 0"),
        ({"name": "mine", "sampler": "none"}, "--sampler must be"),
        ({"name": "mine", "fixed": {"nothing": 1}}, "nothing"),
    ],
)
def test_bad_input_is_one_line(study: Study, options: dict[str, Any], told: str) -> None:
    with pytest.raises(MtlsearchError, match=re.escape(told)) as raised:
        mtlsearch.search(study, **{**QUICK, "confirm": False, **options})
    assert "\n" not in str(raised.value)
    assert not Path("mtlsearch.db").exists() or isinstance(raised.value, UsageError)


def test_model_of_a_python_study_is_not_loaded_without_it(study: Study, here: Path) -> None:
    result = mtlsearch.search(study, name="mine", confirm=False, **QUICK)
    (file,) = [path for path in result.artifacts.rglob("*") if result.best and path.is_file()][-1:]
    with pytest.raises(MtlsearchError, match="defined in Python"):
        mtlsearch.load_model(file)
    assert mtlsearch.load_model(file, study) is not None


@pytest.fixture
def one_core() -> Iterator[None]:
    """One core for the programs that a test starts: on shared cores two threads take longer than one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def notebook_cells() -> list[str]:
    return re.findall(r"^```python notebook\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_notebook_of_the_documentation_runs_with_progress_and_result(here: Path) -> None:
    cells = notebook_cells()
    assert cells
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=500, kernel_name="python3").execute(cwd=str(here))
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    shown = [output["data"] for output in outputs if "data" in output]
    lines = [data["text/plain"] for data in shown if "trial-epochs/s" in data["text/plain"]]
    assert len(lines) == 1  # one output, drawn again and again
    assert re.search(r"(\d+)/\1 trials", lines[0])
    assert "<progress " in next(data for data in shown if "trial-epochs/s" in data["text/plain"])["text/html"]
    results = [data for data in shown if data["text/plain"].startswith("Result(")]
    assert len(shown) == len(lines) + len(results), "the result is one output"
    assert all(word in results[0]["text/html"] for word in ("<pre>digits: ", "weight", "validation", "left", "hidden"))
    assert not [output for output in outputs if output.output_type == "error"]


def test_result_is_public() -> None:
    assert mtlsearch.search is not None
    assert Result.__module__ == "mtlsearch.api"
