"""The solo trainer: one member at a time, a plain `nn.Module` under `torch.optim`.

This is the readable reference: every other trainer must give a trial the same result.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.activity import advance, doing
from mtlsearch.data.augment import seeded
from mtlsearch.data.examples.parts import Part
from mtlsearch.nn.batched.noisy import noise_keys
from mtlsearch.nn.pretrained.shared import load_own_state, own_state, placed, shared_tensors
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import EpochResult, Metrics, TrialProgress, failure_reason
from mtlsearch.study.space import Config
from mtlsearch.training.batches import (
    NOTHING_READ,
    Read,
    batch_parts,
    epoch_batches,
    epoch_reads,
    steps_per_epoch,
)
from mtlsearch.training.columns.study import StudyInColumns
from mtlsearch.training.evaluation import evaluate
from mtlsearch.training.gradient_weighting import method_named
from mtlsearch.training.kept import Kept, config_of_facts, member_facts, of_prefix, under
from mtlsearch.training.losses import each_loss, task_losses
from mtlsearch.training.optim import OptimizerSettings, plain_step
from mtlsearch.training.seeds import derived_seed, epoch_keys, layer_keys
from mtlsearch.training.trainer import Training

SOLO_CONDITIONS: dict[str, Any] = {
    "trainer": "solo",
    "lane_width": None,
    "lane_slots": None,
    "steps": "eager",
}


class SoloMember:
    """One trial in training."""

    def __init__(self, training: Training, number: int, config: Config, entry_epoch: int, seed: int) -> None:
        loaded = training.loaded
        self.training, self.seed, self.config = training, seed, config
        self.progress = training.progress(number, entry_epoch)
        self.model = placed(training.built(config, seed), loaded.device, training.dtype)
        self.settings = OptimizerSettings.of(config)
        self.weights = training.weights(config)
        self.method = method_named(training.method, len(self.weights))
        self.weighting = self.method.initial(self.weights)
        self.learned = {name: nn.Parameter(t) for name, t in self.method.learned(self.weights).items()}
        self.params = [*self.model.parameters(), *self.learned.values()]
        self.optimizer = self.settings.build(self.params)
        self.update = plain_step(self.optimizer)
        self.layers = noise_keys(self.model)
        self.best: dict[str, Tensor] = _copy(self.model)

    def advance(self) -> EpochResult:
        """Train and validate one epoch."""
        bad = self.train_epoch()
        loaded = self.training.loaded
        reason = failure_reason(bad, self.progress.epoch, steps_per_epoch(loaded), self.method.rule)
        if reason is not None:
            return self.progress.fail(reason)
        with doing("validating"):
            validation = self.evaluate("validation")
        score, shortfalls = loaded.score(validation), loaded.shortfalls(validation)
        result, improved = self.progress.update(score, validation, shortfalls)
        if improved:
            self.best = _copy(self.model)
        return result

    def train_epoch(self) -> dict[str, int]:
        """Take S steps, and give the first step at which each task's loss was not finite, S where there is none."""
        loaded, training = self.training.loaded, self.training
        self.model.train()
        epoch, shared_epoch = self.progress.epoch, self.progress.entry_epoch + self.progress.epoch
        batches = epoch_batches(loaded, self.seed, shared_epoch)
        steps = steps_per_epoch(loaded)
        key = epoch_keys(self.seed, [epoch])[0].to(loaded.device)
        buffers = dict(self.model.named_buffers())
        # Read once, after the epoch: reading at each step would wait for the device.
        bad = torch.full((len(loaded.study.weighted),), steps, device=loaded.device)
        ticks = torch.arange(steps, device=loaded.device)
        with (
            epoch_reads(loaded, self.seed, shared_epoch) as reads,
            seeded(derived_seed(self.seed, "epoch", epoch), loaded.device),
        ):
            for step, read in enumerate(reads):
                training.check_stop()
                for name, layer_key in layer_keys(key, ticks[step], self.layers).items():
                    buffers[name].copy_(layer_key)
                weights = self.method.draw(key, ticks[step], self.weights)
                losses = self.method.checked(self.step(batches, step, weights, read))
                bad = torch.where(losses.isfinite(), bad, bad.clamp(max=step))
                advance()
        self.weighting = self.method.end_epoch(self.weighting, steps)
        return dict(zip(loaded.study.weighted, bad.tolist(), strict=True))

    def step(
        self, batches: list[Tensor], step: int, weights: Tensor | None = None, read: Read = NOTHING_READ
    ) -> Tensor:
        """Take one step, and give the task losses [T].

        `weights` [T] replace the config's task weights, and `read` the inputs of the sources that it holds.
        """
        loaded, training = self.training.loaded, self.training
        parts = batch_parts(loaded, [rows[step] for rows in batches], read)
        with training.autocast():
            if isinstance(loaded, StudyInColumns):
                each, losses = [], task_losses(loaded, self.model, parts, training.dtype, self.weights)
            else:
                each = each_loss(loaded, self.model, parts, training.dtype, self.weights)
                losses = torch.stack(each)
        self.optimizer.zero_grad(set_to_none=True)
        weights = self.weights if weights is None else weights
        trained = [param for param in self.params if param.requires_grad]
        self.method.backward(losses, each, weights, {**self.weighting, **self.learned}, trained)
        if math.isfinite(self.settings.clip_norm):
            nn.utils.clip_grad_norm_(self.params, self.settings.clip_norm)
        total = loaded.study.epochs * len(batches[0])
        factor = self.settings.rate_factor(self.progress.epoch * len(batches[0]) + step, total)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        self.update()
        if self.method.observes:
            again = self._losses_again(parts) if self.method.looks_again else losses
            self.weighting = self.method.observe(self.weighting, losses.detach(), again.detach())
        return losses.detach()

    def _losses_again(self, parts: list[Part]) -> Tensor:
        """The losses [T] on a step's batch after the step; the buffers stay as they are."""
        before = [buffer.clone() for buffer in self.model.buffers()]
        with torch.no_grad(), self.training.autocast():
            losses = task_losses(self.training.loaded, self.model, parts, self.training.dtype)
            for buffer, old in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(old)
        return losses

    def evaluate(self, split: str) -> Metrics:
        """Metrics on "validation" or "test"."""
        self.model.eval()
        with torch.no_grad(), self.training.autocast():
            return evaluate(self.training.loaded, self.model, split, self.training.dtype)

    def keep(self) -> Kept:
        """The member's whole state between two epochs."""
        tensors = {
            **under("model:", _tensors(self.model)),
            **under("best:", self.best),
            **under("learned:", self.learned),
            # A method may begin with one tensor for several parts of its state.
            **under("weighting:", {name: tensor.clone() for name, tensor in self.weighting.items()}),
        }
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= under(f"optimizer:{number}:", {k: t for k, t in moments.items() if isinstance(t, Tensor)})
        return Kept(tensors, {"seed": self.seed, **member_facts(self.config, self.progress)})

    @classmethod
    def restored(cls, training: Training, kept: Kept) -> "SoloMember":
        """A member as `keep` left it."""
        facts, tensors = kept.facts, kept.tensors
        progress = TrialProgress(**facts["progress"])
        member = cls(training, progress.number, config_of_facts(facts), progress.entry_epoch, facts["seed"])
        member.progress, member.best = progress, of_prefix("best:", tensors)
        with torch.no_grad():
            own = {**under("model:", _tensors(member.model)), **under("learned:", member.learned)}
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        member.weighting = {
            name: tensor.to(training.loaded.device) for name, tensor in of_prefix("weighting:", tensors).items()
        }
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in of_prefix("optimizer:", tensors).items():
            number, _, moment = name.partition(":")
            moments.setdefault(int(number), {})[moment] = tensor
        member.optimizer.load_state_dict({**member.optimizer.state_dict(), "state": moments})
        return member


class SoloTrainer:
    """Trains up to `size` members, each by itself; with one at a time the next ask knows all others."""

    def __init__(self, training: Training, size: int = 1) -> None:
        self.training, self.size = training.in_columns, size
        self.members: dict[int, SoloMember] = {}

    @property
    def kind(self) -> str:
        return f"solo{self.training.suffix}"

    def room(self) -> int:
        return self.size - len(self.members)

    def entry(self) -> int:
        return 0

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        entry = entry_epoch or 0
        seed = self.training.seed if seed is None else seed
        self.members[number] = SoloMember(self.training, number, config, entry, seed)
        return entry

    def advance(self) -> list[EpochResult]:
        with doing("training", len(self.members) * steps_per_epoch(self.training.loaded)):
            return [member.advance() for member in self.members.values()]

    def drop(self, number: int) -> None:
        del self.members[number]

    def conditions(self, number: int) -> dict[str, Any]:
        return SOLO_CONDITIONS | self.training.conditions

    def state(self, number: int) -> dict[str, Tensor]:
        return self.members[number].best

    def keep(self) -> Kept:
        return keep_members(self.members.values())

    def restore(self, kept: Kept) -> None:
        self.members = restored_members(self.training, kept)


def keep_members(members: Iterable[SoloMember]) -> Kept:
    """The whole state of solo members."""
    tensors: dict[str, Tensor] = {}
    facts = []
    for member in members:
        kept = member.keep()
        tensors |= under(f"{member.progress.number}:", kept.tensors)
        facts.append(kept.facts)
    return Kept(tensors, {"solo": facts})


def restored_members(training: Training, kept: Kept) -> dict[int, SoloMember]:
    """Solo members as `keep_members` left them, by their trials' numbers."""
    members: dict[int, SoloMember] = {}
    for facts in kept.facts["solo"]:
        number = facts["progress"]["number"]
        members[number] = SoloMember.restored(training.of(number), Kept(of_prefix(f"{number}:", kept.tensors), facts))
    return members


def evaluate_state(
    loaded: LoadedStudy, config: Config, state: Mapping[str, Tensor], split: str, precision: str = "fp32"
) -> Metrics:
    """Metrics on `split` of the model of `config` with the parameters `state`."""
    member = SoloMember(Training(loaded, precision=precision), 0, config, entry_epoch=0, seed=0)
    load_own_state(member.model, state)
    return member.evaluate(split)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in own_state(model).items()}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer of the trial, those too that a state dict leaves out."""
    shared = shared_tensors(model)
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor for name, tensor in tensors if name not in shared}
