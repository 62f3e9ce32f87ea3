"""The cases with known answers, which lie beside the repository."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest


def load_cases() -> ModuleType:
    """The module problems.py of the folder that MTLSEARCH_CASES names, or of ../shared/cases; skips without it."""
    named = os.environ.get("MTLSEARCH_CASES")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "cases"
    path = folder / "problems.py"
    if not path.is_file():
        pytest.skip("the cases are absent: set MTLSEARCH_CASES to the folder that holds problems.py")
    spec = importlib.util.spec_from_file_location("cases_problems", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
