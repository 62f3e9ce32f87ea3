"""The shares of the tasks in the gradient that trains the trunk: a task with nearly all of it drowns the others."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mtlsearch.nn.pretrained.shared import load_own_state
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.loading import examples
from mtlsearch.study.space import Config
from mtlsearch.training.batches import batch_parts, epoch_batches, epoch_reads
from mtlsearch.training.losses import each_loss
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training

BATCHES = 4


def gradient_shares(training: Training, config: Config, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Each task's share in the trunk's gradient, Σ = 1, of the model of `config` with the parameters `state`.

    It is the norm of `wᵢ ∇Lᵢ/uᵢ` over the parameters that several tasks reach, averaged over some training batches.
    Empty where no parameter is shared, or all gradients are zero.
    """
    member = SoloMember(replace(training, columns=False), 0, config, entry_epoch=0, seed=training.seed)
    load_own_state(member.model, state)
    member.model.train()
    norms = _norms(member)
    total = float(norms.sum())
    if not total > 0:  # written so that NaN gives nothing either
        return {}
    return dict(zip(training.loaded.study.weighted, (norms / total).tolist(), strict=True))


def used_parameters(loaded: LoadedStudy, config: Config) -> int:
    """The number of parameters that the tasks' outputs depend on, of the model of `config`."""
    model = loaded.study.build(config, seed=0)
    outputs = model.eval()({task: x.cpu() for task, x in examples(loaded.splits).items()})
    params = [param for param in model.parameters() if param.requires_grad]
    total = torch.stack([output.sum() for output in outputs.values()]).sum()
    found = torch.autograd.grad(total, params, allow_unused=True)
    return sum(param.numel() for param, gradient in zip(params, found, strict=True) if gradient is not None)


def _norms(member: SoloMember) -> Tensor:
    """The norm [T] of each task's weighted gradient on the shared parameters, summed over batches."""
    training, loaded = member.training, member.training.loaded
    batches = epoch_batches(loaded, member.seed, 0)
    params = [param for param in member.params if param.requires_grad]
    norms = torch.zeros(len(loaded.study.weighted), dtype=torch.float64)
    with epoch_reads(loaded, member.seed, 0) as reads:
        for step, read in itertools.islice(enumerate(reads), min(BATCHES, len(batches[0]))):
            parts = batch_parts(loaded, [rows[step] for rows in batches], read)
            with training.autocast():
                losses = each_loss(loaded, member.model, parts, training.dtype, member.weights)
            rows = [
                torch.autograd.grad(weight * loss, params, retain_graph=True, allow_unused=True)
                if loss.requires_grad
                else [None] * len(params)
                for weight, loss in zip(member.weights, losses, strict=True)
            ]
            shared = [i for i, column in enumerate(zip(*rows, strict=True)) if sum(g is not None for g in column) > 1]
            norms += torch.tensor([_norm([row[i] for i in shared]) for row in rows], dtype=torch.float64)
    return norms


def _norm(gradients: list[Tensor | None]) -> float:
    squares = [float(g.double().square().sum()) for g in gradients if g is not None]
    return math.sqrt(sum(squares))
