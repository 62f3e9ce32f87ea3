"""A small convolutional network with a linear head per task.

Padded channels stay exactly 0, so members of several widths may share a lane. Arithmetic grows with the square of the
width, so a search whose widths lie far apart does better with few choices, each a lane of its own.

Legend: B examples, C channels, H × W pixels.
"""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.limits import MOST_LAYERS, MOST_UNITS, check_heads, check_most
from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.batched.replacing import of_class, with_replaced
from mtlsearch.nn.sharing import LinearHeads, Sharing, shared_layers, through
from mtlsearch.nn.task_modules import TaskModules, outputs_of

CONV_NORMS = ("none", "batch")


class ConvTrunk(nn.Module):
    """`depth` blocks of convolution, norm, ReLU and pooling, the mean over all places, and a linear head per task.

    Maps {task: pictures [B, H, W] or [B, C, H, W]} to {task: output [B, size]}. The first block has `channels`
    channels, and each later one twice as many. `norm` is "none" or "batch". `sharing` is "shared", "separate" or
    k: then the tasks share the first k blocks alone.
    """

    width_dimension = "channels"  # of the space (`Widenable`)

    def __init__(
        self,
        heads: Mapping[str, int],
        *,
        in_channels: int = 1,
        channels: int = 16,
        depth: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        sharing: Sharing = "shared",
    ) -> None:
        super().__init__()
        if channels < 1 or depth < 1:
            raise StudyError(f"channels and depth must be 1 or more, but got {channels} and {depth}")
        check_most(MOST_LAYERS, depth=depth)
        check_most(MOST_UNITS, **{"the channels of the last block": channels * 2 ** (depth - 1)})
        check_most(MOST_UNITS, in_channels=in_channels)
        check_heads(heads)
        self.in_channels, self.channels, self.depth, self.norm = in_channels, channels, depth, norm
        widths = [in_channels, *(channels * 2**k for k in range(depth))]
        self.shared = shared = shared_layers(sharing, depth)

        def layers(first: int, last: int) -> nn.Sequential:
            blocks = [block(i, o, norm) for i, o in pairwise(widths[first : last + 1])]
            # The mean over all places follows the last block, and is shared if that is.
            return nn.Sequential(*blocks, *([GlobalPool(dropout)] if last == depth else []))

        self.trunk = layers(0, shared)
        self.branches = TaskModules({task: layers(shared, depth) for task in heads if shared < depth})
        self.heads = LinearHeads(widths[-1], heads, apart=shared < depth)

    def forward(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        features = through(self.trunk, inputs, lambda x: pictures(x, self.in_channels))
        if self.branches:
            features = {task: self.branches[task](x) for task, x in features.items()}
        outputs: Mapping[str, Tensor] = self.heads(features)
        return outputs

    def widened(self, channels: int) -> "ConvTrunk":
        """The same trunk with other channels (`Widenable`)."""
        return ConvTrunk(
            outputs_of(self.heads),
            in_channels=self.in_channels,
            channels=channels,
            depth=self.depth,
            norm=self.norm,
            sharing=self.shared,
        )


class GlobalPool(nn.Module):
    """The mean over all places [B, C] of maps [B, C, H, W], with dropout."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(x.mean((-2, -1)))
        return dropped


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation in the precision of its parameters: on the CPU, `vmap` cannot batch it in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


def with_own_batch_norm(module: nn.Module) -> nn.Module:
    """`module` with every plain `nn.BatchNorm2d` replaced by a `BatchNorm` of the same state."""

    def own(layer: nn.Module) -> nn.Module:
        assert isinstance(layer, nn.BatchNorm2d)
        new = BatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        new.load_state_dict(layer.state_dict())
        return new

    return with_replaced(module, of_class(nn.BatchNorm2d, own))


def block(in_channels: int, channels: int, norm: str) -> nn.Sequential:
    """`conv_layer` and 2 × 2 max pooling; an odd side is rounded up, so that no picture vanishes."""
    return nn.Sequential(*conv_layer(in_channels, channels, norm), nn.MaxPool2d(2, ceil_mode=True))


def conv_layer(in_channels: int, channels: int, norm: str) -> nn.Sequential:
    """A 3 × 3 convolution that keeps the size, normalisation, ReLU."""
    if norm not in CONV_NORMS:
        raise StudyError(f"norm must be {' or '.join(CONV_NORMS)} here, but got {norm!r}")
    # Before batch normalisation a bias has no effect: its gradient is rounding noise, which Adam would amplify.
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=norm == "none")
    normalisation = [BatchNorm(channels)] if norm == "batch" else []
    return nn.Sequential(convolution, *normalisation, nn.ReLU())


def pictures(x: Tensor, channels: int) -> Tensor:
    """`x` [B, H, W] (of one channel) or [B, C, H, W] as [B, C, H, W]."""
    shape = tuple(x.shape[1:])
    if x.ndim == 3:
        x = x.unsqueeze(1)
    if x.ndim != 4 or x.shape[1] != channels:
        raise StudyError(
            f"the model takes pictures of {channels} channels, ({channels}, height, width), but got {shape}"
        )
    return x
