"""Exported configs that a search asks before its sampler does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.errors import UsageError
from mtlsearch.store.config_file import config_of, read_config
from mtlsearch.store.record import Record
from mtlsearch.study.study import Study
from mtlsearch.study.weights.task_weights import PREFIXES

FIXED = "fixed_params"  # where Optuna keeps the params of a trial that waits
SLACK = 1e-9  # of a range, for what rounding moves beyond its end


def params_of_files(paths: Sequence[Path], study: Study) -> list[dict[str, Any]]:
    """The params of the configs in these files. Raises ConfigError, and UsageError for one outside the space."""
    return [_params(path, study) for path in paths]


def _params(path: Path, study: Study) -> dict[str, Any]:
    config = config_of(read_config(path), study)
    return {
        name: _inside(path, name, value, study.search_space.distributions[name])
        for name, value in study.search_space.params(config).items()
    }


def _inside(path: Path, name: str, value: Any, distribution: BaseDistribution) -> Any:
    """The value, moved by rounding at most. Raises UsageError where it lies outside."""
    if isinstance(distribution, CategoricalDistribution):
        if value in distribution.choices:
            return value
        raise UsageError(f"--from {path}: {name} {value!r} is none of {', '.join(map(str, distribution.choices))}")
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    slack = SLACK * max(1.0, high - low)
    if not low - slack <= value <= high + slack:
        what = "the task weights lie" if name.startswith(PREFIXES) else f"{name} {value:g} lies"
        raise UsageError(f"--from {path}: {what} outside what is searched ({name} from {low:g} to {high:g}): widen it")
    return min(max(value, low), high)


def enqueue(record: Record, asked: Sequence[Mapping[str, Any]]) -> int:
    """Let the study ask these params next, each once however often the command is given; how many are new."""
    return sum(_enqueue(record, params) for params in asked)


def _enqueue(record: Record, params: Mapping[str, Any]) -> bool:
    waiting = create_trial(state=TrialState.WAITING, system_attrs={FIXED: dict(params)})

    def there(trials: Sequence[FrozenTrial]) -> bool:
        return any(trial.system_attrs.get(FIXED) == dict(params) for trial in trials)

    return record.storage.create_unless(record.study._study_id, waiting, there) is not None
