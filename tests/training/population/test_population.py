"""The promise of the population: a trial in it gives what it gives alone."""

from dataclasses import replace

import problems
import pytest
import torch
from population_asserts import (
    EPOCHS,
    FEATURES,
    NORMS,
    OPTIMIZERS,
    FailsOnce,
    assert_as_alone,
    assert_population_equals_solo,
    assert_same_trial,
    config,
    disjoint_a,
    disjoint_b,
    disjoint_study,
    double,
    joint_study,
)
from problems import compiles
from torch import Tensor, nn

from mtlsearch import Classification, SeparateTrunks, SharedTrunk, Study
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import choice, integer
from mtlsearch.study.study_file import load_study
from mtlsearch.training.population.architectures import structure
from mtlsearch.training.population.layout import (
    compile_seconds,
    compiling_line,
    compiling_pays,
    lane_slots,
    lane_widths,
)
from mtlsearch.training.population.population import PopulationTrainer, side_by_side
from mtlsearch.training.population.program import empty_state
from mtlsearch.training.population.steps import (
    Captured,
    Compiled,
    Eager,
    Fused,
    compiles_exactly,
    has_compiler,
    steps_like,
)
from mtlsearch.training.trainer import Interrupted, Training


@pytest.mark.parametrize("steps", [Eager, Fused])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_norm_equals_solo(optimizer, norm, steps):
    study = disjoint_study()
    rates = {"learning_rate": 1e-2, "weight_decay": 1e-3, "dropout": 0.2, "momentum": 0.5}
    assert_population_equals_solo(
        study,
        [config(study, optimizer=optimizer, norm=norm, **rates), config(study, optimizer="sgd", hidden=20)],
        steps=steps(),
    )


def test_mixed_optimizers_norms_widths_and_weights_share_one_lane_and_equal_solo():
    study = disjoint_study()
    configs = [
        config(study, [0.1, 0.9], optimizer="adam", norm="batch", hidden=24, dropout=0.5),
        config(study, [0.5, 0.5], optimizer="rmsprop", norm="layer", hidden=5, dropout=0.0),
        config(study, [1.0, 0.0], optimizer="sgd", norm="none", hidden=17, momentum=0.0, clip_norm=0.05),
        config(study, [0.3, 0.7], optimizer="adamw", weight_decay=0.1, schedule="cosine", warmup=0.3, hidden=4),
    ]
    training = double(study)
    trainer = PopulationTrainer(training, 4, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    assert len(list(trainer.lanes)) == 1
    assert_population_equals_solo(study, configs)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("model", [SharedTrunk, SeparateTrunks])
def test_deep_and_separate_trunks_equal_solo(model, depth):
    study = disjoint_study(model)
    assert_population_equals_solo(
        study,
        [
            config(study, depth=depth, hidden=6, norm="layer"),
            config(study, depth=depth, hidden=13, norm="batch", dropout=0.4),
        ],
    )


def test_joint_tasks_of_all_kinds_with_missing_labels_equal_solo():
    study = joint_study()
    assert_population_equals_solo(
        study,
        [
            config(study, [0.2, 0.3, 0.5], hidden=7),
            config(study, [0.6, 0.3, 0.1], hidden=19, norm="batch", optimizer="sgd"),
        ],
    )


def test_a_member_added_late_equals_solo():
    study = disjoint_study()
    training = double(study)
    trainer = PopulationTrainer(training, 3, Eager(), pytest.fail)
    trainer.add(0, config(study, hidden=9))
    trainer.advance()
    late = config(study, hidden=14, dropout=0.3, norm="batch")
    entry = trainer.add(1, late)
    assert entry == 1
    results = [r for _ in range(EPOCHS) for r in trainer.advance()]
    assert_as_alone(trainer, 1, late, results, entry)


def test_a_refilled_slot_starts_from_moments_of_zero():
    study = disjoint_study()
    training = double(study)
    trainer = PopulationTrainer(training, 1, Eager(), pytest.fail)
    trainer.add(0, config(study, optimizer="rmsprop", momentum=0.9, norm="batch", learning_rate=0.1))
    trainer.advance()
    trainer.drop(0)
    second = config(study, hidden=11, optimizer="adam", norm="batch")
    entry = trainer.add(1, second)
    results = [trainer.advance()[0] for _ in range(EPOCHS)]
    assert_as_alone(trainer, 1, second, results, entry)


def test_a_pruned_member_leaves_the_others_unchanged():
    study = disjoint_study()
    training = double(study)
    trainer = PopulationTrainer(training, 3, Eager(), pytest.fail)
    configs = [config(study, hidden=h, dropout=0.2) for h in (5, 10, 15)]
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = trainer.advance()
    trainer.drop(1)
    for _ in range(EPOCHS - 1):
        results += trainer.advance()
    for number in (0, 2):
        assert_as_alone(trainer, number, configs[number], results)


def test_a_member_with_nan_leaves_the_others_bit_for_bit():
    study = disjoint_study()

    def others(rate: float) -> list[dict[str, Tensor]]:
        trainer = PopulationTrainer(double(study), 3, Eager(), pytest.fail)
        for number, learning_rate in enumerate((1e-3, rate, 1e-2)):
            trainer.add(
                number,
                config(study, optimizer="sgd", learning_rate=learning_rate, norm="batch", clip_norm=1e300),
            )
        results = [trainer.advance() for _ in range(EPOCHS)]
        failed = {r.number for epoch in results for r in epoch if r.reason}
        assert failed == ({1} if rate > 1 else set())
        return [trainer.state(0), trainer.state(2)]

    for finite, beside_nan in zip(others(1e-3), others(1e200), strict=True):
        assert all(torch.equal(finite[name], beside_nan[name]) for name in finite)


def test_failure_names_the_epoch_and_the_task():
    study = disjoint_study()
    trainer = PopulationTrainer(double(study), 1, Eager(), pytest.fail)
    trainer.add(0, config(study, [1.0, 0.0], optimizer="sgd", learning_rate=1e300, clip_norm=1e300))
    (result,) = trainer.advance()
    assert result.reason is not None
    assert "epoch 0" in result.reason
    assert result.finished


class Plain(nn.Module):
    """A user's module with a plain `nn.Dropout`, and an attribute that changes what it computes."""

    def __init__(self, rate: float, slope: float):
        super().__init__()
        self.body = nn.Linear(FEATURES, 10)
        self.dropout = nn.Dropout(rate)
        self.slope = slope
        self.heads = nn.ModuleDict({"a": nn.Linear(10, 3), "b": nn.Linear(10, 3)})

    def forward(self, inputs):
        return {
            task: self.heads[task](self.dropout(nn.functional.leaky_relu(self.body(x), self.slope)))
            for task, x in inputs.items()
        }


def plain_study() -> Study:
    return Study(
        tasks=[Classification("a", disjoint_a), Classification("b", disjoint_b)],
        model=lambda config: Plain(config["rate"], config["slope"]),
        space={},
        default={"rate": 0.0, "slope": 0.1},
        epochs=EPOCHS,
        batch_size=16,
    )


def test_user_modules_that_differ_in_a_dropout_rate_are_each_trained_with_their_own():
    study = plain_study()
    assert_population_equals_solo(study, [config(study, rate=0.0), config(study, rate=0.9)])


def test_user_modules_that_differ_in_an_attribute_are_each_trained_with_their_own():
    study = plain_study()
    assert_population_equals_solo(study, [config(study, slope=0.0), config(study, slope=0.9)])
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    trainer.add(0, config(study, slope=0.0))
    trainer.add(1, config(study, slope=0.9))
    assert len(list(trainer.lanes)) == 2


class Tied(Plain):
    """Two layers with one weight."""

    def __init__(self, rate: float, slope: float):
        super().__init__(rate, slope)
        self.hidden = nn.Linear(FEATURES, 10)  # a layer, not the number of units
        self.hidden.weight = self.body.weight

    def forward(self, inputs):
        added = {task: self.heads[task](self.hidden(x)) for task, x in inputs.items()}
        return {task: output + added[task] for task, output in super().forward(inputs).items()}


def test_a_module_with_tied_weights_and_a_layer_called_hidden_equals_solo():
    study = replace(plain_study(), model=lambda config: Tied(config["rate"], config["slope"]))
    configs = [config(study, rate=0.3), config(study, optimizer="sgd")]
    assert_population_equals_solo(study, configs)
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    trainer.add(0, configs[0])
    assert trainer.conditions(0)["lane_width"] is None


class Named(nn.Module):
    """A user's module that can be padded, and names the dimension of the space that sets its units."""

    width_dimension = "width"

    def __init__(self, width: int):
        super().__init__()
        self.hidden = width
        self.body = nn.Linear(FEATURES, width)
        self.heads = nn.ModuleDict({"a": nn.Linear(width, 3), "b": nn.Linear(width, 3)})

    def forward(self, inputs):
        return {task: self.heads[task](self.body(x).relu()) for task, x in inputs.items()}

    def widened(self, hidden, norm=None):
        return type(self)(hidden)


class Unnamed(Named):
    """It names a dimension that the space lacks, so each width opens a lane."""

    width_dimension = "hidden"


def named_trunk(width: int, kind: str = "none") -> SharedTrunk:
    trunk = SharedTrunk(FEATURES, {"a": 3, "b": 3}, hidden=width, norm=kind)
    trunk.width_dimension, trunk.norm_dimension = "width", "kind"
    return trunk


@pytest.mark.parametrize(
    ("model", "kinds", "lanes"),
    [(Named, {}, 1), (Unnamed, {}, 3), (named_trunk, {"kind": choice(*NORMS)}, 1)],
)
def test_a_module_is_padded_along_the_dimension_that_it_names(model, kinds, lanes):
    default = {"width": 8, **dict.fromkeys(kinds, "none")}
    space = {"width": integer(4, 24), **kinds}
    study = replace(plain_study(), model=lambda config: model(**config), space=space, default=default)
    each = [{"width": width, **dict.fromkeys(kinds, norm)} for width, norm in zip((5, 11, 24), NORMS, strict=True)]
    configs = [config(study, **values) for values in each]
    trainer = PopulationTrainer(double(study), 3, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    assert len(list(trainer.lanes)) == lanes
    assert_population_equals_solo(study, configs)


def test_the_order_of_members_does_not_matter():
    study = disjoint_study()
    configs = [config(study, hidden=h, norm=n) for h, n in ((5, "batch"), (24, "none"), (12, "layer"))]

    def states(order):
        trainer = PopulationTrainer(double(study), 3, Eager(), pytest.fail)
        for number in order:
            trainer.add(number, configs[number])
        for _ in range(EPOCHS):
            trainer.advance()
        return [trainer.state(number) for number in range(3)]

    for first, second in zip(states((0, 1, 2)), states((2, 0, 1)), strict=True):
        assert all(torch.allclose(first[name], second[name], rtol=0, atol=1e-12) for name in first)


def test_each_member_stops_by_its_own_patience():
    study = disjoint_study(patience=1, epochs=8)
    configs = [config(study, optimizer="sgd", learning_rate=1e-12), config(study, learning_rate=1e-3)]
    training = double(study)
    trainer = PopulationTrainer(training, 2, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results: list = []
    while len(trainer):
        for result in trainer.advance():
            results.append(result)
            if result.finished:
                assert_as_alone(trainer, result.number, configs[result.number], results)
                trainer.drop(result.number)
    assert sum(r.number == 0 for r in results) == 2
    assert sum(r.number == 1 for r in results) > 2


def test_other_seeds_train_beside_each_other_and_equal_solo():
    study = disjoint_study()
    training = double(study)
    trainer = PopulationTrainer(training, 2, Eager(), pytest.fail)
    for number, seed in enumerate((11, 12)):
        trainer.add(number, config(study, dropout=0.3), seed=seed)
    results = [r for _ in range(EPOCHS) for r in trainer.advance()]
    for number, seed in enumerate((11, 12)):
        own = [r for r in results if r.number == number]
        assert_same_trial(replace(training, seed=seed), config(study, dropout=0.3), own, trainer.state(number))


class ControlFlow(Plain):
    """A user's module with control flow on its data, which `vmap` cannot batch."""

    def forward(self, inputs):
        if any(x.sum().item() > 1e9 for x in inputs.values()):
            raise AssertionError
        if self.body.weight.sum().item() > 1e9:
            raise AssertionError
        return super().forward(inputs)


def test_a_model_that_cannot_be_vmapped_is_trained_solo_and_the_notice_says_why():
    study = replace(plain_study(), model=lambda config: ControlFlow(config["rate"], config["slope"]))
    training, notices = double(study), []
    trainer = PopulationTrainer(training, 2, Eager(), notices.append)
    member = config(study, rate=0.2)
    trainer.add(0, member)
    results = [trainer.advance()[0] for _ in range(EPOCHS)]
    assert len(notices) == 1
    assert "ControlFlow is trained one at a time" in notices[0]
    assert "\n" not in notices[0]
    assert_as_alone(trainer, 0, member, results)
    trainer.drop(0)
    assert trainer.room() == 2


class Twice(Plain):
    """A layer under two names."""

    def __init__(self, rate: float, slope: float):
        super().__init__(rate, slope)
        self.again = self.body


def test_a_model_with_a_layer_under_two_names_is_trained_solo():
    study, notices = replace(plain_study(), model=lambda config: Twice(config["rate"], config["slope"])), []
    trainer = PopulationTrainer(double(study), 1, Eager(), notices.append)
    trainer.add(0, config(study, rate=0.2))
    results = [trainer.advance()[0] for _ in range(EPOCHS)]
    assert notices == [
        "Twice is trained one at a time: its layer body (Linear) is again too;"
        " give it one name, and call it twice by that"
    ]
    assert_as_alone(trainer, 0, config(study, rate=0.2), results)


def test_kernels_are_not_waited_for_where_the_loss_cannot_be_vmapped(monkeypatch):
    def fails(program):
        raise RuntimeError("vmap: as the step itself does in the thread that builds its kernels")

    def looks(outputs, labels):
        assert outputs.sum().item() < 1e9
        return problems.squared(outputs, labels)

    study = problems.joint()
    tasks = [replace(task, loss_fn=looks) if task.name == "own" else task for task in study.tasks]
    study = replace(study, tasks=tasks)
    monkeypatch.setattr("mtlsearch.training.population.architectures.build_kernels", fails)
    notices = []
    trainer = PopulationTrainer(double(study), 2, Eager(), notices.append)
    trainer.architectures.skips = True  # as on CUDA
    trainer.add(0, problems.config(study))
    assert "SharedTrunk is trained one at a time" in notices[0]
    assert len(trainer.advance()) == 1


def test_out_of_memory_halves_the_lane_from_the_epochs_start_and_loses_no_trial():
    study = disjoint_study()
    training, notices = double(study), []
    configs = [config(study, hidden=h, dropout=0.2) for h in (5, 8, 13, 21)]
    trainer = PopulationTrainer(training, 4, FailsOnce(slots=4, at=37), notices.append)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [r for _ in range(EPOCHS) for r in trainer.advance()]
    assert len(notices) == 1
    assert "half" in notices[0] or "two of 2" in notices[0]
    assert [lane.slots for lane in trainer.lanes] == [2, 2]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)


def four_members_of_which_three_leave(training: Training):
    """The trainer, the config that stays (number 3), and its results."""
    study = training.loaded.study
    configs = [config(study, hidden=h, norm="batch") for h in (5, 8, 13, 21)]
    trainer = PopulationTrainer(training, 4, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = trainer.advance()
    for number in (0, 1, 2):
        trainer.drop(number)
    for _ in range(EPOCHS - 1):
        results += trainer.advance()
    return trainer, configs[3], [result for result in results if result.number == 3]


def test_a_lane_narrows_when_nothing_is_left_to_ask_and_its_members_stay_exact(monkeypatch):
    monkeypatch.setattr("mtlsearch.training.population.lanes.NARROW_FLOP", 0.0)
    training = double(disjoint_study())
    trainer, member, results = four_members_of_which_three_leave(training)
    assert [lane.slots for lane in trainer.lanes] == [1]
    assert_as_alone(trainer, 3, member, results)
    assert trainer.conditions(3)["lane_slots"] is None


def test_a_lane_keeps_its_slots_where_kernels_skip_empty_ones(monkeypatch):
    monkeypatch.setattr("mtlsearch.training.population.lanes.NARROW_FLOP", 0.0)
    study = disjoint_study()
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    for number in (0, 1):
        trainer.add(number, config(study))
    trainer.architectures.skips = True  # as steps by kernels do
    trainer.drop(0)
    trainer.advance()
    assert [lane.slots for lane in trainer.lanes] == [2]


def test_an_emptied_slot_is_as_one_that_was_never_taken():
    """Its parameters, moments and best epoch may differ, since nothing reads them."""
    study = disjoint_study()
    trainer = PopulationTrainer(double(study), 2, Eager(), pytest.fail)
    trainer.add(0, config(study, norm="batch", dropout=0.3))
    trainer.add(1, config(study, norm="batch", dropout=0.3))
    trainer.advance()
    trainer.drop(0)
    (lane,) = trainer.lanes
    blank = empty_state(lane.program, 2)
    for own, new in ((lane.state.buffers, blank.buffers), (lane.state.coefficients, blank.coefficients)):
        for name, tensor in own.items():
            assert torch.equal(tensor[0], new[name][0]), name
    assert torch.equal(lane.state.extents[0], blank.extents[0])
    assert lane.state.extents[1].any()


def test_a_lane_keeps_its_slots_where_empty_ones_cost_little():
    training = double(disjoint_study())
    trainer, member, results = four_members_of_which_three_leave(training)
    assert [lane.slots for lane in trainer.lanes] == [4]
    assert_as_alone(trainer, 3, member, results)


def test_members_of_equal_lanes_are_gathered_in_one_and_stay_exact():
    study = disjoint_study()
    training = double(study, slots=2)
    configs = [config(study, hidden=h, norm="layer", dropout=0.2) for h in (5, 8, 13, 21)]
    trainer = PopulationTrainer(training, 4, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = trainer.advance()
    trainer.drop(0)
    trainer.drop(2)
    for _ in range(EPOCHS - 1):
        results += trainer.advance()
    assert [len(lane.active) for lane in trainer.lanes] == [2]
    for number in (1, 3):
        assert_as_alone(trainer, number, configs[number], results)


def test_long_searches_are_compiled_and_short_ones_are_not():
    loaded = load_data(disjoint_study(), None)
    assert not compiling_pays(loaded, trials=3, population=16)
    assert compiling_pays(loaded, trials=100_000, population=16)


def test_the_notice_of_compiling_counts_the_first_lane_width_and_the_others(monkeypatch):
    loaded = load_data(disjoint_study(), None)
    told = []
    for widths in ([24], [8, 16, 24]):
        monkeypatch.setattr(
            "mtlsearch.training.population.layout.lane_widths", lambda loaded, model, widths=widths: widths
        )
        told.append(compiling_line(loaded))
    assert told == [
        "compiling the training step: about 20 s, the first time",
        "compiling the training step: about 20 s, then 10 s for each of 2 other lane widths, the first time",
    ]
    assert compile_seconds("cpu", 3, tasks=2) == 40
    assert compile_seconds("cpu", 3, tasks=12) == pytest.approx(40 + 3 * 10 * 1.1)
    monkeypatch.setattr("mtlsearch.training.population.layout.MANY_TASKS", 1)
    assert "minutes for each of 3 lane widths" in compiling_line(loaded)


def test_a_stop_in_the_middle_of_an_epoch_interrupts():
    training = double(disjoint_study())
    trainer = PopulationTrainer(training, 1, Eager(), pytest.fail)
    trainer.add(0, config(training.loaded.study))
    training.stop.set()
    with pytest.raises(Interrupted):
        trainer.advance()


def test_equal_structures_share_a_lane_and_others_do_not():
    def net(**options):
        return SharedTrunk(4, {"a": 2}, **options)

    assert structure(net(dropout=0.1)) == structure(net(dropout=0.7))
    assert structure(net(hidden=8)) != structure(net(hidden=9))
    assert structure(net(norm="batch")) != structure(net(norm="layer"))
    assert structure(Plain(0.1, 0.2)) != structure(Plain(0.1, 0.3))


def test_lane_widths_are_few_and_the_widest_is_the_spaces():
    wide = disjoint_study(
        batch_size=400,
        space={"hidden": integer(32, 4096, log=True)},
        default={"hidden": 32, "dropout": 0.0, "norm": "none", "depth": 2},
    )
    widths = lane_widths(load_data(wide, None), wide.build(wide.default_config(), seed=0))
    assert widths[-1] == 4096
    assert 3 <= len(widths) <= 7
    assert widths == sorted(set(widths))


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")
def test_the_compiled_step_equals_solo():
    study = disjoint_study()
    configs = [
        config(study, [0.1, 0.9], optimizer="adam", norm="batch", hidden=24, dropout=0.5),
        config(study, [0.5, 0.5], optimizer="rmsprop", norm="layer", hidden=5),
        config(study, [0.4, 0.6], optimizer="sgd", hidden=17, dropout=0.1, clip_norm=0.1),
        # A lane of its own, whose step must not be taken for the other's.
        config(study, [0.4, 0.6], optimizer="sgd", hidden=17, dropout=0.1, depth=2),
    ]
    assert_population_equals_solo(study, configs, steps=Compiled(), size=4)


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")
def test_a_step_that_the_compiler_fails_on_goes_on_uncompiled_and_says_so(monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("no code for this")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", fails)
    study, notices = disjoint_study(), []
    training = double(study)
    trainer = PopulationTrainer(training, 1, Compiled(notices.append), pytest.fail)
    trainer.add(0, config(study, dropout=0.2))
    results = [trainer.advance()[0] for _ in range(EPOCHS)]
    assert notices[0].startswith("compiling the training step")
    assert len(notices) == 2
    assert "cannot compile" in notices[1]
    assert "\n" not in notices[1]
    assert_as_alone(trainer, 0, config(study, dropout=0.2), results)


def test_shapes_that_are_left_when_the_budget_of_compiling_is_spent_run_uncompiled(monkeypatch):
    def compiled(program):
        def first(state):
            program.step(state)
            return lambda: program.step(state)

        return first

    monkeypatch.setattr("mtlsearch.training.population.steps.compiled", compiled)
    monkeypatch.setattr("mtlsearch.training.population.steps.expected_compiling", lambda loaded: 0.0)
    study, notices = disjoint_study(), []
    configs = [config(study, dropout=0.2, depth=depth) for depth in (1, 2, 3)]
    trainer = PopulationTrainer(double(study), 3, Compiled(notices.append), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(EPOCHS) for result in trainer.advance()]
    assert [lane.is_uncompiled for lane in trainer.lanes] == [False, True, True]
    assert len([notice for notice in notices if "steps of other lane widths run uncompiled" in notice]) == 1
    # The last bits of an uncompiled step are not those of a compiled one, so no slots are recorded to repeat.
    assert [trainer.conditions(number)["lane_slots"] is None for number in range(3)] == [False, True, True]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)


@torch.library.custom_op("mtlsearch_tests::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    return x.clone()


class Untraceable(SharedTrunk):
    """A user's network with an operator whose output shape torch does not know."""

    def forward(self, inputs):
        return super().forward({task: opaque(x) for task, x in inputs.items()})


class Doubled(SharedTrunk):
    """A user's network that overrides the forward pass of `SharedTrunk`."""

    def forward(self, inputs):
        return {task: 2 * output for task, output in super().forward(inputs).items()}


def test_a_subclass_of_a_shipped_trunk_stays_what_it_is():
    study = disjoint_study(Doubled)
    assert_population_equals_solo(study, [config(study, hidden=h, norm="batch") for h in (5, 20)])


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")
def test_a_module_that_cannot_be_traced_is_trained_uncompiled():
    study, notices = disjoint_study(Untraceable), []
    training = double(study)
    trainer = PopulationTrainer(training, 1, Compiled(notices.append), pytest.fail)
    trainer.add(0, config(study))
    results = [trainer.advance()[0] for _ in range(EPOCHS)]
    assert "cannot compile" in notices[1]
    assert "\n" not in notices[1]
    assert_as_alone(trainer, 0, config(study), results)


def test_a_cuda_population_that_spreads_over_widths_fills_about_eight_lanes(monkeypatch):
    loaded = load_data(load_study("digits"), None)
    one = loaded.study.build(loaded.study.default_config(), seed=0)
    monkeypatch.setattr(LoadedStudy, "device", property(lambda self: torch.device("cuda")))
    assert [lane_slots(loaded, one, population, widths=2) for population in (4, 64, 256)] == [4, 8, 32]
    assert [lane_slots(loaded, one, population, widths=1) for population in (4, 64, 256)] == [4, 64, 128]
    # Kernels that skip padding are as fast as compiled steps; on other steps compiling saves time.
    assert not compiling_pays(loaded, trials=100_000, population=64)
    monkeypatch.setattr("mtlsearch.training.population.layout.skips_padding", lambda module: False)
    assert not compiling_pays(loaded, trials=100, population=64)
    assert compiling_pays(loaded, trials=100_000, population=64)


@pytest.mark.parametrize("inner", ["eager", "fused", "compiled"])
def test_a_cpu_runs_plainly_the_steps_that_cuda_captured(inner, monkeypatch):
    if inner == "compiled" and not compiles_exactly():
        pytest.skip("this torch compiles no step")
    assert steps_like(f"captured {inner}", torch.device("cpu")).name == inner
    assert steps_like(inner, torch.device("cpu")).name == inner
    monkeypatch.setattr("mtlsearch.training.population.steps.fuses", lambda device: False)
    without_triton = {"fused": "eager"}.get(inner, inner)
    assert steps_like(f"captured {inner}", torch.device("cuda")).name == f"captured {without_triton}"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("inner", ["eager", "fused", "compiled"])
@pytest.mark.parametrize("captured", [False, True])
def test_every_way_to_run_a_step_equals_solo_on_cuda(inner, captured):
    steps = {"eager": Eager(), "fused": Fused(torch.device("cuda")), "compiled": Compiled(compiles)}[inner]
    study = disjoint_study()
    loaded: LoadedStudy = load_data(study, None, "cuda")
    training = Training(loaded, seed=3, dtype=torch.float64)
    configs = [config(study, hidden=h, norm=n, dropout=0.3) for h, n in ((5, "batch"), (20, "layer"))]
    trainer = PopulationTrainer(training, 2, Captured(steps) if captured else steps, pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [r for _ in range(EPOCHS) for r in trainer.advance()]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_lanes_side_by_side_equal_solo_on_cuda():
    """Lanes of three depths, each on a stream of its own."""
    study = disjoint_study()
    training = Training(load_data(study, None, "cuda"), seed=3, dtype=torch.float64)
    configs = [config(study, depth=depth, norm="batch", dropout=0.3) for depth in (1, 2, 3, 1)]
    trainer = PopulationTrainer(training, 4, Captured(Fused(torch.device("cuda"))), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    assert len(side_by_side(trainer.lanes)) == 1
    results = [result for _ in range(EPOCHS) for result in trainer.advance()]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)
