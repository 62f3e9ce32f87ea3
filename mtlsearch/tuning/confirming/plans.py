"""The plan of a confirmation: which configs are trained again, with which seeds, on which divisions of the data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mtlsearch.errors import DataError
from mtlsearch.evidence.answer import Plan, candidates, dropped
from mtlsearch.evidence.questions.asking import numbered
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.record import Record
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.space import Config
from mtlsearch.training.seeds import derived_seed
from mtlsearch.tuning.confirming.divisions import Divisions, new_divisions
from mtlsearch.tuning.options.groups import AgainOptions
from mtlsearch.tuning.options.training import ConfirmOptions

if TYPE_CHECKING:
    from mtlsearch.tuning.session import Session


def make_plans(session: "Session", options: AgainOptions, scored: Sequence[str]) -> tuple[Plan, Divisions]:
    """The plan, and the data in the divisions that it needs.

    Raises DataError where a task cannot be scored in a new division that was asked for.
    """
    record, loaded = session.record, session.training.loaded
    plan = make_plan(record, loaded, options, scored, new_divisions(loaded, options))
    try:
        return plan, Divisions(loaded, plan.divisions)
    except DataError as error:
        if options.resplit is not None:
            raise
        session.watcher.notice(f"no new divisions of the data: {error}")
    plan = make_plan(record, loaded, options, scored)
    return plan, Divisions(loaded, plan.divisions)


def make_plan(
    record: Record, loaded: LoadedStudy, options: AgainOptions, scored: Sequence[str], divisions: int = 0
) -> Plan:
    """The plan for the best configs of the study as it stands, with seeds that the search has not used.

    `scored` are the tasks that are trained alone too; `divisions` is the number of new divisions of the data, 0 to
    train with `options.seeds` seeds on the study's own.
    """
    seeds = fresh_seeds(int(record.info["seed"]), divisions or options.seeds)
    return Plan(
        configs_of(record, options),
        seeds,
        scored,
        loaded.study.auxiliary_tasks,
        {name: loaded.units.get(name, 1.0) for name in loaded.study.weighted},
        dropped=dropped(record) if scored else {},
        terms=[term.name for term in loaded.study.terms],
        divisions=[derived_seed(seed, "division") for seed in seeds] if divisions else (),
    )


def configs_of(record: Record, options: AgainOptions) -> dict[int, Config]:
    """The configs to confirm by the number of their trial: the one that is asked for, else the best ones."""
    asked = asked_for(options)
    if asked is None:
        found = candidates(record, options.top)
    else:
        found = {asked: trial_config(record.info, numbered(record, asked))}
    settings = options.settings if isinstance(options, ConfirmOptions) else None
    if not settings:
        return found
    own = {name: record.info["default"][name] for name in settings if name in record.info["default"]}
    return {n: replace(config, hyperparameters={**config.hyperparameters, **own}) for n, config in found.items()}


def asked_for(options: AgainOptions) -> int | None:
    """The number of the trial that is asked for."""
    return options.trial if isinstance(options, ConfirmOptions) else None


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Seeds that follow from the study's, and are not that."""
    fresh = dict.fromkeys(derived_seed(seed, "confirm", i) for i in range(count + 8))
    fresh.pop(seed, None)
    return list(fresh)[:count]
