"""Kernels of hidden layers and losses: held to the plain operators, by Triton's interpreter where there is no CUDA."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from interpreter import assert_by_interpreter
from problems import CLASSES, config, disjoint, joint
from torch import Tensor
from torch.func import functional_call, grad, vmap

from mtlsearch.kernels import kernels, use_kernels
from mtlsearch.lane import Lane, plain_step
from mtlsearch.nn import HiddenLayer
from mtlsearch.norms import NORMS
from mtlsearch.population import PopulationTrainer
from mtlsearch.programs import Eager, kernel_step
from mtlsearch.space import integer
from mtlsearch.study import Study
from mtlsearch.tasks import Classification
from mtlsearch.trainer import Training

triton = pytest.importorskip("triton", reason="no Triton here")
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-3}
FEATURES, STEPS = 6, 2


def layers(
    units: int, dtype: torch.dtype, device: str
) -> tuple[HiddenLayer, dict[str, Tensor], dict[str, Tensor]]:
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
        n: torch.stack([dict(m.named_parameters())[n].detach() for m in members])
        for n, _ in base.named_parameters()
    }
    buffers = {n: torch.stack([dict(m.named_buffers())[n] for m in members]) for n, _ in base.named_buffers()}
    buffers["dropout.key"] = torch.arange(len(members), dtype=torch.int32, device=device) * 777
    return base, params, buffers


def layer_run(
    by_kernel: bool, rows: int, units: int, dtype: torch.dtype, device: str, bad: int | None = None
) -> list[Tensor]:
    """Outputs, gradients and buffers of some steps; the input of member `bad` is not a number."""
    base, params, buffers = layers(units, dtype, device)
    generator = torch.Generator().manual_seed(1)

    def member_loss(
        params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, pull: Tensor
    ) -> tuple[Tensor, Tensor]:
        y = functional_call(base, (params, buffers), (x,))
        return (y * pull).sum() + y.square().sum(), y

    step = vmap(grad(member_loss, argnums=(0, 2), has_aux=True), (0, 0, 0, None))
    found = []
    for _ in range(STEPS):
        x = torch.randn(len(buffers["dropout.key"]), rows, FEATURES, generator=generator, dtype=dtype)
        pull = torch.randn(rows, units, generator=generator, dtype=dtype)
        if bad is not None:
            x[bad] = torch.nan
        with kernels() if by_kernel else nullcontext():
            (slopes, dx), y = step(params, buffers, x.to(device), pull.to(device))
        found += [y, dx, *slopes.values()]
    is_batch = buffers["norm.kind"] == NORMS.index("batch")
    # Nobody reads the running statistics of another normalisation.
    running = ("running_mean", "running_var", "num_batches_tracked")
    return found + [buffers[f"norm.{name}"][is_batch] for name in running]


def assert_layer_is_plain(dtype: torch.dtype, device: str) -> None:
    # The second takes two parts of the units, the last more tiles of examples than of units.
    for rows, units in ((16, 24), (5, 520), (130, 6))[: 1 if dtype == torch.float32 else 3]:
        ours, due = (layer_run(by_kernel, rows, units, dtype, device) for by_kernel in (True, False))
        for one, other in zip(ours, due, strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def assert_a_bad_member_leaves_the_others(device: str) -> None:
    for bad in (0, 3, 5):
        fine, spoilt = (layer_run(True, 16, 24, torch.float64, device, which) for which in (None, bad))
        others = [number for number in range(2 * len(NORMS)) if number != bad]
        for one, other in zip(fine[:-3], spoilt[:-3], strict=True):
            assert torch.equal(one[others], other[others])
        assert spoilt[0][bad].isnan().any()


def losses(by_kernel: bool, dtype: torch.dtype, device: str, shared: bool) -> list[Tensor]:
    """The loss of some members and its gradient, with labels that are missing, in part or all."""
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


def trained(study: Study, by_kernel: bool, device: str) -> list[Tensor]:
    """The parameters of members of every normalisation after an epoch."""
    study = replace(study, space={**study.space, "hidden": integer(4, 24)})
    training = Training(study.load(None, device), seed=3, dtype=torch.float64)  # type: ignore[arg-type]
    trainer = PopulationTrainer(training, 3, Eager(), pytest.fail)
    for number, norm in enumerate(NORMS):
        trainer.add(number, config(study, hidden=8 * (1 + number), norm=norm, dropout=0.3, depth=2))
    lanes = [lane for group in trainer.lanes.values() for lane in group]

    def step(lane: Lane, tick: int) -> None:
        (kernel_step if by_kernel else plain_step)(lane, tick)

    for lane in lanes:
        lane.run_step = step
    trainer.advance()
    return [tensor for number in range(3) for tensor in trainer.state(number).values()]


def assert_a_lane_is_plain(device: str) -> None:
    for study in (disjoint(), joint(0.3)):
        ours, due = (trained(study, by_kernel, device) for by_kernel in (True, False))
        for one, other in zip(ours, due, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_what_pytorch_compiles_has_no_kernel() -> None:
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
    "assert_loss_is_plain(torch.float64, {device!r})",
    "assert_loss_is_plain(torch.float32, {device!r})",
    "assert_a_lane_is_plain({device!r})",
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_by_tritons_interpreter(claim: str) -> None:
    assert_by_interpreter("test_kernels", claim.format(device="cpu"))


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("name", ["_forward", "_backward", "_cross_entropy", "_note"])
def test_kernels_are_translated_for_a_gpu_that_is_not_here(name: str, dtype: str) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mtlsearch import layer_kernel, loss_kernel

    kernel = getattr(layer_kernel if name in ("_forward", "_backward") else loss_kernel, name)
    assert not {"params", "specialization", "options"} & set(kernel.arg_names)  # the launcher's own variables
    constants = {
        "eps": 1e-5, "momentum": 0.1, "all_rows": 128, "few_columns": 32, "few_rows": 8, "part_columns": 512,
        "all_classes": 16, "block": 256,
    }  # fmt: skip
    others = {
        "live_at": "*i1",
        "kind_at": "*i64",
        "key_at": "*i32",
        "labels_at": "*i64",
        "bad_at": "*i64",
        "tick_at": "*i64",
    }
    whole = dict.fromkeys(("rows", "columns", "most", "classes", "labels_stride", "numbers"), "i32")
    signature = {
        argument: "constexpr" if argument in constants else (others | whole).get(argument, f"*{dtype}")
        for argument in kernel.arg_names
    }
    used = {argument: value for argument, value in constants.items() if argument in signature}
    made = triton.compile(ASTSource(kernel, signature, constexprs=used), target=GPUTarget("cuda", 90, 32))
    assert "st.global" in made.asm["ptx"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("claim", CLAIMS)
def test_on_cuda(claim: str) -> None:
    exec(claim.format(device="cuda"))
