"""Whether this machine can build and run the kernels."""

from functools import cache
from importlib.util import find_spec
from subprocess import CalledProcessError
from threading import Lock

import torch

from mtlsearch.kernels.launch import on

_first = Lock()


@cache
def works(device: torch.device) -> bool:
    """Whether Triton can build kernels for `device` here: it needs a C compiler and Python's headers."""
    if find_spec("triton") is None:
        return False
    from mtlsearch.kernels.loss import note

    with _first, on(device):  # other threads wait for the first answer
        loss = torch.zeros(1, device=device)
        bad, tick = (torch.zeros(1, dtype=torch.int64, device=device) for _ in range(2))
        try:
            note(loss, bad, tick)
        # There is no C compiler, no folder for its cache, or no Python.h.
        except (RuntimeError, OSError, CalledProcessError):
            return False
    return True
