"""The cost of a population on this machine beside that of one trial at a time, before a study's first run.

Padding, empty slots, lanes of few members and the dispatch of single operators can make a population slower than the
solo trainer. So a few configs are drawn from the space, as many as would train at once. Each takes a step by itself,
and all take one in the lanes in which a population would seat them. What compiling takes and saves comes from `layout`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.training.batches import Read, epoch_batches, epoch_reads, steps_per_epoch
from mtlsearch.training.columns.study import separate_losses
from mtlsearch.training.kept import Kept
from mtlsearch.training.population.lane import Lane
from mtlsearch.training.population.layout import (
    KEPT,
    compile_seconds,
    folds_share_lanes,
    saved_seconds,
    search_population,
    slot_flop,
)
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, has_compiler, uncompiled
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training

FEW = 2  # examples of a batch; the step on them is the dispatch of operators, and nearly no arithmetic
SMALL_PART = 0.1  # of a step: less dispatch than that is not worth saving, and batching saves little else
WORTH_IT = 1.15  # the least gain for which trials train together: at each ask the sampler then knows fewer others
MOST_SHARE = 0.03  # of a search's expected time: what measuring may take
MEASURED_STEPS = 150  # of one trial: about what measuring takes
SLOWER = 1.1  # than one at a time: what two of the first epochs take, where a population is given up
DISPATCH = 5.0  # of a lane's step, in steps of one member on few examples: measured between 4 and 5
QUICK = 0.1  # seconds: steps that together take less are cheap to repeat
LEAST_STEP = 0.2  # of an uncompiled step: what is left of it at least, compiled


@dataclass(frozen=True)
class Plan:
    """The number of a study's trials that train at once, and whether their step is compiled.

    `gain` is the expected time of one trial at a time, divided by that of `compared` at once; None where it was not
    measured. `epoch` is the mean time of a trial's epoch by itself, in seconds. With several `workers` they share the
    population, or train `each` so many trials solo (`remote.side_by_side`).
    """

    population: int
    compiles: bool | None = None
    compared: int | None = None
    gain: float | None = None
    epoch: float | None = None
    workers: int = 1
    each: int = 1

    def recorded(self) -> dict[str, Any]:
        """The plan as the store keeps it."""
        return asdict(self)

    def told(self) -> str | None:
        """A line that says why trials train one at a time, None where they do not."""
        if self.population > 1 or self.compared is None or self.workers > 1:
            return None
        if self.gain is None:
            reason = "the search is too short, or a step too long, for a population to gain"
        else:
            reason = f"{self.compared} at once would take {1 / self.gain:.1f} times as long here"
        return f"one trial trains at a time: {reason}; --population {self.compared} trains them at once"


def planned(training: Training, trials: int) -> Plan:
    """The plan of a search of `trials` trials. Trials train at once where that was measured to be clearly faster.

    On CUDA they always do.
    """
    loaded = training.loaded
    population = search_population(loaded, trials)
    at_once = min(population, trials)
    if loaded.device.type != "cpu" or population == 1:
        return Plan(population)
    if at_once == 1:
        return Plan(1)
    study, steps = loaded.study, steps_per_epoch(loaded)
    # A trial is a member of each fold; where those share lanes, its members fill them.
    folds = len(loaded.folds) if folds_share_lanes(loaded) else 1
    training = replace(training, mixes_seeds=folds > 1)
    epochs = folds * KEPT * trials * study.epochs
    one_at_a_time = Plan(1, compared=at_once)
    if MOST_SHARE * epochs * steps < MEASURED_STEPS:
        return one_at_a_time
    bench = Bench.first(training)
    default = study.default_config()
    few = bench.step(default, FEW)
    if few < SMALL_PART * bench.step(default):
        return one_at_a_time
    configs = study.search_space.drawn(at_once, study.default)  # as many as train at once: few leave slots empty
    alone = [bench.step(config) for config in configs]
    layout = bench.together(configs * folds, alone * folds, DISPATCH * few)
    plan = cheapest(population, epochs * steps, alone * folds, layout)
    return replace(plan, compared=at_once, epoch=steps * sum(alone) / at_once + bench.evaluation(default))


def planned_repeats(training: Training, configs: Sequence[Config], population: int) -> Plan:
    """The plan of trainings of these `configs`, at most `population` at once, as `planned` has it for a search."""
    at_once = min(population, len(configs))
    if training.loaded.device.type != "cpu" or at_once <= 1:
        return Plan(at_once)
    steps = len(configs) * training.loaded.study.epochs * steps_per_epoch(training.loaded)
    if MOST_SHARE * steps < MEASURED_STEPS:
        return Plan(1, compared=at_once)
    bench = Bench.first(training)
    timed = {id(config): bench.step(config) for config in configs[:at_once]}
    alone = [timed[id(config)] for config in configs[:at_once]]
    few = bench.step(configs[0], FEW)
    if few < SMALL_PART * alone[0]:
        return Plan(1, compared=at_once)
    return cheapest(population, steps, alone, bench.together(configs[:at_once], alone, DISPATCH * few))


@dataclass(frozen=True)
class Layout:
    """The lanes of drawn members, and the `seconds` that one step of each takes, uncompiled; not all need be timed.

    `dispatch` is the time that compiling saves of any lane's step, and `beside` that of a step of the members that no
    lane can hold.
    """

    loaded: LoadedStudy
    lanes: Sequence[Lane]
    seconds: list[float]
    dispatch: float
    beside: float = 0.0

    def plain(self) -> float:
        """The seconds of one step of all members, uncompiled."""
        return sum(self.seconds) + self.beside

    def compiled(self) -> float:
        """The seconds of one step of all members, compiled; no more than the plain ones."""
        found = self.beside
        for lane, seconds in zip(self.lanes, self.seconds, strict=False):
            saved = saved_seconds(self.loaded, lane.program.base, lane.slots, self.dispatch)
            found += max(seconds - saved, LEAST_STEP * seconds)
        return found

    def compiling(self) -> float:
        """The seconds that compiling every shape of its lanes takes; infinite without a compiler."""
        shapes = len({(lane.program, lane.slots) for lane in self.lanes})
        tasks = separate_losses(self.loaded)
        return compile_seconds("cpu", shapes, tasks) if shapes and has_compiler() else math.inf


def cheapest(population: int, steps: float, alone: Sequence[float], layout: Layout) -> Plan:
    """The plan that is expected to take the least time for so many `steps` of single trials.

    `alone` are the seconds of each drawn config's step by itself.
    """
    each = steps / len(alone)
    plain, compiled = each * layout.plain(), each * layout.compiled() + layout.compiling()
    gain = each * sum(alone) / min(plain, compiled)
    worth_it = gain >= WORTH_IT
    return Plan(
        population if worth_it else 1,
        compiled < plain if worth_it else None,
        compared=len(alone),
        gain=round(gain, 3),
    )


class Bench:
    """Times single steps of drawn configs on the first batch of the training data."""

    def __init__(self, training: Training, read: Read) -> None:
        self.training, self.read = training.in_columns, read
        self.batches = epoch_batches(training.loaded, training.seed, 0)

    @classmethod
    def first(cls, training: Training) -> "Bench":
        """A bench on the first batch of epoch 0."""
        with epoch_reads(training.loaded, training.seed, 0) as reads:
            return cls(training, next(reads))

    def one_step(self) -> Callable[[], object]:
        """A step of the default config by itself."""
        member = self._member(self.training.loaded.study.default_config())
        member.model.train()
        return lambda: member.step(self.batches, 0, read=self.read)

    def step(self, config: Config, examples: int | None = None) -> float:
        """The seconds of a step of a config by itself, on the first `examples` of the batch."""
        member = self._member(config)
        member.model.train()
        batches = [rows[:, :examples] for rows in self.batches]
        read = {number: inputs[:examples] for number, inputs in self.read.items()}
        return least_seconds(lambda: member.step(batches, 0, read=read))

    def evaluation(self, config: Config) -> float:
        """The seconds of a config's validation by itself."""
        member = self._member(config)
        return least_seconds(lambda: member.evaluate("validation"), times=1)

    def _member(self, config: Config) -> SoloMember:
        return SoloMember(self.training, 0, config, entry_epoch=0, seed=self.training.seed)

    def together(self, configs: Sequence[Config], alone: Sequence[float], dispatch: float) -> Layout:
        """The lanes that the configs would sit in, timed until they take longer than `alone`, even if compiled."""
        loaded = self.training.loaded
        trainer = PopulationTrainer(self.training, len(configs), uncompiled(loaded.device))
        for number, config in enumerate(configs):
            trainer.add(number, config)
        trainer.lanes.arrange(0)
        beside = sum(alone[number] for number in trainer.solo)
        lanes = sorted(trainer.lanes, key=lambda lane: -lane.slots * slot_flop(loaded, lane.program.base))
        layout = Layout(loaded, lanes, [], dispatch, beside)
        for lane in lanes:
            layout.seconds.append(self._lane(lane))
            if layout.compiled() > sum(alone):
                break
        return layout

    def _lane(self, lane: Lane) -> float:
        """The seconds of a lane's step."""
        lane.begin_epoch(0)
        for number, inputs in self.read.items():
            lane.state.read[number].copy_(inputs)

        def step() -> None:
            lane.state.tick.zero_()
            lane.run_step(lane, 0)

        return least_seconds(step)


def least_seconds(step: Callable[[], object], times: int = 2) -> float:
    """The least time of a step: the first may pay for memory and code, and other programs only add.

    A quick one is taken twice as often, since a busy machine can disturb all of two.
    """
    clock, found = clock_here(), list[float]()
    while len(found) < times or (len(found) < 2 * times and sum(found) < QUICK):
        begun = clock()
        step()
        found.append(clock() - begun)
    return min(found)


def clock_here() -> Callable[[], float]:
    """A clock of seconds: with one thread it is processor time, which counts no other program."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


class Checked:
    """A population whose first epochs are held to the time that its members would take one at a time.

    Where two in a row take clearly longer, new members are trained one at a time, and `give_up` gets a line that says
    so. `epoch` is the expected time of a trial's epoch by itself, in seconds.
    """

    def __init__(self, inner: PopulationTrainer, epoch: float, give_up: Callable[[str], None]) -> None:
        self.inner, self.epoch, self.give_up = inner, epoch, give_up
        self.slow, self.decided = 0, False
        self.is_first = isinstance(inner.lanes.steps, Compiled)  # it compiles, and says nothing of later epochs

    @property
    def kind(self) -> str:
        return self.inner.kind

    def advance(self) -> list[EpochResult]:
        clock, members = clock_here(), len(self.inner)
        begun = clock()
        results = self.inner.advance()
        if self.is_first or self.decided:
            self.is_first = False
            return results
        self._check((clock() - begun) / (members * self.epoch))
        return results

    def _check(self, ratio: float) -> None:
        """Decide by the time of an epoch in the population, divided by what it would take one at a time."""
        self.slow = self.slow + 1 if ratio > SLOWER else 0
        self.decided = self.slow != 1
        if self.slow == 2:
            self.inner.alone = True
            self.give_up(f"{self.inner.size} trials at once take {ratio:.1f} times as long as one at a time here")

    def room(self) -> int:
        return self.inner.room()

    def entry(self) -> int:
        return self.inner.entry()

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        return self.inner.add(number, config, entry_epoch=entry_epoch, seed=seed)

    def drop(self, number: int) -> None:
        self.inner.drop(number)

    def conditions(self, number: int) -> dict[str, Any]:
        return self.inner.conditions(number)

    def state(self, number: int) -> dict[str, Tensor]:
        return self.inner.state(number)

    def keep(self) -> Kept:
        return self.inner.keep()

    def restore(self, kept: Kept) -> None:
        self.inner.restore(kept)
