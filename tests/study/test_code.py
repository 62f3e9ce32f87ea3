"""Digests of a study's code: a change of what is computed is noticed, a change of how it is written is not."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import known_weights as known
import pytest

from mtlsearch.errors import StoreError
from mtlsearch.store.definition import changed_code, check_same
from mtlsearch.study.code import PYTHON, code_of
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.study_file import load_study

FILE = """
import math
import torch
from functools import partial

SCALE = 2.0
TABLE = {"low": 0.1}


def helper(x):
    return x * SCALE


def loss(outputs, labels, power=2):
    # the error
    error = helper(outputs - labels)
    return error.abs() ** power + TABLE["low"]


def made(scale):
    def inner(outputs, labels):
        return scale * (outputs - labels).square()
    return inner


closed = made(3.0)
bound = partial(loss, power=3)


class Model(torch.nn.Module):
    def forward(self, x):
        return x.tanh()
"""


def digests(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "code.py"
    path.write_text(text)
    names: dict[str, Any] = {"__name__": "code_of_a_study"}
    exec(compile(text, str(path), "exec"), names)
    return code_of({each: names[each] for each in ("loss", "closed", "bound", "Model")})


def test_the_same_code_in_another_layout_has_the_same_digests(tmp_path: Path) -> None:
    written = FILE.replace("    # the error\n", '    """The loss."""\n\n\n').replace("error", "distance")
    assert written != FILE
    assert digests(tmp_path, FILE) == digests(tmp_path, "\n\n" + written)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("helper(outputs", "(outputs", ["loss", "bound"]),
        ("x * SCALE", "x + SCALE", ["loss", "bound"]),
        ("SCALE = 2.0", "SCALE = 3.0", ["loss", "bound"]),
        ('"low": 0.1', '"low": 0.2', ["loss", "bound"]),
        ("power=2", "power=4", ["loss", "bound"]),
        ("made(3.0)", "made(30000.0)", ["closed"]),
        ("power=3", "power=1", ["bound"]),
        ("x.tanh()", "x.relu()", ["Model"]),
    ],
)
def test_what_computes_something_else_has_another_digest(
    tmp_path: Path, before: str, after: str, changed: list[str]
) -> None:
    assert before in FILE
    assert changed_code(digests(tmp_path, FILE), digests(tmp_path, FILE.replace(before, after, 1))) == changed


def test_functions_of_libraries_are_left_out() -> None:
    assert code_of({"loss": len, "path": Path.home})["of"] == {}


def test_digests_of_another_python_and_studies_without_any_are_let_through(tmp_path: Path) -> None:
    now = digests(tmp_path, FILE)
    assert changed_code(None, now) == []
    assert changed_code({"python": "3.1", "of": {"loss": "other"}}, now) == []
    assert now["python"] == PYTHON


def info_of(path: Path) -> dict[str, Any]:
    return {**describe(load_data(load_study(str(path)), path.parent)), "seed": 0, "format": "mtlsearch/study/1"}


def test_a_changed_loss_under_the_same_name_is_refused_and_a_changed_file_let_through(tmp_path: Path) -> None:
    source = Path(known.__file__).read_text()
    study = tmp_path / "study.py"
    study.write_text(source)
    found = info_of(study)
    study.write_text(source + dedent("\n\n# A remark.\nUNUSED = 1\n"))
    again = info_of(study)
    assert again["source_sha256"] != found["source_sha256"]
    check_same("study", found, again, None)
    study.write_text(source.replace("- labels).square()", "- labels).abs()"))
    with pytest.raises(StoreError) as error:
        check_same("study", found, info_of(study), None)
    assert str(error.value) == (
        "study 'study' is in the store with other code (loss_fn of clean, metric_fn of clean, loss_fn of noisy,"
        " metric_fn of noisy: changed since it was begun): give this one a name of its own with --name"
    )
