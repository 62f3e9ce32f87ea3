"""The compiled step: results that are computed once, and code that lanes of one shape share."""

import gc
import weakref

import pytest
import torch
from population_asserts import assert_as_alone, config, disjoint_study
from problems import compiles
from torch import Tensor
from torch.fx import Graph, GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

import mtlsearch.training.population.compiler
from mtlsearch import integer
from mtlsearch.kernels.noise import noise
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.compiler import built, traced
from mtlsearch.training.population.lane import plain_step
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Eager, has_compiler
from mtlsearch.training.trainer import Training

EXAMPLES, UNITS = 32, 64
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")


def after_the_pass(function, *tensors: Tensor) -> tuple[list[str], Tensor]:
    """The operators whose results a function's graph keeps after the pass, and the changed graph's result."""
    from mtlsearch.training.population.compiler_pass import ComputedOnce, computed_once

    traced = make_fx(function, tracing_mode="fake")(*tensors)
    graph: Graph = traced.graph
    ComputedOnce()(graph)
    graph.lint()
    traced.recompile()
    kept = [node.args[0] for node in graph.nodes if node.target is computed_once]
    return [node.target.__name__ for node in kept], traced(*tensors)


def layer() -> Tensor:
    return torch.randn(EXAMPLES, UNITS, generator=torch.Generator().manual_seed(0))


def normalised(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(0) + 1e-5)


def of_examples(x: Tensor) -> Tensor:
    return x - (x.sum(1) / UNITS).unsqueeze(1)


def clipped(x: Tensor) -> Tensor:
    return x * torch.clamp(5 / x.square().sum(1, keepdim=True), max=1)


def of_live_units(x: Tensor) -> Tensor:
    live = torch.arange(UNITS) < UNITS // 2
    return torch.where(live, x, 0) + torch.where(live, x.square(), 1)


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (normalised, ["rsqrt.default"]),
        (of_examples, ["unsqueeze.default"]),  # the last of the operators that would be computed again
        (clipped, ["clamp.default"]),
        (of_live_units, ["convert_element_type.default"]),  # one mask, though two operators use it
        (lambda x: x / 3 + torch.rsqrt(x.abs()), []),  # not broadcast
        (lambda x: torch.where(x > 0, x, 0), []),
        (lambda x: torch.where(x.sum() > 0, x, 0), []),  # a single boolean is read once anyway
        (lambda x: x.sum(0) * x, []),  # a sum is not slow, and a product is as fast as a read
    ],
)
def test_a_slow_result_that_is_broadcast_is_computed_once(function, kept):
    names, result = after_the_pass(function, layer())
    assert names == kept
    assert torch.equal(result, function(layer()))


@pytest.mark.slow
@needs_compiler
def test_lanes_of_one_shape_share_their_code_and_each_keeps_its_own_tensors(monkeypatch):
    graphs: list[GraphModule] = []
    monkeypatch.setattr(
        mtlsearch.training.population.compiler,
        "built",
        lambda graph, inputs: graphs.append(graph) or built(graph, inputs),
    )
    study = disjoint_study(space={"hidden": integer(4, 24)})  # without norms there is less to compile
    training = Training(load_data(study, None), seed=3, dtype=torch.float64, slots=1)
    trainer = PopulationTrainer(training, 2, Compiled(compiles), pytest.fail, shrinks=False)
    configs = [config(study, [w, 1 - w], hidden=20, dropout=0.3) for w in (0.2, 0.7)]
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(study.epochs) for result in trainer.advance()]
    assert len(graphs) == 1
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)
    lanes = [weakref.ref(lane) for lane in trainer.lanes]
    states = [weakref.ref(next(iter(lane().state.params.values()))) for lane in lanes]
    assert len(lanes) == 2
    graphs.clear()
    del trainer
    gc.collect()
    assert not any(reference() is not None for reference in lanes + states)


def test_a_graph_takes_the_data_after_the_tensors_of_a_state_and_does_what_a_step_does():
    study = disjoint_study()
    training = Training(load_data(study, None), seed=3, dtype=torch.float64)
    lanes = []
    for _ in range(2):
        trainer = PopulationTrainer(training, 2, Eager(), pytest.fail)
        for number, norm in enumerate(("layer", "batch")):
            trainer.add(number, config(study, hidden=5, dropout=0.3, norm=norm))
        (lane,) = trainer.lanes
        lane.begin_epoch(1)
        lanes.append(lane)
    by_graph, plain = lanes
    before = [tensor.clone() for tensor in plain.state.params.values()]
    graph, data = traced(by_graph.program, by_graph.state)
    assert all(node.op != "get_attr" for node in graph.graph.nodes)
    inputs = {splits.train.inputs.data_ptr() for splits in training.loaded.splits}
    assert inputs < {tensor.data_ptr() for tensor in data}  # the data themselves, no copies
    for _ in range(3):
        graph(*tree_leaves(by_graph.state), *data)
        plain_step(plain, 0)
    for found, expected in zip(by_graph.state.all(), plain.state.all(), strict=True):
        assert torch.equal(found, expected)
    assert plain.state.tick == 3
    assert not any(map(torch.equal, before, plain.state.params.values()))


@needs_compiler
def test_noise_of_four_dimensions_compiles_to_the_same():
    # Three factors multiplied out have 70 bits.
    key, shape = torch.tensor(777, dtype=torch.int32), (4, 8, 6, 6)
    code = built(make_fx(lambda key: noise(key, shape), tracing_mode="fake")(key), [key])
    assert torch.equal(code(key), noise(key, shape))
