"""The devices that `--devices` names, one for each worker."""

import torch

from mtlsearch.errors import UsageError
from mtlsearch.limits import CORES

ALL = "all"


def named_devices(text: str) -> list[str]:
    """The device of each worker: all CUDA devices for `all`, else those of `cuda:0,cuda:1` or `cpu*2`.

    Raises UsageError for a device that is not there, for one that is named twice, and for devices of two kinds.
    """
    if text == ALL:
        return [f"cuda:{number}" for number in range(cuda_devices())] or ["cpu"]
    found: list[str] = []
    for part in text.split(","):
        name, times, count = part.strip().partition("*")
        if times and not (count.isdecimal() and 0 < int(count) <= CORES * 16):
            raise UsageError(f"--devices {text}: {part.strip()!r} must be DEVICE*NUMBER, such as cpu*2")
        check_device(text, name)
        if name in found:
            raise UsageError(f"--devices {text}: {name} is named twice; two workers on it are {name}*2")
        found += [name] * (int(count) if times else 1)
    if len({name.partition(":")[0] for name in found}) > 1:
        raise UsageError(f"--devices {text}: all must be of one kind, since their trials are compared: cpu, or cuda:N")
    return found


def check_device(text: str, name: str) -> None:
    """Raise UsageError for a name that is no device of this machine."""
    if name == "cpu":
        return
    kind, _, number = name.partition(":")
    if kind != "cuda" or not number.isdecimal():
        raise UsageError(f"--devices must be all, or such as cuda:0,cuda:1 or cpu*2, but got {name!r} in {text!r}")
    if int(number) >= cuda_devices():
        raise UsageError(f"--devices {text}: this machine has {cuda_devices()} CUDA devices; cpu*2 trains without one")


def cuda_devices() -> int:
    """The CUDA devices of this machine."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
