"""A torchvision network as the trunk that all tasks share.

Legend: B examples, C channels, H × W pixels, F features.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.download import DownloadError, answers
from mtlsearch.errors import ModelError, StudyError
from mtlsearch.limits import check_heads
from mtlsearch.nn.conv import pictures, with_own_batch_norm
from mtlsearch.nn.pretrained.frozen import Frozen
from mtlsearch.nn.sharing import LinearHeads, through

COLOURS = 3
AUXILIARY = ("googlenet", "inception_v3")  # these have several outputs in training


class Backbone(nn.Module):
    """torchvision's network `name`, without its last linear layer, and a linear head [F → size] per task.

    Maps {task: pictures [B, H, W], [B, 1, H, W] or [B, 3, H, W]} to {task: output [B, size]}; grey becomes colour.
    `weights` names trained parameters ("DEFAULT", "IMAGENET1K_V1", …), which are downloaded at first use; colours are
    then normalised as they were for those. Without it the parameters are random. With `frozen` no trial trains the
    network: its features are computed once (see `frozen`), and only the heads are trained. Raises DownloadError.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        heads: Mapping[str, int],
        *,
        weights: str | None = None,
        in_channels: int = COLOURS,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        if in_channels not in (1, COLOURS):
            raise StudyError(f"in_channels must be 1 or {COLOURS} for a backbone, but got {in_channels}")
        check_heads(heads)
        self.name, self.in_channels = name, in_channels
        self.trunk: nn.Module
        colours: dict[str, list[float]] = {}
        if frozen:
            network = _made_once(name, weights, in_channels)
            self.trunk, features = Frozen(network), network.features
        else:
            self.trunk, features, colours = headless(name, weights)
        self.heads = LinearHeads(features, heads)
        for what, values in colours.items():
            self.register_buffer(what, _by_channel(values))

    def forward(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        features = through(self.trunk, inputs, self.prepared)
        outputs: Mapping[str, Tensor] = self.heads(features)
        return outputs

    def prepared(self, x: Tensor) -> Tensor:
        """Pictures as the trunk takes them: a frozen one normalises colours by itself."""
        return normalised(x, self.in_channels, self.mean, self.std) if hasattr(self, "mean") else x


class OnPictures(nn.Module):
    """A network with the normalisation of its colours, so that nothing is left to do before it."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | None, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.network, self.features, colours = headless(name, weights)
        for what, values in colours.items():
            self.register_buffer(what, _by_channel(values))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(normalised(x, self.in_channels, self.mean, self.std))
        return found


@cache
def _made_once(name: str, weights: str | None, in_channels: int) -> OnPictures:
    """The network that all trials share; random parameters do not depend on a trial's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OnPictures(name, weights, in_channels)


def _by_channel(values: list[float]) -> Tensor:
    return torch.tensor(values).view(COLOURS, 1, 1)


def normalised(x: Tensor, channels: int, mean: Tensor, std: Tensor) -> Tensor:
    """Pictures [B, H, W] or [B, C, H, W] as a network takes them, [B, 3, H, W]."""
    return (pictures(x, channels).expand(-1, COLOURS, -1, -1) - mean) / std


def headless(name: str, weights: str | None) -> tuple[nn.Module, int, dict[str, list[float]]]:
    """The network without its last linear layer, its number of features F, and the colours' mean and deviation."""
    from torchvision import models

    if name not in models.list_models(module=models) or name in AUXILIARY:
        raise StudyError(f"torchvision has no classifier {name!r} with one output, as resnet18 is")
    network: nn.Module = models.get_model(name, weights=None)
    colours = {"mean": [0.0] * COLOURS, "std": [1.0] * COLOURS}
    if weights is not None:
        chosen = named_weights(name, weights)
        network.load_state_dict(trained(name, chosen))
        transform = chosen.transforms()
        colours = {"mean": list(transform.mean), "std": list(transform.std)}
    linear = [(where, layer) for where, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise StudyError(f"a backbone must end in a linear layer, but {name} has none")
    where, last = linear[-1]
    parent, _, attribute = where.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return with_own_batch_norm(network), last.in_features, colours


def named_weights(name: str, weights: str) -> Any:
    """torchvision's description of the trained parameters `weights` of network `name`."""
    from torchvision import models

    known = models.get_model_weights(name)
    if weights not in known.__members__:
        raise StudyError(f"{name} has the weights {', '.join(sorted(known.__members__))}, but got {weights!r}")
    return known[weights]


def trained(name: str, weights: Any) -> dict[str, Tensor]:
    """The trained parameters, downloaded with their hash checked, or from torch's cache."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    cached = file.is_file()
    try:
        if not cached and not answers(weights.url):
            raise OSError("its host does not answer")
        # weights_only: torch reads nothing but tensors; otherwise a file could run code.
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if cached:
            raise ModelError(f"{file} holds no parameters of {name} ({reason}): delete it and run again") from error
        raise DownloadError(
            f"the weights {weights.name} of {name} are not in {file.parent} and cannot be downloaded ({reason}):"
            f" put {file.name} there, or leave weights out"
        ) from error
    return state
