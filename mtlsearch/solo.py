"""The solo trainer: one member at a time, a plain `nn.Module` under `torch.optim`.

This is the readable reference: what a trial is, every other trainer must give too.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.nn import noise_keys
from mtlsearch.optim import OptimizerSettings
from mtlsearch.space import Config
from mtlsearch.step import (
    derived_seed,
    epoch_batches,
    epoch_key,
    evaluate,
    layer_keys,
    steps_per_epoch,
    task_losses,
)
from mtlsearch.study import LoadedStudy
from mtlsearch.trainer import EpochResult, Progress, Training, failure_reason

SOLO_CONDITIONS: dict[str, Any] = {
    "trainer": "solo",
    "lane_width": None,
    "lane_slots": None,
    "steps": "eager",
}


class SoloMember:
    """One trial in training."""

    def __init__(self, training: Training, number: int, config: Config, entry_epoch: int, seed: int) -> None:
        study = training.loaded.study
        self.training, self.seed = training, seed
        self.progress = Progress(number, study.epochs, study.patience, entry_epoch)
        self.model = study.build(config, seed).to(training.loaded.device, training.dtype)
        self.settings = OptimizerSettings.of(config)
        self.optimizer = self.settings.build(self.model.parameters())
        weights = [config.task_weights[task] for task in study.task_names]
        self.weights = torch.tensor(weights, dtype=training.dtype, device=training.loaded.device)
        self.layers = noise_keys(self.model)
        self.best: dict[str, Tensor] = _copy(self.model)

    def advance(self) -> EpochResult:
        """Train and validate one epoch."""
        bad = self.train_epoch()
        loaded = self.training.loaded
        reason = failure_reason(bad, self.progress.epoch, steps_per_epoch(loaded))
        if reason is not None:
            return self.progress.fail(reason)
        validation = self.evaluate("validation")
        result, improved = self.progress.update(loaded.score(validation), validation)
        if improved:
            self.best = _copy(self.model)
        return result

    def train_epoch(self) -> dict[str, int]:
        """Take S steps; the first step (S where none) at which each task's loss was not finite."""
        loaded, training = self.training.loaded, self.training
        self.model.train()
        epoch = self.progress.entry_epoch + self.progress.epoch
        batches = epoch_batches(loaded, self.seed, epoch)
        steps = steps_per_epoch(loaded)
        key = torch.tensor(epoch_key(self.seed, epoch), device=loaded.device)
        buffers = dict(self.model.named_buffers())
        # Kept on the device and read once, after the epoch: a look at each step would wait for the device.
        bad = torch.full((len(loaded.study.tasks),), steps, device=loaded.device)
        ticks = torch.arange(steps, device=loaded.device)
        with _seeded(derived_seed(self.seed, "epoch", epoch), loaded.device):
            for step in range(steps):
                training.check_stop()
                for name, layer_key in layer_keys(key, ticks[step], self.layers).items():
                    buffers[name].copy_(layer_key)
                losses = self.step(batches, step)
                bad = torch.where(losses.isfinite(), bad, bad.clamp(max=step))
        return dict(zip(loaded.study.task_names, bad.tolist(), strict=True))

    def step(self, batches: list[Tensor], step: int) -> Tensor:
        """Take one step; the task losses [T]."""
        loaded, training = self.training.loaded, self.training
        parts = [splits.train.rows(rows[step]) for splits, rows in zip(loaded.splits, batches, strict=True)]
        with training.autocast():
            losses = task_losses(loaded, self.model, parts, training.dtype)
        self.optimizer.zero_grad(set_to_none=True)
        (self.weights * losses).sum().backward()  # type: ignore[no-untyped-call]
        if math.isfinite(self.settings.clip_norm):
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        total = loaded.study.epochs * len(batches[0])
        factor = self.settings.rate_factor(self.progress.epoch * len(batches[0]) + step, total)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        self.optimizer.step()
        return losses.detach()

    def evaluate(self, split: str) -> dict[str, dict[str, float]]:
        """{task: {metric: value}} on "validation" or "test"."""
        self.model.eval()
        with torch.no_grad(), self.training.autocast():
            return evaluate(self.training.loaded, self.model, split, self.training.dtype)


class SoloTrainer:
    """Trains one member at a time."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.members: dict[int, SoloMember] = {}

    def room(self) -> int:
        return 1 - len(self.members)

    def add(
        self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None
    ) -> int:
        entry = entry_epoch or 0
        seed = self.training.seed if seed is None else seed
        self.members[number] = SoloMember(self.training, number, config, entry, seed)
        return entry

    def advance(self) -> list[EpochResult]:
        return [member.advance() for member in self.members.values()]

    def drop(self, number: int) -> None:
        del self.members[number]

    def conditions(self, number: int) -> dict[str, Any]:
        return SOLO_CONDITIONS

    def state(self, number: int) -> dict[str, Tensor]:
        return self.members[number].best


def evaluate_state(
    loaded: LoadedStudy, config: Config, state: Mapping[str, Tensor], split: str, precision: str = "fp32"
) -> dict[str, dict[str, float]]:
    """{task: {metric: value}} on `split` of the model of `config` with the parameters `state`."""
    member = SoloMember(Training(loaded, precision=precision), 0, config, entry_epoch=0, seed=0)
    member.model.load_state_dict(dict(state))
    return member.evaluate(split)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own random numbers, which a user's model may draw, follow from `seed` inside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
