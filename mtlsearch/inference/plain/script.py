"""The model.py of a shipped trunk: the trunk's plain twin, and what its parameters are loaded with."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from mtlsearch import __version__
from mtlsearch.inference.plain import networks, transformer
from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.conv import ConvTrunk, GlobalPool
from mtlsearch.nn.dense import DenseTrunk
from mtlsearch.nn.layers import HiddenLayer
from mtlsearch.nn.pretrained.backbone import Backbone
from mtlsearch.nn.pretrained.frozen import Frozen
from mtlsearch.nn.task_modules import TaskModules, module_name
from mtlsearch.nn.text import TextHead, TextTrunk, TokenHead
from mtlsearch.nn.transformer import TransformerTrunk
from mtlsearch.nn.trunks import SeparateTrunks, SharedTrunk

PARAMETERS = "model.safetensors"

HEAD = '''"""{title}: the network in plain PyTorch, as mtlsearch {version} has found and trained it.

    from model import load, predict
    answers = predict(load(), x)  # {{task: outputs}} of inputs x [B, ...]
"""

{imports}# Of each task: its name among the parameters, what its inputs are, and the mean and deviation of its labels.
TASKS = {tasks}
# The factor of each loss, for a training loop of your own: sum(TASK_WEIGHTS[name] * losses[name] for name in losses).
# A loss is a mean over labelled examples, of numbers standardised by the mean and deviation above.
TASK_WEIGHTS = {weights}


'''

# And what each is needed for, where not every file needs it.
IMPORTS = {
    "from collections.abc import Callable, Mapping, Sequence": "",
    "from itertools import pairwise": "pairwise(",
    "from pathlib import Path": "",
    "from typing import Any\n": "",
    "import torch": "",
    "import torch.nn.functional as F": "F.",
    "from safetensors.torch import load_file": "",
    "from torch import Tensor, nn\n": "",
}

TAIL = '''

def network() -> nn.Module:
    """The network with fresh parameters: {{name: input}} to {{name: output}}; numbers are standardised."""
    return {call}


def load(folder: Path = Path(__file__).parent) -> nn.Module:
    """The trained network, in evaluation mode."""
    model = network()
    model.load_state_dict(load_file(folder / "{parameters}"))
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, x: Any) -> dict[str, Tensor]:
    """{{task: outputs}} of inputs x [B, ...], or of {{task: x}}: classes as logits, numbers in the labels' own unit."""
    inputs, ready = x if isinstance(x, dict) else dict.fromkeys(TASKS, x), {{}}
    for task, given in inputs.items():
        ready.setdefault(id(given), as_input(given, TASKS[task]["inputs"]))
    outputs = model({{TASKS[task]["name"]: ready[id(given)] for task, given in inputs.items()}})
    return {{task: in_unit(outputs[TASKS[task]["name"]], **TASKS[task]) for task in inputs}}


def as_input(x: Tensor, inputs: str) -> Tensor:
    """Inputs as the network takes them: pictures of bytes are divided by 255."""
    if inputs == "tokens":
        return x.long()
    return x / 255 if inputs == "pictures" and x.dtype == torch.uint8 else x.float()


def in_unit(outputs: Tensor, mean: Sequence[float] = (), std: Sequence[float] = (), **about: str) -> Tensor:
    """Outputs in the unit of the labels."""
    return outputs * outputs.new_tensor(std) + outputs.new_tensor(mean) if mean else outputs
'''


class Twin(NamedTuple):
    """What a plain network needs beside its class, and its arguments as a trunk has them."""

    parts: Sequence[Callable[..., Any]]
    arguments: Callable[[Any], tuple[list[Any], dict[str, Any]]]


def script(trunk: nn.Module, title: str, tasks: Mapping[str, Any], weights: Mapping[str, float]) -> str | None:
    """The model.py of a trunk, None where it is not exactly a shipped one.

    `tasks` tells what the file says of each task, `weights` the factor of each loss.
    """
    twin = TWINS.get(type(trunk))
    if twin is None:
        return None
    try:
        given, named = twin.arguments(trunk)
    except _OtherHeadError:
        return None
    values = [*map(_literal, given), *(f"{name}={_literal(value)}" for name, value in named.items())]
    call = "\n".join([f"{type(trunk).__name__}(", *(f"        {value}," for value in values), "    )"])
    body = "\n\n".join(inspect.getsource(part) for part in twin.parts)
    head = HEAD.format(
        title=title.replace("\\", "/").replace('"', "'"),
        version=__version__,
        imports="".join(f"{line}\n" for line, use in IMPORTS.items() if use in body),
        tasks="\n".join(["{", *(f"    {_literal(task)}: {_literal(about)}," for task, about in tasks.items()), "}"]),
        weights=_literal(weights),
    )
    return head + body + TAIL.format(call=call, parameters=PARAMETERS)


def trained_name(trunk: nn.Module, name: str) -> str:
    """The name that a tensor of the plain network has in the trunk."""
    if isinstance(trunk, Backbone) and isinstance(trunk.trunk, Frozen) and not name.startswith("heads."):
        return f"trunk.module.{name.replace('trunk.', 'network.', 1)}"
    return name


def _literal(value: object) -> str:
    """A value of texts, numbers, lists and dicts as Python has it."""
    return json.dumps(value, ensure_ascii=False, default=dict)


class _OtherHeadError(Exception):
    """A trunk has a head that it was not made with."""


def _sizes(heads: nn.Module, size_of: Callable[[nn.Module], Any]) -> dict[str, Any]:
    """The outputs of each head by its module's name."""
    assert isinstance(heads, TaskModules)
    return {module_name(task): size_of(head) for task, head in heads.items()}


def _linear(head: nn.Module) -> int:
    if not isinstance(head, nn.Linear):
        raise _OtherHeadError
    return head.out_features


def _text(head: nn.Module) -> int | tuple[str, int]:
    if isinstance(head, TextHead):
        return head.output.out_features
    if isinstance(head, TokenHead):
        return "tokens", head.output.out_features
    raise _OtherHeadError


def _map(head: nn.Module) -> int:
    if not isinstance(head, nn.Conv2d):
        raise _OtherHeadError
    return head.out_channels


def _rate(module: nn.Module) -> float:
    """The dropout rate of a trunk, which all its layers have."""
    layer = next(layer for layer in module.modules() if isinstance(layer, Dropout))
    return round(float(layer.rate), 6)  # of a float32


def _batch_norm(module: nn.Module) -> str:
    return "batch" if any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()) else "none"


def _shared(trunk: SharedTrunk) -> tuple[list[Any], dict[str, Any]]:
    return [trunk.in_features, _sizes(trunk.heads, _linear)], _settings(trunk)


def _settings(trunk: SharedTrunk) -> dict[str, Any]:
    live = next(layer.live for layer in trunk.modules() if isinstance(layer, HiddenLayer))
    return {
        "hidden": int(live.sum()),  # padding is cut
        "depth": trunk.depth,
        "shared": len(trunk.trunk),
        "dropout": _rate(trunk),
        "norm": trunk.norm,
    }


def _separate(trunk: SeparateTrunks) -> tuple[list[Any], dict[str, Any]]:
    networks: dict[str, Any] = dict(trunk.networks.items())
    heads = {module_name(task): _linear(network.heads[task]) for task, network in networks.items()}
    first = next(iter(networks.values()))
    return [first.in_features, heads], _settings(first)


def _conv(trunk: ConvTrunk) -> tuple[list[Any], dict[str, Any]]:
    branch = next(iter(trunk.branches.values()), nn.Sequential())
    shared, own = ([x for x in part.children() if not isinstance(x, GlobalPool)] for part in (trunk.trunk, branch))
    first = next(layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d))
    return [_sizes(trunk.heads, _linear)], {
        "in_channels": trunk.in_channels,
        "channels": first.out_channels,
        "depth": len(shared) + len(own),
        "shared": len(shared),
        "dropout": _rate(trunk),
        "norm": _batch_norm(trunk),
    }


def _dense(trunk: DenseTrunk) -> tuple[list[Any], dict[str, Any]]:
    encoder: Any = next(iter(trunk.encoders.values()))
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    return [_sizes(trunk.heads, _map)], {
        "in_channels": trunk.in_channels,
        "channels": first.out_channels,
        "depth": len(encoder.levels) - 1,
        "dropout": _rate(trunk),
        "norm": _batch_norm(trunk),
        "encoders": [module_name(name) for name in trunk.encoders],
        "decoders": [module_name(name) for name in trunk.decoders],
    }


def _texts(trunk: TextTrunk) -> tuple[list[Any], dict[str, Any]]:
    settings = {"hidden": trunk.hidden, "depth": len(trunk.layers), "dropout": _rate(trunk)}
    return [trunk.vocabulary, _sizes(trunk.heads, _text)], settings


def _transformer(trunk: TransformerTrunk) -> tuple[list[Any], dict[str, Any]]:
    same = ("places", "vocabulary", "patch", "hidden", "depth", "attention_heads", "widening", "pool")
    sizes = {module_name(task): kind for task, kind in trunk.outputs.items()}
    outputs = {task: kind if isinstance(kind, int) else kind[1] for task, kind in sizes.items()}
    if _sizes(trunk.heads, _linear) != outputs:
        raise _OtherHeadError
    settings = {name: getattr(trunk, name) for name in same}
    settings |= {"numbers": getattr(trunk.embedding, "in_features", None), "dropout": _rate(trunk)}
    return [sizes], {name: value for name, value in settings.items() if value is not None}


def _backbone(trunk: Backbone) -> tuple[list[Any], dict[str, Any]]:
    return [trunk.name, _sizes(trunk.heads, _linear)], {}


own = networks
TWINS: dict[type[nn.Module], Twin] = {
    SharedTrunk: Twin((own.each_once, own.hidden_layer, own.SharedTrunk), _shared),
    SeparateTrunks: Twin((own.each_once, own.hidden_layer, own.SharedTrunk, own.SeparateTrunks), _separate),
    ConvTrunk: Twin((own.each_once, own.conv_layer, own.ConvTrunk), _conv),
    DenseTrunk: Twin((own.conv_layer, own.Encoder, own.Decoder, own.DenseTrunk), _dense),
    TextTrunk: Twin((own.each_once, own.WindowLayer, own.TokenHead, own.TextHead, own.TextTrunk), _texts),
    TransformerTrunk: Twin((own.each_once, transformer.TransformerTrunk), _transformer),
    Backbone: Twin((own.each_once, own.Backbone), _backbone),
}
