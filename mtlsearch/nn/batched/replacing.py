"""Which of torch's layers are replaced in a user's network, and by what."""

from collections.abc import Callable
from typing import Any

from torch import nn

from mtlsearch.nn.batched.attention import MultiheadAttention
from mtlsearch.nn.batched.dropout import own_dropout
from mtlsearch.nn.batched.embedding_bag import EmbeddingBag
from mtlsearch.nn.batched.functional import with_own_functions
from mtlsearch.nn.batched.recurrence import GRU, LSTM, RNN, Recurrent
from mtlsearch.nn.batched.transformer import TransformerDecoder, TransformerEncoder, TransformerEncoderLayer

Make = Callable[[nn.Module], nn.Module]
PACKAGE = __name__.split(".")[0]


def batchable(module: nn.Module) -> nn.Module:
    """A user's network as `vmap` can batch it, with its names, its parameters and their values.

    Its dropout rates become values, and all its noise a function of seed, step and place. Only layers of exactly
    torch's classes are replaced.
    """
    make = _make(module)
    module = with_replaced(module if make is None else make(module), _make)
    # A network of this package calls no function that draws noise.
    return module if type(module).__module__.split(".")[0] == PACKAGE else with_own_functions(module)


def _become(kind: type[nn.Module]) -> Make:
    """A layer itself, from now on of the class `kind`, which adds nothing to its state."""

    def make(layer: nn.Module) -> nn.Module:
        layer.__class__ = kind
        return layer

    return make


# Exactly these classes: a subclass may compute something else.
MAKES: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Dropout: own_dropout,
    nn.Dropout1d: own_dropout,
    nn.Dropout2d: own_dropout,
    nn.Dropout3d: own_dropout,
    nn.AlphaDropout: own_dropout,
    nn.FeatureAlphaDropout: own_dropout,
    nn.MultiheadAttention: MultiheadAttention.of,
    nn.TransformerEncoderLayer: _become(TransformerEncoderLayer),
    nn.TransformerEncoder: _become(TransformerEncoder),
    nn.TransformerDecoder: _become(TransformerDecoder),
    nn.EmbeddingBag: _become(EmbeddingBag),
    nn.LSTM: LSTM.of,
    nn.GRU: GRU.of,
    nn.RNN: RNN.of,
}
FITS: dict[type[nn.Module], Callable[[Any], bool]] = {
    nn.EmbeddingBag: EmbeddingBag.fits,
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), Recurrent.fits),
}


def _make(layer: nn.Module) -> Make | None:
    """What replaces a layer, None where it stays."""
    kind = type(layer)
    return MAKES.get(kind) if FITS.get(kind, lambda layer: True)(layer) else None


def with_replaced(module: nn.Module, makes: Callable[[nn.Module], Make | None]) -> nn.Module:
    """`module` with each layer replaced by what `makes` of it makes of it, where that is not None.

    Layers inside a replaced one are replaced too, but those of a module that is `left_as_it_is` stay. A layer that is
    changed in place stays one layer under all its names.
    """
    # Not named_children, which skips the second name of a layer that has two.
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        make = makes(child)
        new = child if make is None else make(child)
        if new is not child:
            setattr(module, name, new)
        if not getattr(new, "left_as_it_is", False):
            with_replaced(new, makes)
    return module


def of_class(kind: type[nn.Module], make: Make) -> Callable[[nn.Module], Make | None]:
    """`makes` for layers of exactly the class `kind`."""
    return lambda layer: make if type(layer) is kind else None
