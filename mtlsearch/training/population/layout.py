"""The layout of a population: its size, the widths and slots of its lanes, and whether compiling their steps pays.

All of it follows from measurements, the study, and the device's type and memory, so that a search is repeatable.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.nn.pretrained.adapters import rank_dimensions
from mtlsearch.nn.pretrained.shared import placed
from mtlsearch.nn.trunks import SeparateTrunks, SharedTrunk
from mtlsearch.nn.widening import Widenable, norm_dimension, width_dimension
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.space import Config, numbers_of
from mtlsearch.study.study import Study
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.columns.study import separate_losses
from mtlsearch.training.losses import task_losses
from mtlsearch.wording import MANY_TASKS

SLOTS = {"cpu": 16, "cuda": 128}  # of a lane, at most
# Of a CPU lane's step: above it, more slots save a member less time than empty slots waste.
LANE_FLOP = 2e8
# On CUDA, where members spread over several widths: lanes side by side, and the fewest slots of a lane.
CUDA_LANES, CUDA_SLOTS = 8, 8
# Lane widths, as fractions of the widest hidden size. They lie close together where most arithmetic is, since a search
# soon prefers wide members, and where most members are drawn. A width is compiled once members fill a lane of it.
WIDTH_FRACTIONS = (1 / 8, 1 / 4, 7 / 16, 11 / 16, 7 / 8)
WIDTH_STEP, WIDE, NARROW_STEP = 32, 128, 8  # of lane widths, where the widest is that wide, and where it is narrower
NARROWEST = 2  # the least lane width, in multiples of the least hidden size
SMALL_FLOP = 3e7  # of one member's step: below it, padding to the full width costs less than another lane
# For the first lane shape, and for each other one, while torch's cache holds neither.
COMPILE_SECONDS = {"cpu": (20.0, 10.0), "cuda": (13.0, 13.0)}
# For each task beyond two, in each lane shape: a head, a loss and an update more. On CUDA it was not measured.
TASK_SECONDS = {"cpu": 1.1, "cuda": 0.0}
# On a CPU, of each lane's step: the dispatch of single operators, which compiling saves. On CUDA, where lanes step side
# by side, of one step of all lanes: the launch of more kernels.
SAVED_SECONDS = {"cpu": 7e-3, "cuda": 2e-4}
SAVED_SHARE = 0.4  # of a CPU step's arithmetic: passes over memory that compiling fuses
CPU_FLOPS = 1e11
KEPT = 0.6  # of all trial-epochs, after pruning
DEFAULT_POPULATION = {"cpu": 16, "cuda": 64}
SHARE = 0.8  # of the free memory; allocators and kernels take the rest
# A search of 100 trials loses little with so many at once, compared to one at a time (benchmarks/quality.py).
LEAST_AT_ONCE, TRIALS_A_MEMBER = 16, 6
DERIVATIVES = 20  # times the memory of a forward pass: a step of a term with derivatives, at most
COPIES = 8  # of a member's parameters: themselves, gradients, two moments, best epoch, snapshot (three)


def lane_slots(loaded: LoadedStudy, module: nn.Module, population: int, widths: int) -> int:
    """The number of slots of a lane of `module`, at most `population`: most where one width holds all members.

    Where members spread over several `widths`, a lane has few slots, so that few stay empty. On a CPU they are as
    many as keep a step busy; on CUDA an eighth of the population, since about eight lanes side by side keep the
    device busy.
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
    """Whether kernels of our own skip a module's padded units: all of those are in hidden layers."""
    return type(module) in (SharedTrunk, SeparateTrunks)


def compiling_pays(loaded: LoadedStudy, trials: int, population: int) -> bool:
    """Whether compiling each lane width once saves more time than it takes, as measured.

    It was measured on two CPU cores, and on one H200, where kernels that skip padding are as fast as a compiled step.
    """
    study, kind = loaded.study, loaded.device.type
    model = study.build(study.default_config(), seed=0)
    widths = len(lane_widths(loaded, model))
    trial_steps = KEPT * trials * study.epochs * steps_per_epoch(loaded)
    if kind == "cuda":
        if skips_padding(model):
            return False
        saved = trial_steps / max(min(population, trials), 1) * SAVED_SECONDS[kind]
    else:
        slots = lane_slots(loaded, model, population, widths)
        saved = trial_steps / slots * saved_seconds(loaded, model, slots)
    return saved > compile_seconds(kind, widths, separate_losses(loaded))


def compile_seconds(kind: str, shapes: int, tasks: int) -> float:
    """The seconds that compiling lanes of so many shapes takes on a device type, as measured."""
    first, other = COMPILE_SECONDS[kind]
    return first + other * max(shapes - 1, 0) + shapes * TASK_SECONDS[kind] * max(tasks - 2, 0)


def saved_seconds(loaded: LoadedStudy, model: nn.Module, slots: int, dispatch: float = SAVED_SECONDS["cpu"]) -> float:
    """The seconds that compiling saves of one step of a CPU lane, as measured; `dispatch` is that of its operators."""
    return dispatch + SAVED_SHARE * slots * slot_flop(loaded, model) / CPU_FLOPS


def slot_flop(loaded: LoadedStudy, model: nn.Module) -> float:
    """Estimate a member's step in floating-point operations, in linear layers alone: six per weight and example.

    Compiling was measured to save time on those; a convolution is the same call, compiled or not.
    """
    parameters = sum(p.numel() for p in model.parameters())
    return 6.0 * parameters * loaded.study.batch_size * len(loaded.batched)


def folds_share_lanes(loaded: LoadedStudy) -> bool:
    """Whether lanes hold members of all folds: where few fill none, and batches of their own cost little beside it.

    That is on a CPU, with data in memory, and a step so small that lanes want more slots. All folds must take as many
    steps.
    """
    study = loaded.study
    if not loaded.folds or loaded.device.type != "cpu" or loaded.reads:
        return False
    model = study.build(study.default_config(), seed=0)
    small = SLOTS["cpu"] * slot_flop(loaded, model) < LANE_FLOP
    return small and len({steps_per_epoch(fold) for fold in loaded.folds}) == 1


def counted_flop(loaded: LoadedStudy, model: nn.Module) -> float:
    """Estimate a member's step in floating-point operations, in layers of every kind.

    Those of the forward pass are counted on two blank examples of every source; gradients take twice as many.
    """
    from torch.utils.flop_counter import FlopCounterMode  # it imports Triton

    like = next(iter(model.parameters()))
    inputs: dict[str, Tensor] = {}
    for splits in loaded.splits:
        shape, dtype = (2, *splits.train.inputs.shape[1:]), splits.train.inputs.dtype
        x = as_input(torch.zeros(shape, dtype=dtype, device=like.device), like.dtype, splits.kind)
        inputs |= dict.fromkeys(splits.tasks, x)
    trains = model.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(inputs)
    model.train(trains)
    return 3.0 * int(counter.get_total_flops()) / 2 * loaded.study.batch_size


def lane_widths(loaded: LoadedStudy, model: nn.Module) -> list[int]:
    """Few widths, so that padding wastes little anywhere: choices of the space, or fractions of the widest.

    `model` is any model of the study; it names the dimension of its widths (`width_dimension`). There are none where it
    cannot be padded.
    """
    study = loaded.study
    dimension = width_dimension(model)
    distribution = study.space.get(dimension)
    if distribution is None or not isinstance(model, Widenable):
        return []
    choices = sorted({value for value in numbers_of(distribution) if isinstance(value, int)})
    high = choices[-1] if choices else getattr(distribution, "high", None)
    if high is None:
        return []
    widest = study.build(_changed(study, {dimension: int(high)}), seed=0)
    if _is_small(loaded, widest):
        return [int(high)]
    if choices:
        return choices
    low, step = getattr(distribution, "low", 1), WIDTH_STEP if high >= WIDE else NARROW_STEP
    widths = {-(-int(high * fraction) // step) * step for fraction in WIDTH_FRACTIONS}
    return [*sorted(width for width in widths if NARROWEST * low <= width < high), int(high)]


def highest_rank(loaded: LoadedStudy, model: nn.Module) -> int:
    """The highest rank of adapters that the space holds, to which all are padded; 0 where it searches none."""
    found = [loaded.study.space.get(dimension) for dimension in rank_dimensions(model)]
    highs = [getattr(each, "high", None) or max(getattr(each, "choices", [0])) for each in found if each is not None]
    return int(max(highs, default=0))


def _is_small(loaded: LoadedStudy, widest: nn.Module) -> bool:
    """Whether padding any member to the `widest` model costs less than another lane."""
    if slot_flop(loaded, widest) >= SMALL_FLOP:
        return False
    # Linear layers are counted already where each is used once for an example.
    return skips_padding(widest) or counted_flop(loaded, widest) < SMALL_FLOP


def lane_norm(loaded: LoadedStudy, model: nn.Module) -> str | None:
    """The normalisation of padded members: "any" where the space searches it, None for each member's own."""
    norms = loaded.study.space.get(norm_dimension(model) or "")
    return None if norms is None or norms.single() else "any"


def expected_compiling(loaded: LoadedStudy) -> float:
    """The seconds that compiling the steps of every lane width takes, as measured on an idle machine."""
    model = loaded.study.build(loaded.study.default_config(), seed=0)
    return compile_seconds(loaded.device.type, len(lane_widths(loaded, model)), separate_losses(loaded))


def compiling_line(loaded: LoadedStudy) -> str:
    """Announce that the first step is compiled, since a search shows no progress meanwhile."""
    model = loaded.study.build(loaded.study.default_config(), seed=0)
    widths, tasks = len(lane_widths(loaded, model)), separate_losses(loaded)
    kind = loaded.device.type
    first, other = compile_seconds(kind, 1, tasks), compile_seconds(kind, 2, tasks) - compile_seconds(kind, 1, tasks)
    if tasks > MANY_TASKS:
        took = f"minutes for each of {widths} lane widths" if widths > 1 else "minutes"
    else:
        more = f", then {other:.0f} s for each of {widths - 1} other lane widths" if widths > 1 else ""
        took = f"about {first:.0f} s{more}"
    return f"compiling the training step: {took}, the first time"


def search_population(loaded: LoadedStudy, trials: int) -> int:
    """The number of a search's trials that train at once: few, so that the sampler knows most others at each ask."""
    return min(population_size(loaded), max(LEAST_AT_ONCE, trials // TRIALS_A_MEMBER))


def repeat_population(loaded: LoadedStudy, searched: int) -> int:
    """The number of repeats that train at once after a search of `searched` at once.

    It is as many as fit, since no ask waits for them; but one, where the search trained one at a time.
    """
    return 1 if searched == 1 else max(searched, population_size(loaded))


def population_size(loaded: LoadedStudy, dtype: torch.dtype = torch.float32) -> int:
    """The largest population: the most that pays on the device type, or fewer if fewer fit."""
    # A member is one model, or one for each fold.
    fits = int(SHARE * free_bytes(loaded.device) / (member_bytes(loaded, dtype) * (loaded.study.folds or 1)))
    return max(1, min(DEFAULT_POPULATION[loaded.device.type], fits))


def free_bytes(device: torch.device) -> int:
    """The free memory of `device`, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("MemAvailable is missing")  # Linux has it since 3.14


def member_bytes(loaded: LoadedStudy, dtype: torch.dtype = torch.float32) -> int:
    """The memory of one member of the largest model, in bytes: its state, and a step's activations."""
    study = loaded.study
    model = placed(study.build(_widest(study), seed=0), loaded.device, dtype)
    state = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    kept: dict[int, int] = {}

    def measure(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    rows = torch.arange(study.batch_size, device=loaded.device)
    if study.terms:  # torch.func refuses hooks on saved tensors, so a forward pass stands for its derivatives
        splits = loaded.splits[0]
        inputs = splits.validation.inputs[: study.batch_size]
        x = as_input(inputs, dtype, splits.kind)
        with saved_tensors_hooks(measure, lambda tensor: tensor):
            model(dict.fromkeys(splits.tasks, x))
        forward = sum(kept.values()) * study.batch_size / len(inputs)
        return int(COPIES * state + DERIVATIVES * len(study.weighted) * forward)
    parts = [source.train.rows(rows % len(source.train)) for source in loaded.batched]
    with saved_tensors_hooks(measure, lambda tensor: tensor):
        task_losses(loaded, model, parts, dtype)
    # The backward pass needs about as much again as the forward pass has kept.
    return COPIES * state + 2 * sum(kept.values())


def largest(study: Study) -> Config:
    """The default config with every number of the space at its upper end."""
    ends = {name: distribution.high for name, distribution in study.space.items() if hasattr(distribution, "high")}
    choices = {name: numbers_of(distribution) for name, distribution in study.space.items()}
    return _changed(study, ends | {name: max(numbers) for name, numbers in choices.items() if numbers})


def _widest(study: Study) -> Config:
    """The default config with every whole number of the space at its upper end: usually the largest model."""
    highs = {name: getattr(d, "high", None) for name, d in study.space.items()}
    return _changed(study, {name: high for name, high in highs.items() if isinstance(high, int)})


def _changed(study: Study, values: Mapping[str, int | float]) -> Config:
    """The default config with other `values`."""
    default = study.default_config()
    return Config({**default.hyperparameters, **values}, default.task_weights)
