"""How a population is laid out: the widths of its lanes, their slots, and whether compiling their steps pays.

All of it follows from the study and the device type alone, by what was measured, so that a search is repeatable.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from mtlsearch.data.parts import as_input
from mtlsearch.nn.trunks import SeparateTrunks, SharedTrunk
from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.losses import task_losses
from mtlsearch.wording import MANY_TASKS

SLOTS = {"cpu": 16, "cuda": 128}  # of a lane, at most
# Of a CPU lane's step, above which more slots gain a member less than their staying empty costs.
LANE_FLOP = 2e8
# Of a CUDA population that spreads over widths: lanes side by side, and the fewest slots of one.
CUDA_LANES, CUDA_SLOTS = 8, 8
# Close where most arithmetic is, for a search soon turns to the wide, and where most members are drawn; each is
# compiled by itself, once members come that fill a lane of it.
WIDTH_FRACTIONS = (1 / 8, 1 / 4, 7 / 16, 11 / 16, 7 / 8)
WIDTH_STEP = 32
NARROWEST = 2  # times the least hidden size
SMALL_FLOP = 3e7  # of one member's step, below which padding to the full width costs less than another lane
COMPILE_SECONDS = {
    "cpu": (20.0, 10.0),
    "cuda": (13.0, 13.0),
}  # the first lane shape and each other, the first time
# Of a CPU lane's step: what dispatching it operator by operator costs. On CUDA, where lanes step side by side, of one
# step of all: what launching its kernels costs more.
SAVED_SECONDS = {"cpu": 7e-3, "cuda": 2e-4}
SAVED_SHARE = 0.4  # of a CPU step's arithmetic, in passes over memory that are fused
CPU_FLOPS = 1e11
KEPT = 0.6  # of all trial-epochs, which pruning leaves


def lane_slots(loaded: LoadedStudy, module: nn.Module, population: int, widths: int) -> int:
    """How many slots a lane of `module` has, at most `population`: most where one width holds all members.

    Where they spread over several `widths`, a lane has few, so that few stay empty: on a CPU as many as keep its step
    busy, on CUDA an eighth of the population, for about eight lanes side by side keep the device busy.
    """
    most = min(SLOTS[loaded.device.type], population)
    if widths <= 1:
        return most
    if loaded.device.type == "cuda":
        return min(most, max(CUDA_SLOTS, population // CUDA_LANES))
    slots = min(2, most)
    while slots < most and slots * slot_flop(loaded, module) < LANE_FLOP:
        slots *= 2
    return min(slots, most)


def skips_padding(module: nn.Module) -> bool:
    """Whether kernels of our own leave out a module's padded units: all of them are in hidden layers."""
    return type(module) in (SharedTrunk, SeparateTrunks)


def compiling_pays(loaded: LoadedStudy, trials: int, population: int) -> bool:
    """Whether compiling each lane width once saves more time than it takes, by what was measured.

    That is two CPU cores, and one H200, where what leaves out padding is as fast as what is compiled.
    """
    study, kind, widths = loaded.study, loaded.device.type, len(lane_widths(loaded))
    trial_steps = KEPT * trials * study.epochs * steps_per_epoch(loaded)
    if kind == "cuda":
        if skips_padding(study.build(study.default_config(), seed=0)):
            return False
        saved = trial_steps / max(min(population, trials), 1) * SAVED_SECONDS[kind]
    else:
        model = study.build(study.default_config(), seed=0)
        slots = lane_slots(loaded, model, population, widths)
        arithmetic = slots * slot_flop(loaded, model) / CPU_FLOPS
        saved = trial_steps / slots * (SAVED_SECONDS[kind] + SAVED_SHARE * arithmetic)
    first, other = COMPILE_SECONDS[kind]
    return saved > first + other * max(widths - 1, 0)


def slot_flop(loaded: LoadedStudy, model: nn.Module) -> float:
    """About how many floating-point operations one member's step takes in linear layers: six per weight and example.

    What compiling saves was measured on those; a convolution is the same call, compiled or not.
    """
    parameters = sum(p.numel() for p in model.parameters())
    return 6.0 * parameters * loaded.study.batch_size * len(loaded.splits)


def counted_flop(loaded: LoadedStudy, model: nn.Module) -> float:
    """About how many floating-point operations one member's step takes, layers of every kind.

    Those of its outputs are counted on two blank examples of every source; gradients take twice as many again.
    """
    like = next(iter(model.parameters()))
    inputs: dict[str, Tensor] = {}
    for splits in loaded.splits:
        shape, dtype = (2, *splits.train.inputs.shape[1:]), splits.train.inputs.dtype
        x = as_input(torch.zeros(shape, dtype=dtype, device=like.device), like.dtype)
        inputs |= dict.fromkeys(splits.tasks, x)
    trains = model.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(inputs)
    model.train(trains)
    return 3.0 * int(counter.get_total_flops()) / 2 * loaded.study.batch_size


def lane_widths(loaded: LoadedStudy) -> list[int]:
    """Few widths: fractions of the widest hidden size that the space holds, so that padding wastes little anywhere."""
    study = loaded.study
    distribution = study.space.get("hidden")
    high, low = getattr(distribution, "high", None), getattr(distribution, "low", 1)
    if high is None:
        return []
    default = study.default_config()
    widest = study.build(
        Config({**default.hyperparameters, "hidden": int(high)}, default.task_weights), seed=0
    )
    if slot_flop(loaded, widest) < SMALL_FLOP:
        return [int(high)]
    widths = {-(-int(high * fraction) // WIDTH_STEP) * WIDTH_STEP for fraction in WIDTH_FRACTIONS}
    return [*sorted(width for width in widths if NARROWEST * low <= width < high), int(high)]


def compiling_line(loaded: LoadedStudy) -> str:
    """What is told before the first step is compiled, so that a search that shows no progress yet is understood."""
    widths, tasks = len(lane_widths(loaded)), len(loaded.study.tasks)
    first, other = COMPILE_SECONDS[loaded.device.type]
    if tasks > MANY_TASKS:
        took = f"minutes for each of {widths} lane widths" if widths > 1 else "minutes"
    else:
        more = f", then {other:.0f} s for each of {widths - 1} other lane widths" if widths > 1 else ""
        took = f"about {first:.0f} s{more}"
    return f"compiling the training step: {took}, the first time"


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
