"""Replaced layers hold what torch's hold, and give what they give."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.batched.noisy import noise_keys
from mtlsearch.nn.batched.replacing import batchable

B, L, E = 3, 5, 8
PADDING = torch.arange(L) >= torch.tensor([5, 3, 2]).unsqueeze(1)
CAUSAL = nn.Transformer.generate_square_subsequent_mask(L)
X, MEMORY = torch.randn(2, B, L, E, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 9, (B, L), generator=torch.Generator().manual_seed(0))


def all_of(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    return [] if found is None else [tensor for each in found for tensor in all_of(each)]


def packed(layer: nn.Module, x: Tensor) -> Any:
    outputs, state = layer(pack_padded_sequence(x, (~PADDING).sum(1), batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(outputs, batch_first=True), state


def seen(x: Tensor) -> Tensor:
    """Outputs at places that are no padding: torch's fast path makes the others 0."""
    return torch.where(PADDING.unsqueeze(-1), 0, x)


def memory(x: Tensor) -> Tensor:
    return MEMORY.to(x.dtype)


Run = Callable[[nn.Module, Tensor], Any]
MHA, ENCODER = nn.MultiheadAttention, nn.TransformerEncoderLayer
FIRST: dict[str, Any] = {"batch_first": True}
LAYERS: dict[str, tuple[nn.Module, Run]] = {
    "attention": (MHA(E, 2, **FIRST), lambda m, x: m(x, x, x, key_padding_mask=PADDING)),
    "attention by head": (
        MHA(E, 4, **FIRST),
        lambda m, x: m(x, x, x, average_attn_weights=False, attn_mask=CAUSAL.to(x.dtype)),
    ),
    "attention without weights": (MHA(E, 2), lambda m, x: m(x, memory(x), memory(x), need_weights=False)),
    "attention of one example": (
        MHA(E, 2, bias=False),
        lambda m, x: m(x[0], x[0], memory(x)[0], attn_mask=CAUSAL[:, :L] < 0),
    ),
    "attention of other sizes": (
        MHA(E, 2, kdim=4, vdim=3, add_bias_kv=True, add_zero_attn=True, **FIRST),
        lambda m, x: m(x, x[..., :4], x[..., :3], key_padding_mask=PADDING),
    ),
    "attention with masks of heads": (
        MHA(E, 2, **FIRST),
        lambda m, x: m(
            x, x, x, attn_mask=CAUSAL.to(x.dtype).expand(2 * B, L, L), key_padding_mask=PADDING.to(x.dtype) * -1e9
        ),
    ),
    "encoder": (
        nn.TransformerEncoder(ENCODER(E, 2, 12, **FIRST), 2, nn.LayerNorm(E)),
        lambda m, x: seen(m(x, src_key_padding_mask=PADDING)),
    ),
    "encoder layer": (
        ENCODER(E, 2, 12, norm_first=True, activation="gelu", **FIRST),
        lambda m, x: m(x, src_mask=CAUSAL.to(x.dtype), is_causal=True),
    ),
    "decoder": (
        nn.TransformerDecoder(nn.TransformerDecoderLayer(E, 2, 12, **FIRST), 2),
        lambda m, x: m(x, memory(x), tgt_mask=CAUSAL.to(x.dtype), memory_key_padding_mask=PADDING),
    ),
    "transformer": (nn.Transformer(E, 2, 1, 1, 12, **FIRST), lambda m, x: m(x, memory(x))),
    **{
        f"{kind.__name__} {options}": (kind(E, 6, **options), run)
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
        for options, run in (
            ({}, lambda m, x: m(x)),
            ({"num_layers": 2, "bidirectional": True, **FIRST}, packed),
            ({"bias": False, "bidirectional": True}, lambda m, x: m(x[0])),
        )
    },
    "rnn of relu": (nn.RNN(E, 6, nonlinearity="relu"), lambda m, x: m(x, x.new_ones(1, L, 6))),
    "lstm from a state": (nn.LSTM(E, 6), lambda m, x: m(x, (x.new_ones(1, L, 6), x.new_ones(1, L, 6)))),
    "bags": (nn.EmbeddingBag(9, E, padding_idx=1), lambda m, x: m(IDS)),
    "bags by offsets": (
        nn.EmbeddingBag(9, E, mode="max", padding_idx=1, include_last_offset=True),
        lambda m, x: m(IDS.flatten(), torch.tensor([0, 4, 4, 9, 15])),
    ),
    "weighted bags": (
        nn.EmbeddingBag(9, E, mode="sum"),
        lambda m, x: m(IDS, per_sample_weights=x[..., 0].detach()),
    ),
}


def without_dropout(layer: nn.Module) -> nn.Module:
    """`layer` with every rate at 0."""
    for each in layer.modules():
        if isinstance(each, nn.Dropout):
            each.p = 0.0
        if isinstance(each, nn.MultiheadAttention):
            each.dropout = 0.0
    return layer


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # torch's own fast path uses them
@pytest.mark.parametrize("name", LAYERS)
def test_a_replaced_layer_gives_what_torchs_gives(name: str) -> None:
    plain, run = LAYERS[name]
    plain = without_dropout(copy.deepcopy(plain))
    root = batchable(nn.ModuleDict({"layer": copy.deepcopy(plain)}))
    ours = root["layer"]
    assert isinstance(ours, type(plain))
    assert type(ours) is not type(plain) or name == "transformer"
    assert list(root.state_dict()) == [f"layer.{each}" for each in plain.state_dict()]
    again = copy.deepcopy(plain)
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    again.load_state_dict(ours.state_dict(), strict=True)
    for training in (False, True):
        for layer in (plain, ours, again):
            layer.train(training)
        with torch.no_grad():
            due, found, loaded = (all_of(run(layer, X)) for layer in (plain, ours, again))
        assert len(found) == len(due) > 0
        for one, other, third in zip(due, found, loaded, strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
            torch.testing.assert_close(third, one, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_members_in_one_call_are_those_of_torchs_layer(name: str) -> None:
    run = LAYERS[name][1]
    members = [without_dropout(copy.deepcopy(LAYERS[name][0])).double() for _ in range(2)]
    with torch.no_grad():
        for parameter in members[1].parameters():
            parameter.mul_(1.5)
    ours = [batchable(nn.ModuleDict({"layer": copy.deepcopy(each)}))["layer"] for each in members]
    params, buffers = stack_module_state(ours)

    class Holder(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return sum(tensor.double().sin().sum() for tensor in all_of(run(self.layer, x)))

    root = batchable(Holder(ours[0]))

    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        own = {f"layer.{key}": tensor for key, tensor in (params | buffers).items()}
        result: Tensor = functional_call(root, own, (X.double(),))
        return result

    found = vmap(grad(loss))(params, buffers)
    for number, member in enumerate(members):
        Holder(member)(X.double()).backward()
        for key, parameter in member.named_parameters():
            due = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(found[key][number], due, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout1d(0.4), (50, 40, 6)),
        (nn.Dropout1d(0.4), (2000, 6)),
        (nn.Dropout2d(0.4), (50, 40, 3, 2)),
        (nn.Dropout2d(0.4), (50, 40, 6)),
        (nn.Dropout3d(0.4), (50, 40, 3, 2, 1)),
        (nn.Dropout3d(0.4), (2000, 3, 2, 1)),
    ],
)
def test_whole_channels_are_dropped_as_torch_drops_them(layer: nn.Module, shape: tuple[int, ...]) -> None:
    ours = batchable(nn.Sequential(layer)).train()
    places = ours(torch.ones(shape)).flatten(-len(shape) + (1 if len(shape) in (2, 4) and shape[0] == 2000 else 2))
    assert ((places == places[..., :1]) & ((places == 0) | ((places - 1 / 0.6).abs() < 1e-6))).all()
    assert abs(float((places[..., 0] == 0).float().mean()) - 0.4) < 0.05
    assert torch.equal(ours.eval()(torch.ones(shape)), torch.ones(shape))


@pytest.mark.parametrize("kind", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_keeps_mean_and_variance(kind: type[nn.Module]) -> None:
    ours = batchable(nn.Sequential(kind(0.3))).train()
    x = torch.randn(400, 100, 5, generator=torch.Generator().manual_seed(0))
    y = ours(x)
    assert abs(float(y.mean())) < 0.05
    assert abs(float(y.var()) - 1) < 0.05
    torch.manual_seed(0)
    due = kind(0.3).train()(x)
    assert float(y.flatten().mode().values) == pytest.approx(float(due.flatten().mode().values), abs=1e-6)


class Calls(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([F.dropout(x, 0.5, self.training), F.dropout(x, 0.5, self.training)])


def test_noise_of_a_function_depends_on_key_and_call_alone() -> None:
    model = batchable(Calls())
    assert noise_keys(model) == ["noise_key"]
    assert not model.state_dict()
    x = torch.ones(40, 40)
    first, second = model(x)
    torch.manual_seed(1)
    assert torch.equal(model(x), torch.stack([first, second]))
    assert not torch.equal(first, second)
    model.get_buffer("noise_key").fill_(7)
    assert not torch.equal(model(x)[0], first)
    assert torch.equal(model.eval()(x)[0], x)


def test_a_file_that_holds_a_rate_loads_into_a_replaced_dropout() -> None:
    old = nn.Sequential(nn.Linear(2, 2), Dropout(0.3))
    new = batchable(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)))
    new.load_state_dict(old.state_dict(), strict=True)
    assert list(new.state_dict()) == ["0.weight", "0.bias"]


def test_layers_whose_options_cannot_be_batched_stay() -> None:
    model = batchable(nn.Sequential(nn.LSTM(2, 4, proj_size=2), nn.EmbeddingBag(3, 2, sparse=True)))
    assert [type(layer) for layer in model] == [nn.LSTM, nn.EmbeddingBag]
