"""Options have one home: the command line and `mtlsearch.search` take their names, defaults and bounds from it."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

import mtlsearch
from mtlsearch.cli.main import main
from mtlsearch.errors import UsageError
from mtlsearch.tuning.options.flags import Options
from mtlsearch.tuning.options.training import CompareOptions, ConfirmOptions, RunOptions


def test_search_takes_the_options_of_run_with_their_defaults() -> None:
    taken = inspect.signature(mtlsearch.search).parameters
    assert {name: each.default for name, each in taken.items()} == {
        each.name: each.default for each in fields(RunOptions)
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("run", RunOptions), ("confirm", ConfirmOptions), ("compare", CompareOptions)]
)
def test_a_command_has_a_parameter_for_each_option(name: str, kind: type[Options]) -> None:
    # How much is shown, and as what, is the command line's own affair.
    parameters = {each.name for each in main.commands[name].params}
    assert parameters - {"as_json", "every"} == {each.name for each in fields(kind)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "trials must be 1 or more, but got 0"),
        ({"seeds": -1}, "seeds must be 1 or more, but got -1"),
        ({"timeout": 0}, "timeout must be above 0, but got 0"),
        ({"precision": "fp8"}, "precision must be fp32, tf32, bf16, but got 'fp8'"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_rule(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        RunOptions(study="digits", **given)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_an_unknown_argument_of_search_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'trails'"):
        mtlsearch.search("digits", trails=3)  # type: ignore[call-arg]


def test_a_study_is_wanted_by_name_by_shipped_name_or_by_the_stem_of_its_file() -> None:
    assert ConfirmOptions(study="digits").wanted == "digits"
    assert ConfirmOptions(study="some/wine.py").wanted == "wine"
    assert ConfirmOptions(study="some/wine.py", name="mine").wanted == "mine"
    assert ConfirmOptions().wanted is None


def test_the_data_directory_is_the_one_that_is_named() -> None:
    assert RunOptions(study="digits", data="here").directory == Path("here")
