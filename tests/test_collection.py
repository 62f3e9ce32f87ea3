"""Imports without a search for garbage, and an exit without one."""

import gc
import subprocess
import sys

import pytest

from mtlsearch.collection import without_collection


def test_python_looks_for_no_garbage_while_it_imports_and_as_before_afterwards() -> None:
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_leaves_the_search_for_garbage_on() -> None:
    with pytest.raises(ImportError), without_collection():
        import mtlsearch.of_no_such_name  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_where_the_search_for_garbage_was_off_it_stays_off() -> None:
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_ends_with_nothing_left_to_look_through() -> None:
    # Handlers run last registered first, so this one sees what Python's end finds.
    told = (
        "import atexit, gc; atexit.register(lambda: print('at exit', len(gc.get_objects())));"
        "from mtlsearch.cli import main; main(['studies'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert int(done.stdout.split("at exit")[1]) < 100


SOLO = """
import torch
from mtlsearch.study.space import Config
from mtlsearch.training.optim import OPTIMIZERS, OptimizerSettings, plain_step

for name in OPTIMIZERS:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = OptimizerSettings.of(Config({"optimizer": name}, {})).build([weight])
    for _ in range(2):
        optimizer.zero_grad()
        weight.sum().backward()
        plain_step(optimizer)()
    optimizer.load_state_dict(optimizer.state_dict())
    assert weight.max() < 1
"""


def test_a_run_imports_nothing_that_only_some_runs_need() -> None:
    code = (
        f"import sys, mtlsearch.tuning.run\n{SOLO}\n"
        "late = {'pandas', 'plotly', 'scipy.optimize', 'scipy.special', 'sklearn'}\n"
        "late |= {'torch._dynamo', 'torchvision', 'triton', 'optuna_dashboard'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
