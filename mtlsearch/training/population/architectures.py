"""The architectures in a population: which members share a lane, and the program that trains them.

Two modules have one architecture where they differ in nothing but the values of their tensors. A Widenable module is
padded first, so that modules of several widths have one.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import Future
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from mtlsearch.activity import doing
from mtlsearch.kernels.launch import LINEAR_DTYPES
from mtlsearch.nn.batched.noisy import Noisy
from mtlsearch.nn.batched.values import Place, as_buffers, as_numbers, has_numbers, varying
from mtlsearch.nn.pretrained.adapters import with_rank
from mtlsearch.nn.pretrained.shared import shared_digest, shared_tensors
from mtlsearch.nn.widening import Widenable, checked_width, pad
from mtlsearch.training.ahead import in_a_thread
from mtlsearch.training.population.lane import Lane
from mtlsearch.training.population.layout import highest_rank, lane_norm, lane_widths, largest, skips_padding
from mtlsearch.training.population.program import LaneProgram
from mtlsearch.training.population.steps import Steps, build_kernels
from mtlsearch.training.population.unbatchable import named_twice, told
from mtlsearch.training.trainer import Training

Key = tuple[Any, ...]
Notice = Callable[[str], None]


class Architectures:
    """The program of each architecture, or the notice why it has none."""

    def __init__(self, training: Training, steps: Steps, notice: Notice) -> None:
        loaded = training.loaded
        default = loaded.study.build(loaded.study.default_config(), seed=0)
        self.training, self.notice = training, notice
        self.widths, self.norm = lane_widths(loaded, default), lane_norm(loaded, default)
        self.rank = highest_rank(loaded, default)
        self.by_kernels = steps.by_kernels
        self.skips = steps.by_kernels and training.dtype in LINEAR_DTYPES
        self.varying = self._varying(default)
        self.numbers: dict[Place, float] = {}  # of the module that was padded last
        self.programs: dict[Key, LaneProgram | None] = {}
        self.failed: dict[Key, str] = {}  # why an architecture has no program, whatever its numbers are
        self.told: set[str] = set()
        self.builds: list[Future[None]] = []  # of programs' kernels, while members are added

    def _varying(self, default: nn.Module) -> set[Place]:
        """The places of numbers that the space varies, as buffers hold them; none where nothing can vary."""
        study = self.training.loaded.study
        return varying(default, study.build(largest(study), seed=0)) if has_numbers(default) else set()

    def padded(self, module: nn.Module, width: int | None = None) -> nn.Module:
        """Pad a module to `width`, else to the narrowest lane width that holds it; numbers that vary become buffers.

        Where padding costs nothing, that is the widest.
        """
        wide = self.training.joined(self._padded(module, width))
        self.numbers = as_buffers(wide, self.varying)
        return wide

    def _padded(self, module: nn.Module, width: int | None) -> nn.Module:
        if not isinstance(module, Widenable):
            return with_rank(module, self.rank) if self.rank else module
        widths, norm = self.widths, self.norm
        if self.skips_padding(module):
            widths, norm = widths[-1:], "any"
        if not widths and norm is None:
            return module
        own = checked_width(module)
        if width is None:
            width = min((width for width in widths if width >= own), default=own)
        wide = pad(module, width, norm)
        # A subclass that inherits `widened` would become its base class, without its own methods.
        return wide if type(wide) is type(module) else module

    def skips_padding(self, module: nn.Module) -> bool:
        """Whether a step skips a module's padded units, so that one lane holds every width and normalisation."""
        return self.skips and skips_padding(module)

    def program(self, module: nn.Module) -> LaneProgram | None:
        """The program of a padded module's architecture, None where `vmap` cannot batch it."""
        key = structure(module)
        if key in self.programs:
            return self.programs[key]
        family = structure(module, numbers=False)
        found = self.failed.get(family) or self._new_program(module)
        if isinstance(found, str) and self.numbers:
            # A layer may need its numbers as such: then each number has a lane.
            as_numbers(module, self.numbers)
            self.varying, self.numbers = {place for place in self.varying if place[1] == "drops"}, {}
            return self.program(module)
        if isinstance(found, str):
            self.failed[family] = found
            self._tell(f"{type(module).__name__} is trained one at a time: {found}")
        self.programs[key] = None if isinstance(found, str) else found
        return self.programs[key]

    def _tell(self, line: str) -> None:
        """Give a notice, once."""
        if line not in self.told:
            self.told.add(line)
            self.notice(line)

    def _new_program(self, module: nn.Module) -> LaneProgram | str:
        """Try an architecture on one step, while its kernels are built in a thread; a line says why it has none."""
        program = LaneProgram(self.training, module, self.by_kernels)
        build: Future[None] | None = None
        if self.skips_padding(module):
            # The thread gets a copy: the module belongs to a member, which is seated meanwhile.
            copy = LaneProgram(self.training, deepcopy(module), by_kernels=True)
            build = in_a_thread(build_kernels, copy)
        reason = why_not(program)
        if reason is not None:
            return reason
        if build is not None:
            self.builds.append(build)
        return program

    def wait_for_kernels(self) -> None:
        """Wait until the kernels of all programs are built."""
        with doing("building kernels"):
            while self.builds:
                self.builds.pop().result()


def structure(module: nn.Module, numbers: bool = True) -> Key:
    """A module's classes, shapes, attributes other than tensors, and shared tensors: equal for members of one lane.

    Without `numbers`, all those attributes that are of the class `float` are equal.
    """
    layers = tuple((name, type(layer), _attributes(layer, numbers)) for name, layer in module.named_modules())
    shared = shared_tensors(module)
    tensors = (each for each in (*module.named_parameters(), *module.named_buffers()) if each[0] not in shared)
    own = tuple((name, tuple(t.shape), t.dtype, t.requires_grad) for name, t in tensors)
    return layers, own, shared_digest(module)


def _attributes(layer: nn.Module, numbers: bool) -> Key:
    hidden = {"_parameters", "_buffers", "_modules", "training"}
    if isinstance(layer, Noisy):
        hidden |= set(layer.held)
    values = {name: value for name, value in vars(layer).items() if name not in hidden}
    if not numbers:
        values = {name: float if isinstance(value, float) else value for name, value in values.items()}
    return tuple((name, _comparable(value)) for name, value in sorted(values.items()))


def _comparable(value: object) -> object:
    """A hashable stand-in for an attribute's value; an object of an unknown class equals what it says it does."""
    if isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device | None):
        return type(value), value
    if isinstance(value, list | tuple):
        return type(value), tuple(_comparable(v) for v in value)
    if isinstance(value, dict):
        return dict, tuple((_comparable(k), _comparable(v)) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return type(value), frozenset(_comparable(v) for v in value)
    return type(value), id(value) if type(value).__eq__ is object.__eq__ else _Own(value)


class _Own:
    """An object by its own equality, as the settings of a model of Hugging Face have it."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(type(self.value))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Own):
            return False
        if self.value is other.value:
            return True
        return (self.value == other.value) is True  # what an array says is no answer


def why_not(program: LaneProgram) -> str | None:
    """Say why `vmap` cannot batch a program, None where it can: one step of a small lane is tried."""
    if (twice := named_twice(program.base)) is not None:
        return twice  # torch.func.functional_call would leave its own tensors in it
    lane = Lane(program, 2, seed=None if program.training.mixes_seeds else 0)
    lane.begin_epoch(0)
    with warnings.catch_warnings():
        # torch warns where `vmap` would run members one after the other; the solo trainer does that more simply.
        warnings.filterwarnings("error", message=".*performance drop.*")
        try:
            program.gradients(lane.state)
            program.try_forward(lane.state, rows=2)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return told(program.base, error)
    return None
