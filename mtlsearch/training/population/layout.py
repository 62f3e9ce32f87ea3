"""How a population is laid out: the widths of its lanes, their slots, and whether compiling their steps pays.

All of it follows from the study and the device type alone, by what was measured, so that a search is repeatable.
"""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mtlsearch.data.parts import as_input
from mtlsearch.nn.trunks import SeparateTrunks, SharedTrunk
from mtlsearch.report.terminal_table import MANY_TASKS
from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.losses import steps_per_epoch

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
