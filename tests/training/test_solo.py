"""The solo trainer: reproducible, stopped early, its best epoch kept, its failures named."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from problems import CLASSES, NanFor, broken, config, disjoint, joint, joint_source, loaded, trunk
from torch import Tensor, nn

from mtlsearch import Classification, Config, Study
from mtlsearch.study.results import EpochResult
from mtlsearch.training.batches import epoch_batches, steps_per_epoch
from mtlsearch.training.losses import task_losses
from mtlsearch.training.solo import SoloMember, SoloTrainer, evaluate_state
from mtlsearch.training.trainer import Interrupted, Training


def run(
    study: Study, chosen: Config | None = None, entry_epoch: int = 0, **training: Any
) -> tuple[list[EpochResult], dict[str, Tensor]]:
    """The results of every epoch of one trial, and its best parameters."""
    trainer = SoloTrainer(Training(loaded(study), **training))
    trainer.add(4, chosen or study.default_config(), entry_epoch=entry_epoch)
    results = trainer.advance()
    while not results[-1].finished:
        results += trainer.advance()
    return results, trainer.state(4)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Noisy(nn.Module):
    """A user's model that draws torch's own random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = trunk({"a": CLASSES, "b": CLASSES})(disjoint().default_config())

    def forward(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: F.dropout(y, 0.2, self.training) for task, y in self.inner(given).items()}


@pytest.mark.parametrize("study", [disjoint(), joint(0.3), disjoint(model=lambda config: Noisy())])
def test_the_same_seed_gives_bitwise_the_same_numbers(study: Study) -> None:
    first, state = run(study, seed=3)
    torch.rand(7)
    again, other = run(study, seed=3)
    assert first == again
    assert same(state, other)


def test_another_seed_gives_other_numbers() -> None:
    assert not same(run(disjoint(), seed=0)[1], run(disjoint(), seed=1)[1])


def test_a_trial_is_repeated_from_the_epoch_at_which_it_entered() -> None:
    """Its batches are those of the population's epoch."""
    entered = [SoloMember(Training(loaded(disjoint())), 0, config(disjoint()), e, 0) for e in (5, 5, 0)]
    for _ in range(2):
        for member in entered:
            member.advance()
    late, again, early = (member.best for member in entered)
    assert same(late, again)
    assert not same(late, early)


def test_training_learns_every_kind_of_task() -> None:
    study = joint(0.2, epochs=20)
    results, _ = run(study, config(study, learning_rate=0.02, dropout=0.0))
    best = results[-1].best_validation
    assert best["kind"]["macro_f1"] > 0.7
    assert best["tags"]["macro_auroc"] > 0.9
    assert best["amount"]["r2"] > 0.8
    assert best["own"]["metric"] > -0.6


def test_epochs_are_counted_and_the_last_one_finishes() -> None:
    results, _ = run(disjoint(epochs=4))
    assert [result.epoch for result in results] == [0, 1, 2, 3]
    assert [result.finished for result in results] == [False, False, False, True]
    assert {result.number for result in results} == {4}
    assert all(result.reason is None for result in results)


def test_the_best_epochs_parameters_are_kept_and_give_the_recorded_metrics() -> None:
    study = disjoint(epochs=6)
    chosen = config(study, learning_rate=0.1, optimizer="sgd")
    results, state = run(study, chosen, seed=3)
    last = results[-1]
    assert last.best_score == max(result.score for result in results)
    assert last.best_epoch == [result.score for result in results].index(last.best_score)
    assert last.best_epoch < 5, "the test needs a best epoch that is not the last"
    assert last.best_validation == results[last.best_epoch].validation
    assert evaluate_state(loaded(study), chosen, state, "validation") == last.best_validation
    assert evaluate_state(loaded(study), chosen, state, "test").keys() == last.best_validation.keys()


def test_training_stops_when_the_score_has_not_risen_for_patience_epochs() -> None:
    study = disjoint(epochs=50, patience=2, score=lambda scores: 0.5)
    results, _ = run(study)
    assert [result.finished for result in results] == [False, False, True]
    assert results[-1].best_epoch == 0


def test_a_rising_score_is_never_stopped() -> None:
    rising = iter(range(100))
    results, _ = run(disjoint(epochs=5, patience=1, score=lambda scores: float(next(rising))))
    assert len(results) == 5
    assert results[-1].best_epoch == 4


@pytest.mark.parametrize(("after", "epoch", "step"), [(0, 0, 0), (5, 0, 5), (11, 1, 2)])
def test_a_loss_that_is_not_finite_fails_the_trial_and_names_epoch_task_and_step(
    after: int, epoch: int, step: int
) -> None:
    study = broken("b", after)
    assert steps_per_epoch(loaded(study)) == 9
    results, _ = run(study)
    assert results[-1].reason == f"the loss of b was not finite in epoch {epoch}, step {step}"
    assert results[-1].finished
    assert math.isnan(results[-1].score)
    assert [result.reason for result in results[:-1]] == [None] * epoch


@pytest.mark.parametrize(
    ("score", "reason"),
    [(lambda scores: math.nan, "the score"), (lambda scores: -math.inf, "the score")],
)
def test_a_trial_without_one_finite_score_fails(score: Any, reason: str) -> None:
    results, _ = run(disjoint(score=score))
    assert [result.reason for result in results[:-1]] == [None, None]
    assert results[-1].reason == f"{reason} was not finite in any epoch up to 2"


def test_a_metric_that_is_not_finite_is_named() -> None:
    class Broken(NanFor):
        def forward(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
            outputs = dict(self.inner(given))
            if not self.training:
                outputs["amount"] = outputs["amount"] * torch.nan
            return outputs

    heads = {"kind": CLASSES, "tags": 2, "amount": 1, "own": 1}
    results, _ = run(joint(model=lambda c: Broken(trunk(heads)(c), "amount", 0)))
    assert results[-1].reason == "the metric of amount was not finite in any epoch up to 2"


def test_a_missing_label_changes_nothing_in_the_gradient() -> None:
    """An example whose only label is missing does not change the step, whatever its inputs are."""
    study = loaded(disjoint())
    model = study.study.build(study.study.default_config(), 0).eval()
    parts = [splits.train.rows(torch.arange(8)) for splits in study.splits]
    parts[0].labels["a"][3] = -1

    def gradient() -> list[Tensor]:
        losses = task_losses(study, model, parts, torch.float32)
        return list(torch.autograd.grad(losses.sum(), list(model.parameters())))

    before = gradient()
    parts[0].inputs[3] = 255 - parts[0].inputs[3]
    assert all(torch.equal(a, b) for a, b in zip(before, gradient(), strict=True))
    parts[0].inputs[4] = 255 - parts[0].inputs[4]
    assert not all(torch.equal(a, b) for a, b in zip(before, gradient(), strict=True))


def test_the_smaller_source_goes_round() -> None:
    study = loaded(disjoint())
    largest, smaller = epoch_batches(study, seed=0, epoch=0)
    assert largest.shape == smaller.shape == (9, 16)
    assert sorted(largest.flatten().tolist()) == list(range(144))
    rounds = smaller.flatten()
    assert [sorted(rounds[i : i + 48].tolist()) for i in (0, 48, 96)] == [list(range(48))] * 3
    assert not torch.equal(rounds[:48], rounds[48:96])


def test_batches_depend_on_the_seed_and_the_epoch() -> None:
    study = loaded(disjoint())

    def first(seed: int, epoch: int = 0) -> list[int]:
        return epoch_batches(study, seed, epoch)[0].flatten().tolist()

    assert first(0) == first(0)
    assert first(0) != first(1)
    assert first(0, epoch=1) == first(0, epoch=1)
    assert first(0) != first(0, epoch=1)


def test_a_last_batch_that_is_not_full_is_filled_from_the_next_pass() -> None:
    study = loaded(disjoint(batch_size=100))
    largest, smaller = epoch_batches(study, seed=0, epoch=0)
    assert largest.shape == smaller.shape == (2, 100)
    assert sorted(largest.flatten()[:144].tolist()) == list(range(144))


def test_task_weights_weigh_the_losses() -> None:
    """The head of a task with weight 0 never changes."""
    study = disjoint()
    member = SoloMember(Training(loaded(study)), 0, config(study, {"a": 1.0, "b": 0.0}), 0, 0)
    before = {name: p.detach().clone() for name, p in member.model.named_parameters()}
    member.advance()
    moved = {n for n, p in member.model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == {n for n in before if not n.startswith("heads.b.")}


def test_a_step_is_plain_torchs() -> None:
    """One SGD step by hand, with the weighted sum of the losses."""
    study = disjoint(epochs=1)
    chosen = config(study, {"a": 0.3, "b": 0.7}, optimizer="sgd", learning_rate=0.1, dropout=0.0)
    member = SoloMember(Training(loaded(study)), 0, chosen, 0, seed=2)
    plain = study.build(chosen, 2)
    batches = epoch_batches(loaded(study), 2, 0)
    member.model.train()
    member.step(batches, 0)
    parts = [splits.train.rows(rows[0]) for splits, rows in zip(loaded(study).splits, batches, strict=True)]
    outputs = plain({"a": parts[0].inputs / 255, "b": parts[1].inputs / 255})
    loss = 0.3 * F.cross_entropy(outputs["a"], parts[0].labels["a"]) + 0.7 * F.cross_entropy(
        outputs["b"], parts[1].labels["b"]
    )
    loss.backward()  # type: ignore[no-untyped-call]
    for ours, by_hand in zip(member.model.parameters(), plain.parameters(), strict=True):
        assert by_hand.grad is not None
        assert torch.allclose(ours, by_hand - 0.1 * by_hand.grad, atol=1e-6)


def test_the_gradients_norm_is_clipped() -> None:
    study = disjoint(epochs=1)

    def moved(clip_norm: float) -> float:
        chosen = config(study, optimizer="sgd", momentum=0.0, learning_rate=1.0, dropout=0.0, clip_norm=clip_norm)
        member = SoloMember(Training(loaded(study)), 0, chosen, 0, 0)
        before = [p.detach().clone() for p in member.model.parameters()]
        member.step(epoch_batches(loaded(study), 0, 0), 0)
        after = [p.detach() for p in member.model.parameters()]
        return math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(after, before, strict=True)))

    free = moved(math.inf)
    assert free > 0.02
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(1e6) == free


def test_the_schedule_spans_the_whole_budget() -> None:
    study = disjoint(epochs=2)
    member = SoloMember(Training(loaded(study)), 0, config(study, schedule="cosine", learning_rate=0.01), 0, 0)
    member.advance()
    assert member.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 8 / 18)))
    member.advance()
    assert member.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 17 / 18)))


def test_a_stop_interrupts_in_the_middle_of_an_epoch() -> None:
    training = Training(loaded(disjoint()))
    trainer = SoloTrainer(training)
    trainer.add(0, disjoint().default_config())
    (result,) = trainer.advance()
    training.stop.set()
    with pytest.raises(Interrupted):
        trainer.advance()
    assert result.epoch == 0


def test_training_leaves_torchs_generator_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(disjoint(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_trainer_has_room_for_one() -> None:
    trainer = SoloTrainer(Training(loaded(disjoint())))
    assert trainer.room() == 1
    assert trainer.add(0, disjoint().default_config()) == 0
    assert trainer.room() == 0
    trainer.drop(0)
    assert trainer.room() == 1


def test_a_member_may_have_a_seed_of_its_own() -> None:
    study = disjoint(epochs=1)
    trainer = SoloTrainer(Training(loaded(study), seed=0))
    trainer.add(0, study.default_config(), seed=9)
    trainer.advance()
    assert same(trainer.state(0), run(study, seed=9)[1])


def test_evaluation_in_chunks_is_evaluation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = loaded(joint(0.3))
    member = SoloMember(Training(study), 0, study.study.default_config(), 0, 0)
    whole = member.evaluate("test")
    monkeypatch.setattr("mtlsearch.training.evaluation.EVALUATION_ROWS", {"cpu": 7})
    chunks = member.evaluate("test")
    for task, values in whole.items():
        assert chunks[task] == pytest.approx(values, rel=1e-5)


def test_bf16_trains_to_about_the_same_result() -> None:
    study = joint(0.2, epochs=10)
    chosen = config(study, learning_rate=0.02, dropout=0.0)
    full, half = (run(study, chosen, precision=p)[0][-1].best_score for p in ("fp32", "bf16"))
    assert half == pytest.approx(full, abs=0.1)


def test_a_study_of_one_task_trains() -> None:
    study = replace(
        disjoint(), tasks=[Classification("kind", joint_source())], model=trunk({"kind": CLASSES}), epochs=10
    )
    results, _ = run(study, config(study, learning_rate=0.03))
    assert results[-1].best_validation["kind"]["accuracy"] > 0.7


def test_inputs_are_not_changed_by_training() -> None:
    study = loaded(joint())
    before = study.splits[0].train.inputs.clone()
    member = SoloMember(Training(study), 0, study.study.default_config(), 0, 0)
    member.advance()
    assert torch.equal(study.splits[0].train.inputs, before)
