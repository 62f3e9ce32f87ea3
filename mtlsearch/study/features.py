"""The features of frozen modules, computed once for each part of the data and kept on disk.

A frozen module takes the inputs of a source as they are, or else its features are not those of an input. Whether it
does is tried: a model that is fed the features must give the outputs of the whole model.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtlsearch.activity import advance, doing
from mtlsearch.data.examples.appended import appended, features_file
from mtlsearch.data.examples.kinds import InputKind, as_input
from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import Splits
from mtlsearch.errors import StudyError
from mtlsearch.nn.pretrained.copies import copied
from mtlsearch.nn.pretrained.frozen import Frozen
from mtlsearch.nn.pretrained.shared import placed, shared_digest
from mtlsearch.study.code import code_of
from mtlsearch.terminal import notice
from mtlsearch.wording import few

ROWS, TRIED = 256, 3  # of a batch; of the comparison with the whole model
TOLERANCE = 1e-4
MOST_RESIDENT = 2 << 30  # bytes of the features of a part in memory


@dataclass(frozen=True)
class Features:
    """The features [B, ...] of inputs [B, ...] of a `kind`, by a frozen module on the device.

    `key` tells them, and the training inputs, from all others.
    """

    module: nn.Module
    kind: InputKind | None
    device: torch.device
    key: str = ""

    def __call__(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self.module(as_input(inputs, torch.float32, self.kind))
            return found


def check_frozen(model: nn.Module, again: nn.Module) -> None:
    """Raise StudyError where a frozen module differs between a model and the same with another seed."""
    if shared_digest(model) != shared_digest(again):
        raise StudyError(
            "a frozen or adapted module must be the same in every trial, but its parameters change with the seed: make"
            " or load it once, outside the function that makes the model"
        )


def with_features(
    splits: Sequence[Splits], whole: nn.Module, of_features: nn.Module, device: torch.device
) -> tuple[Splits, ...] | None:
    """The splits with the features of each part as its inputs; None where the model takes no such inputs.

    `whole` is the model on the CPU, and `of_features` the same that is fed features; both are in evaluation mode.
    """
    modules = [_taken(each, whole) for each in splits]
    if any(isinstance(layer, Frozen) for layer in whole.modules()) and not all(
        _gives_the_same(each, layer, whole, of_features) for each, layer in zip(splits, modules, strict=True)
    ):
        notice(
            "a frozen module runs in every step, since it does not take the study's inputs as they are: put what comes"
            " before it inside, as frozen(nn.Sequential(…))"
        )
        return None
    if not any(modules):
        return None
    return tuple(
        each if layer is None else _with_features(each, placed(Frozen(layer.module), device), device)
        for each, layer in zip(splits, modules, strict=True)
    )


def _taken(splits: Splits, model: nn.Module) -> Frozen | None:
    """The one frozen module that takes a source's inputs as they are; None where none does, or more than one."""
    x, given = _tried(splits), list[tuple[Frozen, tuple[Any, ...]]]()
    layers = [layer for layer in model.modules() if isinstance(layer, Frozen)]
    handles = [layer.register_forward_pre_hook(lambda layer, inputs: given.append((layer, inputs))) for layer in layers]
    try:
        _outputs(splits, model, x)
    finally:
        for handle in handles:
            handle.remove()
    passed = {layer for layer, _ in given}  # each task may pass it anew
    as_they_are = all(len(inputs) == 1 and torch.equal(inputs[0], x) for _, inputs in given)
    return passed.pop() if len(passed) == 1 and as_they_are else None


def _tried(splits: Splits) -> Tensor:
    return as_input(splits.train.inputs[:TRIED], torch.float32, splits.kind)


def _outputs(splits: Splits, model: nn.Module, x: Tensor) -> Mapping[str, Tensor]:
    with torch.no_grad():
        outputs: Mapping[str, Tensor] = model(dict.fromkeys(splits.tasks, x))
        return outputs


def _gives_the_same(splits: Splits, layer: Frozen | None, whole: nn.Module, of_features: nn.Module) -> bool:
    """Whether a model that is fed features gives the outputs of the whole one.

    Both are disturbed alike: outputs of a fresh model may not depend on its inputs, as behind a layer of zeros.
    """
    x = _tried(splits)
    try:
        features = x if layer is None else layer(x)
        if not isinstance(features, Tensor) or len(features) != len(x) or not features.is_floating_point():
            return False
        got, due = _outputs(splits, disturbed(of_features), features), _outputs(splits, disturbed(whole), x)
        return all(torch.allclose(got[task], due[task], TOLERANCE, TOLERANCE) for task in splits.tasks)
    except Exception:  # of any kind: the user's layers may take the inputs, and no features
        return False


def disturbed(model: nn.Module) -> nn.Module:
    """A copy of `model` with other trained parameters, the same for parameters of one name and shape."""
    new = copied(model)
    for layer_name, layer in new.named_modules():
        for name, p in layer._parameters.items():
            if p is not None and p.requires_grad:
                generator = torch.Generator().manual_seed(zlib.crc32(f"{layer_name}.{name}".encode()))
                layer._parameters[name] = nn.Parameter(p.detach() + torch.randn(p.shape, generator=generator))
    return new


def _with_features(splits: Splits, module: Frozen, device: torch.device) -> Splits:
    features = Features(module, splits.kind, device)
    parts, changes = (splits.train, splits.validation, splits.test), splits.augment is not None
    with doing(f"hashing the data of {few(splits.tasks)}"):
        keys = [_key(part.inputs, features) for part in parts]
    with doing(f"computing the features of {few(splits.tasks)}", total=sum(map(len, parts))):
        train, validation, test = (
            _featured(part, features, key, changes) for part, key in zip(parts, keys, strict=True)
        )
    return replace(
        splits,
        train=train,
        validation=validation,
        test=test,
        given=splits.inputs_given,
        kind="numbers",
        features=replace(features, key=keys[0]),
    )


def _featured(part: Part, features: Features, key: str, augmented: bool) -> Part:
    """A part whose inputs are features: in memory where the inputs are, unless they are very large."""

    def make(start: int, end: int) -> NDArray[np.float32]:
        return features(part.inputs[start:end].to(features.device)).float().cpu().numpy()

    found = appended(features_file(key), len(part), ROWS, make, advance)
    resident = isinstance(part.inputs, Tensor) and found.nbytes <= MOST_RESIDENT
    inputs = torch.from_numpy(np.array(found)) if resident else OnDisk(found)
    return replace(part, inputs=inputs, raw=part.inputs if augmented else None)


def _key(inputs: Tensor | OnDisk, features: Features) -> str:
    """A name for the features: of the inputs, of the module's parameters and code, and of what computes them."""
    digest = hashlib.sha256()
    module = features.module
    about = [
        shared_digest(module),
        repr(module),
        code_of({f"{name} {number}": type(layer) for number, (name, layer) in enumerate(module.named_modules())}),
        features.kind,
        str(inputs.dtype),
        list(inputs.shape),
        torch.__version__,
        features.device.type,
    ]
    digest.update(json.dumps(about, sort_keys=True).encode())
    if isinstance(inputs, Tensor):
        for start in range(0, len(inputs), ROWS):
            digest.update(inputs[start : start + ROWS].cpu().contiguous().numpy().tobytes())
    else:
        for piece in inputs.sample():
            digest.update(piece)
    return digest.hexdigest()
