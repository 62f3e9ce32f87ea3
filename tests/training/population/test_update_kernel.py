"""The update kernel gives what `optim.update` gives; without CUDA, Triton's interpreter runs it."""

from functools import partial

import pytest
import torch
from interpreter import assert_by_interpreter

from mtlsearch.training import optim
from mtlsearch.training.optim import IDLE, OPTIMIZERS, OptimizerSettings, clip_scale, scales, update

triton = pytest.importorskip("triton", reason="no Triton here")
STEPS = 3  # the first is not clipped, the others are
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def members() -> list[OptimizerSettings]:
    """Every optimizer with and without decay and momentum, and an empty slot."""
    return [
        *(
            OptimizerSettings(name, 1e-2, decay, momentum, "cosine", 0.1, 1.0)
            for name in OPTIMIZERS
            for decay in (0.0, 0.1)
            for momentum in (0.0, 0.9)
        ),
        IDLE,
    ]


def coefficients(device: str) -> dict[str, torch.Tensor]:
    each = [settings.coefficients(50) for settings in members()]
    return {
        name: torch.tensor([float(one[name]) for one in each], dtype=torch.float64, device=device) for name in each[0]
    }


def moved(rule: optim.UpdateRule, dtype: torch.dtype, device: str) -> list[torch.Tensor]:
    """Parameters and moments after some steps of all members; those after the first are clipped."""
    c = coefficients(device)
    generator = torch.Generator().manual_seed(0)

    def draw() -> dict[str, torch.Tensor]:
        # The larger one takes two blocks of the kernel, and its last is not full; together they take two launches.
        shapes = {
            "weight": (len(members()), 7, 180),
            "bias": (len(members()), 3),
            "scale": (len(members()), 5),
        }
        return {name: torch.randn(shape, generator=generator, dtype=dtype).to(device) for name, shape in shapes.items()}

    params = draw()
    first, second = ({name: torch.zeros_like(p) for name, p in params.items()} for _ in range(2))
    for step in range(STEPS):
        grads = draw()
        at = torch.full((1, len(members())), float(step), dtype=torch.float64, device=device)
        scale = {name: table[0].to(dtype) for name, table in scales(c, at).items()}
        clip = clip_scale(grads, c) if step >= STEPS // 2 else None
        rule(params, grads, first, second, c, scale, clip)
    return [*params.values(), *first.values(), *second.values()]


def assert_kernel_is_the_rule(dtype: torch.dtype, device: str) -> None:
    from mtlsearch.training.population import update_kernel as optim_kernel

    optim_kernel.AT_ONCE = 2
    for ours, due in zip(moved(optim_kernel.update, dtype, device), moved(update, dtype, device), strict=True):
        torch.testing.assert_close(ours, due, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def assert_kernel_leaves_padding(device: str) -> None:
    """Members own none of a parameter of three tiles, one number, a tile, a number more, two tiles, or all."""
    from mtlsearch.training.population import update_kernel as optim_kernel

    count, block = 2 * optim_kernel.BLOCK + 7, optim_kernel.BLOCK
    extents = torch.tensor([0, 1, block, block + 1, 2 * block, count])
    members = len(extents)
    c = {
        name: torch.full((members,), float(value), dtype=torch.float64, device=device)
        for name, value in OptimizerSettings("adam", 0.1, 0.0, 0.0, "constant", 0.0, 1.0).coefficients(9).items()
    }
    one = torch.ones(members, dtype=torch.float64, device=device)
    scale = {"length": one, "unbias": one, "shrink": one}
    found = []
    for rule in (partial(optim_kernel.update, extents=extents[:, None].to(device)), update):
        params, grads = ({"w": torch.full((members, count), x, device=device)} for x in (1.0, 0.5))
        moments = [{"w": torch.zeros(members, count, device=device)} for _ in range(2)]
        rule(params, grads, *moments, c, scale)
        found.append(params["w"])
    for ours, due, extent in zip(*found, extents.tolist(), strict=True):
        moved = -(-extent // block) * block
        torch.testing.assert_close(ours[:moved], due[:moved])
        assert (ours[moved:] == 1).all()


@pytest.mark.parametrize(
    "claim",
    [
        "assert_kernel_leaves_padding('cpu')",
        "assert_kernel_is_the_rule(torch.float32, 'cpu')",
        "assert_kernel_is_the_rule(torch.float64, 'cpu')",
    ],
)
def test_by_tritons_interpreter(claim: str) -> None:
    assert_by_interpreter(__file__, claim)


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_kernel_is_translated_for_a_gpu_that_is_not_here(dtype: str, clips: bool) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mtlsearch.training.population.update_kernel import _update

    # Triton's launcher has variables of its own beside the arguments.
    assert not {"params", "specialization", "options"} & set(_update.arg_names)
    constants = {"eps": 1e-8, "clips": clips, "skips": not clips, "block": 1024}
    own = {"length_at", "unbias_at", "shrink_at", "clip_at"}
    tensors = dict.fromkeys(("params_at", "grads_at", "firsts_at", "seconds_at"), (f"*{dtype}",) * 2)
    signature = {
        name: "constexpr" if name in constants else "*" + (dtype if name in own else "fp64")
        for name in _update.arg_names
    }
    signature |= {
        **tensors,
        "numbers": ("i32", "i32"),
        "extents_at": "*i64",
        "parameters": "i32",
        "start": "i32",
    }
    made = triton.compile(ASTSource(_update, signature, constexprs=constants), target=GPUTarget("cuda", 90, 32))
    assert "sqrt" in made.asm["ptx"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_is_the_rule_on_cuda(dtype: torch.dtype) -> None:
    assert_kernel_is_the_rule(dtype, "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_kernel_leaves_padding_on_cuda() -> None:
    assert_kernel_leaves_padding("cuda")
