"""Runs a test module's claims by Triton's interpreter, which must be chosen before Triton is imported."""

import os
import subprocess
import sys
from pathlib import Path


def assert_by_interpreter(file: str, claim: str) -> None:
    """Assert that `claim`, a call of a function of the test module `file`, raises nothing in its own process."""
    test = Path(file)
    code = f"import {test.stem} as t, torch; torch.set_num_threads(1); t.{claim}"
    path = os.pathsep.join(map(str, (test.parent, Path(__file__).parent)))
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
