"""The population trainer: all trials in training as one program per lane.

Members are sorted into lanes by architecture; hidden widths are padded to a few lane widths. A member that `vmap`
cannot batch is trained solo beside the lanes, and a notice says why.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mtlsearch.activity import doing
from mtlsearch.nn.pretrained.shared import own_state
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.kept import Kept, of_prefix, under
from mtlsearch.training.optim import OptimizerSettings
from mtlsearch.training.population.architectures import Architectures, Notice
from mtlsearch.training.population.lane import Lane, LaneMember, evaluate_lanes
from mtlsearch.training.population.lanes import Lanes
from mtlsearch.training.population.resting import keep_lanes, restore_lanes
from mtlsearch.training.population.steps import Steps
from mtlsearch.training.solo import SOLO_CONDITIONS, SoloMember, keep_members, restored_members
from mtlsearch.training.trainer import Training


class PopulationTrainer:
    """Trains up to `size` members at once.

    `steps` gives each lane the way its step is run: eager, fused, compiled, as a CUDA graph. Lanes shrink where room
    is left, unless `shrinks` is false: a trial is then repeated in as many slots as it had. Where `alone` is set, new
    members are trained solo, one at a time, once the present ones have left.
    """

    def __init__(
        self,
        training: Training,
        size: int,
        steps: Steps,
        notice: Notice = lambda text: None,
        *,
        shrinks: bool = True,
    ) -> None:
        training = training.in_columns
        self.training, self.size, self.notice, self.shrinks = training, size, notice, shrinks
        self.architectures = Architectures(training, steps, notice)
        self.lanes = Lanes(training, size, steps, self.architectures, shrinks=shrinks)
        self.solo: dict[int, SoloMember] = {}
        self.epoch = 0
        self.alone = False

    @property
    def kind(self) -> str:
        slots = "" if self.training.slots is None else f" in lanes of {self.training.slots}"
        mixed = " of several seeds" if self.training.mixes_seeds else ""
        return f"population of {self.size}{slots}{mixed}, steps {self.lanes.steps.name}{self.training.suffix}"

    def __len__(self) -> int:
        return len(self.solo) + self.lanes.members

    def room(self) -> int:
        # With folds a trial is a member of each.
        return (max(1, len(self.training.folds)) if self.alone else self.size) - len(self)

    def entry(self) -> int:
        return self.epoch

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        if entry_epoch is not None and not len(self):
            self.epoch = entry_epoch
        seed = self.training.seed if seed is None else seed
        if self.alone:
            self.solo[number] = SoloMember(self.training.of(number), number, config, self.epoch, seed)
            return self.epoch
        settings = OptimizerSettings.of(config)
        module = self.training.loaded.study.build(config, seed)
        padded = self.architectures.padded(module)
        program = self.architectures.program(padded)
        if program is None:
            self.solo[number] = SoloMember(self.training.of(number), number, config, self.epoch, seed)
            return self.epoch
        shapes = {name: tensor.shape for name, tensor in own_state(module).items()}
        progress = self.training.progress(number, self.epoch)
        self.lanes.seat(LaneMember(number, config, settings, progress, padded, shapes, seed), program)
        return self.epoch

    def advance(self) -> list[EpochResult]:
        self.architectures.wait_for_kernels()
        if self.shrinks:
            self.lanes.arrange(max(self.room(), 0))
        with doing("training", len(self) * steps_per_epoch(self.training.loaded)):
            results = [member.advance() for member in self.solo.values()]
            for lanes in side_by_side(lane for lane in self.lanes if lane.active):
                results += results_of(self._train(lanes))
        self.epoch += 1
        return results

    def _train(self, lanes: list[Lane]) -> list[Lane]:
        """Train lanes together for one epoch; out of memory, split the largest and train all from the epoch's start."""
        first, *beside = lanes
        try:
            first.train_epoch(self.epoch, beside)
            return lanes
        except torch.OutOfMemoryError:
            largest = max(lanes, key=lambda lane: lane.slots)
            if largest.slots == 1:
                raise
            half = -(-largest.slots // 2)
            self.notice(f"out of memory: a lane of {largest.slots} slots is split into two of {half}")
            smaller = [lane for lane in lanes if lane is not largest] + self.lanes.split(largest, half)
            return [lane for group in side_by_side(smaller) for lane in self._train(group)]

    def drop(self, number: int) -> None:
        if number in self.solo:
            del self.solo[number]
            return
        lane, slot = self.lanes.find(number)
        lane.free(slot)

    def conditions(self, number: int) -> dict[str, Any]:
        if number in self.solo:
            return SOLO_CONDITIONS | self.training.conditions
        lane, slot = self.lanes.find(number)
        member = lane.members[slot]
        assert member is not None
        return {
            "trainer": "population",
            "lane_width": lane.width or None,
            # The last bits of a member that has moved between lanes cannot be repeated in either, nor can those of
            # uncompiled steps beside compiled ones.
            "lane_slots": None if member.moved or lane.is_uncompiled else lane.slots,
            **({"own_batches": True} if lane.seed is None else {}),
            "steps": self.lanes.steps.name,
            **self.training.conditions,
        }

    def state(self, number: int) -> dict[str, Tensor]:
        if number in self.solo:
            return self.solo[number].best
        lane, slot = self.lanes.find(number)
        return lane.best_state(slot)

    def keep(self) -> Kept:
        solo, lanes = keep_members(self.solo.values()), keep_lanes(self.lanes)
        tensors = under("solo:", solo.tensors) | under("lanes:", lanes.tensors)
        return Kept(tensors, {"epoch": self.epoch, **solo.facts, **lanes.facts})

    def restore(self, kept: Kept) -> None:
        self.epoch = kept.facts["epoch"]
        self.solo = restored_members(self.training, Kept(of_prefix("solo:", kept.tensors), kept.facts))
        restore_lanes(self.lanes, Kept(of_prefix("lanes:", kept.tensors), kept.facts))


def side_by_side(lanes: Iterable[Lane]) -> list[list[Lane]]:
    """Group lanes that take each step together: those of one seed, where that shares reads or fills the device.

    On CUDA one lane seldom fills the device. On a CPU lanes train one after the other, unless inputs are read.
    """
    groups: dict[object, list[Lane]] = {}
    for lane in lanes:
        loaded = lane.program.training.loaded
        together = loaded.device.type == "cuda" or loaded.reads
        groups.setdefault(lane.seed if together else lane, []).append(lane)
    return list(groups.values())


def results_of(lanes: list[Lane]) -> list[EpochResult]:
    """Results of an epoch of lanes that were trained together; validation data are read once for all of them."""
    with doing("validating"):
        metrics = evaluate_lanes(lanes, "validation")
    return [result for lane, own in zip(lanes, metrics, strict=True) for result in lane.results(own)]
