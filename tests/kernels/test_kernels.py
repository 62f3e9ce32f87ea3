"""Kernels of layers and losses give what plain operators give; without CUDA, Triton's interpreter runs them."""

from contextlib import nullcontext
from dataclasses import replace
from subprocess import CalledProcessError
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interpreter import assert_by_interpreter
from problems import CLASSES, config, disjoint, joint
from torch import Tensor
from torch.func import functional_call, grad, vmap

from mtlsearch.kernels import available
from mtlsearch.kernels import launch as kernel_module
from mtlsearch.kernels.launch import NORMS, kernels, use_kernels
from mtlsearch.nn.layers import HiddenLayer
from mtlsearch.nn.widening import corner
from mtlsearch.study.loaded import load_data
from mtlsearch.study.space import integer
from mtlsearch.study.study import Study
from mtlsearch.tasks.classification import Classification
from mtlsearch.training.population import architectures
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager, Fused, Steps, uncompiled
from mtlsearch.training.trainer import Training

triton = pytest.importorskip("triton", reason="no Triton here")
from mtlsearch.kernels import hidden_layer as layer_kernel  # noqa: E402
from mtlsearch.kernels import linear as linear_kernel  # noqa: E402
from mtlsearch.kernels import loss as loss_kernel  # noqa: E402
from mtlsearch.training.population import update_kernel as optim_kernel  # noqa: E402

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-3}
LANE_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
FEATURES, STEPS = 6, 2


def layers(units: int, dtype: torch.dtype, device: str) -> tuple[HiddenLayer, dict[str, Tensor], dict[str, Tensor]]:
    """A layer with the stacked parameters and buffers of a member for each normalisation and mask."""
    torch.manual_seed(0)
    base = HiddenLayer(FEATURES, units, 0.0, "any").to(device, dtype)
    members = []
    for kind in range(len(NORMS)):
        for live in (units, units // 3):
            layer = HiddenLayer(FEATURES, units, 0.3 * (live != units), "any").to(device, dtype)
            mask = torch.arange(units, device=device) < live
            for norm in (layer, layer.norm):
                norm.live.copy_(mask)
            layer.norm.kind.fill_(kind)
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.add_(0.3 * torch.randn(parameter.shape, dtype=dtype).to(device))
                    parameter[~mask] = 0
            members.append(layer)
    params = {
        n: torch.stack([dict(m.named_parameters())[n].detach() for m in members]) for n, _ in base.named_parameters()
    }
    buffers = {n: torch.stack([dict(m.named_buffers())[n] for m in members]) for n, _ in base.named_buffers()}
    buffers["dropout.key"] = torch.arange(len(members), dtype=torch.int32, device=device) * 777
    return base, params, buffers


def layer_run(
    by_kernel: bool,
    rows: int,
    units: int,
    dtype: torch.dtype,
    device: str,
    bad: int | None = None,
    steps: int = STEPS,
) -> list[Tensor]:
    """Outputs, gradients and buffers of some steps; the input of member `bad` is NaN."""
    base, params, buffers = layers(units, dtype, device)
    generator = torch.Generator().manual_seed(1)

    def member_loss(
        params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, pull: Tensor
    ) -> tuple[Tensor, Tensor]:
        y = functional_call(base, (params, buffers), (x,))
        return (y * pull).sum() + y.square().sum(), y

    step = vmap(grad(member_loss, argnums=(0, 2), has_aux=True), (0, 0, 0, None))
    found = []
    for _ in range(steps):
        x = torch.randn(len(buffers["dropout.key"]), rows, FEATURES, generator=generator, dtype=dtype)
        pull = torch.randn(rows, units, generator=generator, dtype=dtype)
        if bad is not None:
            x[bad] = torch.nan
        with kernels() if by_kernel else nullcontext():
            (slopes, dx), y = step(params, buffers, x.to(device), pull.to(device))
        found += [y, dx, *slopes.values()]
    is_batch = buffers["norm.kind"] == NORMS.index("batch")
    # Running statistics are read by batch normalisation alone.
    running = ("running_mean", "running_var", "num_batches_tracked")
    return found + [buffers[f"norm.{name}"][is_batch] for name in running]


def assert_layer_is_plain(dtype: torch.dtype, device: str) -> None:
    # The first is trained for several steps. The second has two parts of units, the last more tiles of examples than
    # of units.
    for rows, units, steps in ((16, 24, STEPS), (5, 520, 1), (130, 6, 1))[: 1 if dtype == torch.float32 else 3]:
        ours, due = (layer_run(by_kernel, rows, units, dtype, device, steps=steps) for by_kernel in (True, False))
        for one, other in zip(ours, due, strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def assert_a_bad_member_leaves_the_others(device: str) -> None:
    fine = layer_run(True, 16, 24, torch.float64, device)
    for bad in (0, 3, 5):
        spoilt = layer_run(True, 16, 24, torch.float64, device, bad)
        others = [number for number in range(2 * len(NORMS)) if number != bad]
        for one, other in zip(fine[:-3], spoilt[:-3], strict=True):
            assert torch.equal(one[others], other[others])
        assert spoilt[0][bad].isnan().any()


def linears(by_kernel: bool, dtype: torch.dtype, device: str, shared: bool, masked: bool) -> list[Tensor]:
    """Outputs and gradients of linear layers with tiles that are live, partly live, and dead."""
    generator = torch.Generator().manual_seed(4)
    found = []
    for rows, inputs, units in ((5, 7, 3), (130, 40, 150)):
        live = torch.arange(units) < torch.tensor([[units], [units // 2], [1]])
        shapes = (
            (rows, inputs) if shared else (3, rows, inputs),
            (3, units, inputs),
            (3, units),
            (rows, units),
        )
        x, weight, bias, pull = (torch.randn(s, generator=generator, dtype=dtype) for s in shapes)
        if masked:
            weight, bias = weight * live[:, :, None], bias * live
        mask, biased = live.to(device), torch.tensor([True, False, True], device=device)

        def loss(x: Tensor, weight: Tensor, bias: Tensor, pull: Tensor, mask: Tensor, biased: Tensor) -> Any:
            if by_kernel:
                y = linear_kernel.linear(x, weight, bias, *((biased, mask) if masked else ()))
            else:
                y = x @ weight.mT + (torch.where(biased, bias, 0) if masked else bias)
            if masked:
                y = torch.where(mask, y, 0)
            return (y * pull).sum() + y.square().sum(), y

        own = None if shared else 0
        step = vmap(grad(loss, (0, 1, 2), has_aux=True), (own, 0, 0, None, 0, 0))
        slopes, y = step(*(t.to(device) for t in (x, weight, bias, pull)), mask, biased)
        dx, dweight, dbias = slopes
        # With a mask, gradients are read at live units alone.
        found += [y, dx, dweight * mask[:, :, None], dbias * mask] if masked else [y, dx, dweight, dbias]
    return found


def assert_linear_is_plain(dtype: torch.dtype, device: str) -> None:
    for shared in (True, False):
        for masked in (True, False):
            ours, due = (linears(by_kernel, dtype, device, shared, masked) for by_kernel in (True, False))
            for one, other in zip(ours, due, strict=True):
                torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def losses(by_kernel: bool, dtype: torch.dtype, device: str, shared: bool) -> list[Tensor]:
    """The loss of some members and its gradient, with no, some and all labels missing."""
    generator = torch.Generator().manual_seed(2)
    found = []
    task = Classification("a", lambda directory: pytest.fail("no data"))
    for rows, missing in ((7, 0.0), (50, 0.4), (3, 1.0)):
        outputs = (5 * torch.randn(4, rows, CLASSES, generator=generator, dtype=dtype)).to(device)
        labels = torch.randint(CLASSES, (rows,) if shared else (4, rows), generator=generator)
        labels[torch.rand(labels.shape, generator=generator) < missing] = -1
        dims = (0, None if shared else 0)
        with kernels() if by_kernel else nullcontext():
            value = vmap(task.loss, dims)(outputs, labels.to(device))
            slope = vmap(grad(lambda z, y: 3 * task.loss(z, y)), dims)(outputs, labels.to(device))
        found += [value, slope]
    return found


def assert_loss_is_plain(dtype: torch.dtype, device: str) -> None:
    for shared in (True, False):
        ours, due = (losses(by_kernel, dtype, device, shared) for by_kernel in (True, False))
        for one, other in zip(ours, due, strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


class ByKernels(Fused):
    """Steps by kernels, also where Triton's interpreter runs them on a CPU."""

    def __init__(self) -> None:
        super().__init__(torch.device("cuda"))


def trained(study: Study, steps: Steps, device: str, dtype: torch.dtype) -> list[Tensor]:
    """The parameters of members of every normalisation and of three widths after an epoch."""
    study = replace(study, batch_size=48, space={**study.space, "hidden": integer(4, 24)})  # few steps an epoch
    training = Training(load_data(study, None, device), seed=3, dtype=dtype)  # type: ignore[arg-type]
    trainer = PopulationTrainer(training, 4, steps, pytest.fail)
    for number, norm in enumerate(NORMS):
        trainer.add(number, config(study, hidden=8 * (1 + number), norm=norm, dropout=0.3, depth=2))
    trainer.advance()
    if isinstance(steps, ByKernels):
        (lane,) = trainer.lanes  # one holds them all
        assert lane.program.base.hidden == 24
        for slot, member in lane.active:
            for name, tensor in lane.state.params.items():
                padding = tensor[slot].clone()
                if name in member.shapes:
                    corner(padding, member.shapes[name]).zero_()
                assert not padding.any()
    return [tensor for number in range(3) for tensor in trainer.state(number).values()]


def assert_a_lane_is_plain(dtype: torch.dtype, device: str) -> None:
    for study in (disjoint(), joint(0.3)):
        ours = trained(study, ByKernels(), device, dtype)
        due = trained(study, Eager(), device, torch.float64)
        for one, other in zip(ours, due, strict=True):
            if one.is_floating_point():
                torch.testing.assert_close(
                    one.to(other.dtype), other, rtol=LANE_TOLERANCE[dtype], atol=LANE_TOLERANCE[dtype]
                )


def assert_a_lane_is_plain_in_double(device: str) -> None:
    """Run in double, which only the interpreter can; it is too slow to run single as well."""
    kernel_module.LINEAR_DTYPES = architectures.LINEAR_DTYPES = (torch.float32, torch.float64)
    assert_a_lane_is_plain(torch.float64, device)


def test_code_that_pytorch_compiles_uses_no_kernel() -> None:
    @torch.compile(backend="eager", fullgraph=True)
    def asked(x: Tensor) -> Tensor:
        return x + 1 if use_kernels() else x - 1

    with kernels():
        assert use_kernels()
        assert asked(torch.tensor(1.0)) == 0
    assert not use_kernels()


CLAIMS = [
    "assert_layer_is_plain(torch.float64, {device!r})",
    "assert_layer_is_plain(torch.float32, {device!r})",
    "assert_a_bad_member_leaves_the_others({device!r})",
    "assert_linear_is_plain(torch.float32, {device!r})",
    "assert_loss_is_plain(torch.float64, {device!r})",
    "assert_loss_is_plain(torch.float32, {device!r})",
]


def assert_kernels_work_until_they_cannot_be_built(device: str) -> None:
    assert available.works(torch.device(device))
    available.works.cache_clear()

    class Unbuilt:
        def __getitem__(self, grid: Any) -> Any:
            raise CalledProcessError(1, "gcc")

    loss_kernel._note = Unbuilt()
    assert not available.works(torch.device(device))


BY_INTERPRETER = (
    "assert_linear_is_plain(torch.float64, {device!r})",
    "assert_a_lane_is_plain_in_double({device!r})",
    "assert_kernels_work_until_they_cannot_be_built({device!r})",
)


@pytest.mark.parametrize("claim", [*CLAIMS, *BY_INTERPRETER])
def test_by_tritons_interpreter(claim: str) -> None:
    assert_by_interpreter(__file__, claim.format(device="cpu"))


def translated(kernel: Any, constants: dict[str, Any], dtype: str) -> str:
    """A kernel's PTX for Hopper; arguments that are not `constants` are tensors of `dtype`, or whole numbers."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    assert not {"params", "specialization", "options"} & set(kernel.arg_names)  # the launcher's own variables
    flags, whole = ("live_at", "biased_at"), ("kind_at", "labels_at", "bad_at", "tick_at")
    others = {**dict.fromkeys(flags, "*i1"), **dict.fromkeys(whole, "*i64"), "key_at": "*i32"}
    signature = {
        argument: "constexpr"
        if argument in constants
        else others.get(argument, f"*{dtype}" if argument.endswith("_at") else "i32")
        for argument in kernel.arg_names
    }
    used = {argument: value for argument, value in constants.items() if argument in signature}
    made = triton.compile(ASTSource(kernel, signature, constexprs=used), target=GPUTarget("cuda", 90, 32))
    ptx: str = made.asm["ptx"]
    return ptx


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("name", ["_layer_forward", "_layer_backward", "_cross_entropy", "_note"])
def test_kernels_are_translated_for_a_gpu_that_is_not_here(name: str, dtype: str) -> None:
    constants = {
        "eps": 1e-5, "momentum": 0.1, "all_rows": 128, "few_columns": 16, "few_rows": 4, "part_columns": 512,
        "all_classes": 16, "block": 256,
    }  # fmt: skip
    kernel = getattr(layer_kernel if "layer" in name else loss_kernel, name)
    assert "st.global" in translated(kernel, constants, dtype)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("precision", ["tf32x3", "tf32", "bf16"])
@pytest.mark.parametrize("name", ["_linear_forward", "_linear_backward"])
def test_products_are_of_tensor_cores_on_a_gpu_that_is_not_here(name: str, precision: str, masked: bool) -> None:
    sides = {"block_rows": 64, "block_units": 64, "block_inputs": 64}
    ptx = translated(getattr(linear_kernel, name), {"masked": masked, "precision": precision, **sides}, "fp32")
    assert ptx.count("wgmma.mma_async") >= (3 if precision == "tf32x3" else 1)


@pytest.mark.parametrize(
    ("capability", "asked", "due"),
    [((9, 0), "highest", "tf32x3"), ((8, 0), "high", "tf32"), ((7, 5), "highest", "ieee")],
)
def test_the_precision_of_products_follows_from_the_settings_and_the_device(
    capability: tuple[int, int], asked: str, due: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: asked)
    assert linear_kernel._precision(x) == due  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("claim", [*CLAIMS, "assert_a_lane_is_plain(torch.float32, {device!r})"])
def test_on_cuda(claim: str) -> None:
    exec(claim.format(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_products_in_fp32_are_as_exact_as_pytorchs_on_cuda() -> None:
    torch.manual_seed(0)
    x, weight = torch.rand(128, 784, device="cuda"), torch.randn(8, 512, 784, device="cuda")
    g, bias = torch.randn(8, 128, 512, device="cuda"), torch.zeros(8, 512, device="cuda")
    ours = (
        linear_kernel._run_forward("tf32x3", x, weight, bias, None, None),
        linear_kernel._run_backward("tf32x3", g, x, None, None)[0],
    )
    for one, of in zip(ours, ((x, weight.mT), (g.mT, x)), strict=True):
        due = torch.matmul(*(t.double() for t in of))
        assert (one - due).square().mean() <= (torch.matmul(*of) - due).square().mean()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_kernels_built_ahead_are_not_built_again_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    study = replace(disjoint(), space={**disjoint().space, "hidden": integer(4, 32)})
    trainer = PopulationTrainer(
        Training(load_data(study, None, "cuda"), seed=3),  # type: ignore[arg-type]
        5,
        uncompiled(torch.device("cuda")),
        pytest.fail,
    )
    for number in range(5):
        trainer.add(number, config(study, hidden=8 + number))
    trainer.architectures.wait_for_kernels()
    built = triton.compile

    def again(source: Any, **options: Any) -> Any:
        pytest.fail(f"{source.name} was not built ahead")

    for kernel in (
        linear_kernel._linear_forward, linear_kernel._linear_backward, layer_kernel._layer_forward,
        layer_kernel._layer_backward, loss_kernel._cross_entropy, loss_kernel._note, optim_kernel._update,
    ):  # fmt: skip
        assert kernel.compile == built
        monkeypatch.setattr(kernel, "compile", again)
    trainer.advance()
