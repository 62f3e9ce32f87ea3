"""Scripts that tests run: each is a fork of one process that has imported what they need, so it starts at once."""

import os
import runpy
import sys
import warnings
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from warm import IMPORTED

processes = get_context("forkserver")
processes.set_forkserver_preload([*IMPORTED])


def child(script: Path, arguments: Sequence[str], log: Path) -> None:
    """The whole of a script's process, whose output goes into `log`."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def run_script(script: Path, arguments: Sequence[str], log: Path, seconds: float = 300) -> str:
    """The output of a script that must succeed; `log` is a new file for it."""
    process = processes.Process(target=child, args=(script, arguments, log))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    output = log.read_text() if log.exists() else ""
    assert process.exitcode == 0, output
    return output
