"""Runs what a test module claims by Triton's interpreter, which has to be chosen before Triton is imported."""

import os
import subprocess
import sys
from pathlib import Path


def assert_by_interpreter(module: str, claim: str) -> None:
    """`claim`, a call of a function of the test module, raises nothing in a process of its own."""
    code = f"import {module} as t, torch; torch.set_num_threads(1); t.{claim}"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parent)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
