"""How a lane's step is run: plainly, with a fused update, compiled whole, or captured as a CUDA graph."""

import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.utils.flop_counter import FlopCounterMode

from mtlsearch.data import as_input
from mtlsearch.lane import Lane, Step, plain_step
from mtlsearch.lane_program import LaneProgram
from mtlsearch.optim import clip_scale
from mtlsearch.show import MANY_TASKS
from mtlsearch.space import Config
from mtlsearch.step import steps_per_epoch
from mtlsearch.study import LoadedStudy

SLOTS = {"cpu": 16, "cuda": 128}  # of a lane, at most
# Of a CPU lane's step, above which more slots gain a member less than their staying empty costs.
LANE_FLOP = 2e8
# Of a CUDA population that spreads over widths: lanes side by side, and the fewest slots of one.
CUDA_LANES, CUDA_SLOTS = 8, 8
# Close where most arithmetic is, for a search soon turns to the wide; each is compiled by itself.
WIDTH_FRACTIONS = (1 / 4, 1 / 2, 3 / 4)
WIDTH_STEP = 32
NARROWEST = 2  # times the least hidden size
SMALL_FLOP = 3e7  # of one member's step, below which padding to the full width costs less than another lane
COMPILE_SECONDS = {"cpu": 20.0, "cuda": 13.0}  # a lane shape, the first time
# Of a CPU lane's step: what dispatching it operator by operator costs. On CUDA, where lanes step side by side, of one
# step of all: what launching its two hundred small kernels costs.
SAVED_SECONDS = {"cpu": 7e-3, "cuda": 7e-4}
SAVED_SHARE = 0.4  # of a CPU step's arithmetic, in passes over memory that are fused
CPU_FLOPS = 1e11
KEPT = 0.6  # of all trial-epochs, which pruning leaves
WARM_UP = 3


class Steps(Protocol):
    """Gives each lane the step that trains it; `name` is how it is recorded."""

    name: str

    def of(self, program: LaneProgram, slots: int) -> Step:
        """The step for one lane of `program` with `slots` slots."""
        ...


class Eager:
    """The plain step, the reference of the others."""

    name = "eager"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return plain_step


class Fused:
    """Gradients as one program, then one pass over memory that updates: best where the step is not compiled.

    On a CPU it is torch's fused optimizer for each member, on CUDA one kernel for all.
    """

    name = "fused"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return fused_step if program.training.loaded.device.type == "cpu" else kernel_step


def fused_step(lane: Lane, tick: int) -> None:
    """One whole step of a lane, each member by its own optimizer."""
    program, state = lane.program, lane.state
    grads, losses = program.gradients(state)
    if program.clips:
        clip = clip_scale(grads, state.coefficients)
        grads = {name: g * clip.reshape(-1, *[1] * (g.ndim - 1)) for name, g in grads.items()}
    steps = steps_per_epoch(program.training.loaded)
    for slot, member in lane.active:
        params, own, first, second = (
            [tensor[slot] for tensor in tensors.values()]
            for tensors in (state.params, grads, state.first, state.second)
        )
        step = member.progress.epoch * steps + tick
        member.settings.step_one(params, own, first, second, step, member.progress.epochs * steps)
    program.count(state, losses)


def kernel_step(lane: Lane, tick: int) -> None:
    """One whole step of a lane on CUDA, all members by one kernel a parameter."""
    from mtlsearch.optim_kernel import update

    lane.program.step(lane.state, update)


class Compiled:
    """The whole step under `torch.compile`, once per program and number of slots: equal lanes share it."""

    name = "compiled"

    def __init__(self, notice: Callable[[str], None] = lambda text: None) -> None:
        self.notice = notice
        self.made: dict[tuple[int, int], Step] = {}
        # fp32 is what was asked for, or --precision would say otherwise.
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        # Every lane shape is a compilation of its own, and torch would stop at eight.
        torch._dynamo.config.recompile_limit = 1024
        torch._dynamo.config.accumulated_recompile_limit = 1024

    def of(self, program: LaneProgram, slots: int) -> Step:
        key = id(program), slots
        if not self.made:
            self.notice(compiling_line(program.training.loaded))
        if key not in self.made:
            self.made[key] = self._compiled(program)
        return self.made[key]

    def _compiled(self, program: LaneProgram) -> Step:
        """The compiled step; where the compiler fails on it, members are trained all the same, and it is told."""
        compiled = torch.compile(program.step, dynamic=False, fullgraph=True)
        met = False

        def compiled_step(lane: Lane, tick: int) -> None:
            # Every later call has the same program and shapes; to check that anew costs small lanes a tenth of a step.
            with torch.compiler.set_stance(skip_guard_eval_unsafe=met):
                compiled(lane.state)

        run: Step = compiled_step

        def step(lane: Lane, tick: int) -> None:
            nonlocal run, met
            try:
                run(lane, tick)
                met = True
            except TorchDynamoException as error:
                # It fails while it compiles, before anything has moved.
                reason = str(error).strip().splitlines()[0][:200]
                self.notice(f"torch cannot compile a step ({reason}); it goes on uncompiled, which is slower")
                run = uncompiled_step(lane)
                run(lane, tick)

        return step


def compiling_line(loaded: LoadedStudy) -> str:
    """What is told before the first step is compiled, so that a search that shows no progress yet is understood."""
    widths, tasks = len(lane_widths(loaded)), len(loaded.study.tasks)
    each = f"for each of {widths} lane widths, " if widths > 1 else ""
    long = "minutes" if tasks > MANY_TASKS else f"about {COMPILE_SECONDS[loaded.device.type]:.0f} s"
    return f"compiling the training step: {long} {each}the first time"


def uncompiled_step(lane: Lane) -> Step:
    """The best step that needs no compiler on a lane's device."""
    return Fused().of(lane.program, lane.slots) if fuses(lane.state.weights.device) else plain_step


class Captured:
    """A CUDA graph of another step, captured once per lane and replayed: one launch a step, no host sync."""

    def __init__(self, inner: Steps) -> None:
        self.inner, self.name = inner, f"captured {inner.name}"

    def of(self, program: LaneProgram, slots: int) -> Step:
        return GraphStep(self.inner.of(program, slots))


class GraphStep:
    """One lane's captured step; the lane's tensors keep their addresses for as long as it lives."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, lane: Lane, tick: int) -> None:
        if self.graph is None:
            self.graph = self._capture(lane)
        self.graph.replay()

    def _capture(self, lane: Lane) -> torch.cuda.CUDAGraph:
        """Warm up on a side stream, put the state back, and capture one step."""
        before = [tensor.clone() for tensor in lane.state.all()]
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(lane, 0)
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, old in zip(lane.state.all(), before, strict=True):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        # Another thread may be reading ahead into pinned memory; only this thread's calls belong to the step.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.step(lane, 0)
        return graph


def lane_slots(loaded: LoadedStudy, module: nn.Module, population: int) -> int:
    """How many slots a lane of `module` has, at most `population`: most where one width holds all members.

    Where they spread over several widths, a lane has few, so that few stay empty: on a CPU as many as keep its step
    busy, on CUDA an eighth of the population, for about eight lanes side by side keep the device busy.
    """
    most = min(SLOTS[loaded.device.type], population)
    if len(lane_widths(loaded)) <= 1:
        return most
    if loaded.device.type == "cuda":
        return min(most, max(CUDA_SLOTS, population // CUDA_LANES))
    slots = min(2, most)
    while slots < most and slots * slot_flop(loaded, module) < LANE_FLOP:
        slots *= 2
    return min(slots, most)


def choose_steps(
    loaded: LoadedStudy, trials: int, population: int, notice: Callable[[str], None] = lambda text: None
) -> Steps:
    """How to run the steps of a search of `trials` trials: decided by its size alone, so that it is repeatable."""
    worth_it = compiling_pays(loaded, trials, population)
    if worth_it and has_compiler():
        return replayed(Compiled(notice), loaded.device)
    return uncompiled(loaded.device)


def uncompiled(device: torch.device) -> Steps:
    """The best steps that need no compiling by torch."""
    return replayed(Fused() if fuses(device) else Eager(), device)


def replayed(steps: Steps, device: torch.device) -> Steps:
    """`steps`, on CUDA captured as a graph that is replayed."""
    return Captured(steps) if device.type == "cuda" else steps


def fuses(device: torch.device) -> bool:
    """Whether `Fused` works on a device: on CUDA it needs Triton, and what that needs to build a kernel."""
    if device.type == "cpu":
        return True
    if find_spec("triton") is None:
        return False
    from mtlsearch.optim_kernel import works

    return works(device)


def compiling_pays(loaded: LoadedStudy, trials: int, population: int) -> bool:
    """Whether compiling each lane width once saves more time than it takes, by what was measured.

    That is two CPU cores, and one H200.
    """
    study, kind = loaded.study, loaded.device.type
    trial_steps = KEPT * trials * study.epochs * steps_per_epoch(loaded)
    if kind == "cuda":
        saved = trial_steps / population * SAVED_SECONDS[kind]
    else:
        model = study.build(study.default_config(), seed=0)
        slots = lane_slots(loaded, model, population)
        arithmetic = slots * slot_flop(loaded, model) / CPU_FLOPS
        saved = trial_steps / slots * (SAVED_SECONDS[kind] + SAVED_SHARE * arithmetic)
    return saved > COMPILE_SECONDS[kind] * max(len(lane_widths(loaded)), 1)


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


def steps_named(name: str) -> Steps:
    """The steps that `name` names, as trials record them."""
    kinds: dict[str, Callable[[], Steps]] = {
        "eager": Eager,
        "fused": Fused,
        "compiled": Compiled,
        "captured eager": lambda: Captured(Eager()),
        "captured fused": lambda: Captured(Fused()),
        "captured compiled": lambda: Captured(Compiled()),
    }
    return kinds[name]()


def has_compiler() -> bool:
    """Whether torch.compile can build code here."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
