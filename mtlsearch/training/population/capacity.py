"""How many members fit on the device, from memory that is measured and not guessed."""

from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.losses import task_losses

DEFAULT_POPULATION = {"cpu": 16, "cuda": 64}
SHARE = 0.8  # of the free memory; the rest is for what allocators and kernels take on top
# Of a search: in 100 trials so many at once lose little to one at a time (benchmarks/quality.py).
LEAST_AT_ONCE, TRIALS_A_MEMBER = 16, 6
COPIES = 8  # parameters, gradients, two moments, best epoch, snapshot (three)


def search_population(loaded: LoadedStudy, trials: int) -> int:
    """How many of a search's trials train at once: so few that the sampler knows most of those before each ask."""
    return min(population_size(loaded), max(LEAST_AT_ONCE, trials // TRIALS_A_MEMBER))


def repeat_population(loaded: LoadedStudy, searched: int) -> int:
    """How many repeats train at once after a search of `searched` at once: as many as fit, for no ask waits for them.

    Where the search trained one at a time, so do they.
    """
    return 1 if searched == 1 else max(searched, population_size(loaded))


def population_size(loaded: LoadedStudy, dtype: torch.dtype = torch.float32) -> int:
    """The largest population: what the device type pays for, or what fits if that is less."""
    fits = int(SHARE * free_bytes(loaded.device) / member_bytes(loaded, dtype))
    return max(1, min(DEFAULT_POPULATION[loaded.device.type], fits))


def free_bytes(device: torch.device) -> int:
    """The memory that is free on `device` now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("MemAvailable is missing")  # Linux has it since 3.14


def member_bytes(loaded: LoadedStudy, dtype: torch.dtype = torch.float32) -> int:
    """What one member of the widest kind takes: its state, and what one step of it keeps for the gradient."""
    study = loaded.study
    model = study.build(_widest(loaded), seed=0).to(loaded.device, dtype)
    state = sum(p.numel() * p.element_size() for p in model.parameters())
    kept: dict[int, int] = {}

    def measure(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    rows = torch.arange(study.batch_size, device=loaded.device)
    parts = [splits.train.rows(rows % len(splits.train)) for splits in loaded.splits]
    with saved_tensors_hooks(measure, lambda tensor: tensor):
        task_losses(loaded, model, parts, dtype)
    # Backward needs about as much again as forward has kept.
    return COPIES * state + 2 * sum(kept.values())


def _widest(loaded: LoadedStudy) -> Config:
    """The default config with every number of the space at its upper end: the largest model, as a rule."""
    study = loaded.study
    default = study.default_config()
    highs = {
        name: d.high for name, d in study.space.items() if hasattr(d, "high") and isinstance(d.high, int)
    }
    return Config({**default.hyperparameters, **highs}, default.task_weights)
