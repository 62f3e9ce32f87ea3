"""The default sampler: which of its two asks, and that it asks what that one would ask."""

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.training.seeds import derived_seed
from mtlsearch.tuning.choices import SeededAsks, make_sampler, seeded_asks
from mtlsearch.tuning.samplers import auto
from mtlsearch.tuning.samplers.auto import is_for_gp

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def trial(state: TrialState, number: int, epochs: int = 2, space: dict[str, BaseDistribution] = SPACE) -> FrozenTrial:
    params = {name: (0.37 * number + 0.61 * place) % 1 for place, name in enumerate(space)}
    curve = {epoch: -abs(params["x"] - 0.3) + 0.01 * epoch for epoch in range(epochs)}
    value = curve[epochs - 1] if state is TrialState.COMPLETE else None
    return create_trial(
        state=state, value=value, params=params, distributions=space, intermediate_values=dict(sorted(curve.items()))
    )


def history(pruned: int, running: int, space: dict[str, BaseDistribution] = SPACE) -> list[FrozenTrial]:
    kinds = [TrialState.PRUNED] * pruned + [TrialState.RUNNING] * running
    return [trial(kind, number, 2 if kind is TrialState.PRUNED else 1, space) for number, kind in enumerate(kinds)]


def asked(
    sampler: BaseSampler, told: list[FrozenTrial], space: dict[str, BaseDistribution] = SPACE
) -> dict[str, float]:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for each in told:
        study.add_trial(each)
    return study.ask(space).params


@pytest.mark.parametrize(
    ("told", "by"),
    [
        (history(12, 8), "gp"),
        (history(12, 7), "tpe"),  # too few in training
        (history(12, 33), "tpe"),  # too many
        (history(9, 8), "tpe"),  # too little is known
        (history(auto.MOST, 8), "tpe"),  # the history is long
    ],
)
def test_it_asks_as_the_gaussian_process_or_as_tpe(told: list[FrozenTrial], by: str) -> None:
    found = {name: asked(seeded_asks(name, 0), told) for name in ("auto", "gp", "tpe")}
    assert by == "tpe" or found["gp"] != found["tpe"]
    assert found["auto"] == found[by]


def test_tpe_asks_in_many_dimensions() -> None:
    space: dict[str, BaseDistribution] = {f"x{i}": FloatDistribution(0, 1) for i in range(auto.MOST_DIMENSIONS)}
    told = history(12, 8, {"x": FloatDistribution(0, 1), **space})
    names = {"x": FloatDistribution(0, 1), **space}
    assert asked(seeded_asks("auto", 0), told, names) == asked(seeded_asks("tpe", 0), told, names)


def test_tpe_asks_where_a_metric_must_reach_something() -> None:
    told = history(12, 8)
    assert is_for_gp(told)
    told[0].system_attrs = {"constraints:task": 0.1}
    assert told[0].constraints == {"task": 0.1}
    assert not is_for_gp(told)


def test_a_config_that_was_asked_before_is_asked_of_tpe_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    told = history(12, 8)
    monkeypatch.setattr(auto.ForesightGPSampler, "sample_relative", lambda *_: told[3].params)
    found = asked(seeded_asks("auto", 0), told)
    assert found not in [each.params for each in told]
    assert found == asked(seeded_asks("tpe", 0), told)


def test_what_the_samplers_keep_from_ask_to_ask_changes_no_answer() -> None:
    class Anew(SeededAsks):
        def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
            self._sampler = make_sampler("auto", derived_seed(0, "ask", trial.number))
            self._sampler.before_trial(study, trial)

    found = []
    for sampler in (seeded_asks("auto", 0), Anew(RandomSampler, 0)):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for each in history(12, 6):
            study.add_trial(each)
        found.append([study.ask(SPACE).params for _ in range(6)])  # TPE asks twice, then the Gaussian process
    assert found[0] == found[1]
    assert len({tuple(params.values()) for params in found[0]}) == 6
