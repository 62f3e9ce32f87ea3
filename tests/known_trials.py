"""A store whose trials reached known metrics, without any training."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.trial import TrialState, create_trial
from report_stores import HYPERPARAMETERS, describe

from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import Record
from mtlsearch.study.space import Config, Space
from mtlsearch.study.weights.task_weights import LogRatios

METRICS = {"mnist": "accuracy", "fashion": "accuracy"}


@contextmanager
def known_store(
    folder: Path,
    reached: Sequence[Sequence[float]],
    metrics: Mapping[str, str] = METRICS,
    *,
    configs: Sequence[Mapping[str, Any]] = (),
    weights: Sequence[Mapping[str, float]] = (),
    name: str = "known",
) -> Iterator[Record]:
    """The record of a study in `folder`/mtlsearch.db with a complete trial for each row of `reached`, a metric a task.

    `configs` are hyperparameters that trials have instead of the default ones, `weights` task weights instead of equal.
    """
    info = describe(metrics)
    space = Space(HYPERPARAMETERS, LogRatios(list(metrics)))
    with open_storage(f"sqlite:///{folder / 'mtlsearch.db'}", create=True) as storage:
        record = open_record(storage, name, info, 0, folder)
        for number, values in enumerate(reached):
            hyperparameters = {**info["default"], **(configs[number] if number < len(configs) else {})}
            equal = dict.fromkeys(metrics, 1 / len(metrics))
            config = Config(hyperparameters, weights[number] if number < len(weights) else equal)
            validation = {task: {metric: v} for (task, metric), v in zip(metrics.items(), values, strict=True)}
            signs = (1 if info["tasks"][task]["higher_is_better"] else -1 for task in metrics)
            score = sum(sign * value for sign, value in zip(signs, values, strict=True)) / len(metrics)
            attrs = {"epochs": 1, "best_epoch": 0, "entry_epoch": 0, "trained_on": {}, "validation": validation}
            record.study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=score,
                    params=space.params(config),
                    distributions=space.distributions,
                    user_attrs={"task_weights": dict(config.task_weights), **attrs},
                    intermediate_values={0: score},
                )
            )
        storage.refresh(record.study._study_id)
        storage.flush()
        yield record
