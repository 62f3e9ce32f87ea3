"""A study: the definition of a search, and the same with its data on a device.

A study file defines a `Study`. `Study.load` gives a `LoadedStudy`, the complete value that trainers work on.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from optuna.distributions import BaseDistribution
from torch import nn

from mtlsearch.data.augment import Augment, check_augment, described
from mtlsearch.data.examples.division import WAYS, Way, dividing
from mtlsearch.data.examples.kinds import former_kind
from mtlsearch.data.on_disk import OnDisk
from mtlsearch.data.parts import Part, Splits
from mtlsearch.errors import DataError, ModelError, MtlsearchError, StudyError, check_distinct, kind_and_line
from mtlsearch.limits import LARGEST_SEED, MOST_BATCH, MOST_EPOCHS, check_most
from mtlsearch.nn.dropout import with_own_dropout
from mtlsearch.study.code import code_of, functions_of
from mtlsearch.study.loading import check_outputs, load_splits, unscorable, with_kind
from mtlsearch.study.score import Score, Values
from mtlsearch.study.space import Config, Space, Value, fixed_value
from mtlsearch.study.task_weights import DEFAULT_RANGE, WEIGHT_PREFIX, LogRatios, Simplex, WeightSpace
from mtlsearch.study.units import units_of
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.task import Loss, Target, Task
from mtlsearch.wording import shortened

# The distribution of task weights: log ratios; in studies that were begun before them, uniform on the simplex.
LOG_RATIOS, SIMPLEX = "log ratios", "simplex"
UNSCORABLE = ("refuse", "skip")


@dataclass(frozen=True)
class Study:
    """Tasks, model, space, budget and score; and the `default` config that a search starts from.

    `model` is a callable from config to an `nn.Module` that maps {task: input} to {task: output}. `space` has the
    distributions by hyperparameter; the task weights are always searched too, up to 1 : `weight_range` between two
    tasks. `epochs` and `patience` (epochs without a better score) bound a trial. `score` is `mean` or `min` over the
    tasks' metrics, oriented so that higher is better, a task, weights by task, a callable of {task: value}, or a
    `Score`. `at_least` holds metrics that the best trial must reach, by task; of a metric where lower is better, the
    most that it may be.
    AUROC of one class, is refused when the data are loaded; `unscorable="skip"` trains it and leaves it out of the
    score. `division` says how sources hold out examples: with every task's share of labels ("iterative"), or of the
    first task's classes ("first"), as studies do that were begun by an earlier version. Raises StudyError for a
    definition that cannot work.
    """

    tasks: Sequence[Task]
    model: Callable[[Config], nn.Module]
    space: Mapping[str, BaseDistribution]
    default: Mapping[str, Value]
    epochs: int = 10
    patience: int | None = None
    batch_size: int = 64
    score: str | Mapping[str, float] | Callable[[Values], float] | Score = "mean"
    split_seed: int = 0
    unscorable: Literal["refuse", "skip"] = "refuse"
    division: Way = "iterative"
    description: str = ""
    needs: str = "its own data"
    source: str = ""
    weight_range: float = DEFAULT_RANGE
    at_least: Mapping[str, float] = field(default_factory=dict)
    weight_prior: str = LOG_RATIOS
    fixed_weights: Mapping[str, float] = field(default_factory=dict)  # on the simplex, fixed quantiles

    def __post_init__(self) -> None:
        names = self.task_names
        if not names:
            raise StudyError("a study needs one task or more, but tasks is empty")
        check_distinct(names, "each task needs a name of its own", StudyError)
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise StudyError(f"a task's name is made of letters, digits, '_' and '-', but got {name!r}")
        _check_kinds(self)
        for name, distribution in self.space.items():
            if name not in self.default:
                raise StudyError(f"default needs a value for each dimension of the space, but {name!r} has none")
            _check_default(name, distribution, self.default[name])
        for name, known in (("unscorable", UNSCORABLE), ("division", WAYS)):
            if getattr(self, name) not in known:
                raise StudyError(f"{name} must be {' or '.join(known)}, but got {getattr(self, name)!r}")
        self.scoring.check(names)
        _check_range(self.weight_range)
        _check_at_least(self.at_least, names)

    @property
    def task_names(self) -> list[str]:
        return [task.name for task in self.tasks]

    @property
    def scoring(self) -> Score:
        """The score as a value that computes it."""
        return self.score if isinstance(self.score, Score) else Score(self.score)

    @property
    def score_name(self) -> str:
        return self.scoring.name

    @property
    def scored_tasks(self) -> list[str]:
        """The tasks that count in the score."""
        return list(self.scoring.weights(self.task_names))

    @property
    def auxiliary_tasks(self) -> list[str]:
        """The tasks that neither count in the score nor must reach anything: they may be dropped."""
        needed = {*self.scored_tasks, *self.at_least}
        return [task for task in self.task_names if task not in needed]

    @property
    def weight_space(self) -> WeightSpace:
        """How the task weights are searched."""
        if self.weight_prior == SIMPLEX:
            return Simplex(self.task_names, self.fixed_weights)
        return LogRatios(self.task_names, self.weight_range, self.auxiliary_tasks, self.fixed_weights)

    @property
    def search_space(self) -> Space:
        return Space(self.space, self.weight_space)

    def default_config(self) -> Config:
        """The default hyperparameters with equal task weights, apart from those that are fixed."""
        return Config(dict(self.default), self.weight_space.default())

    def fixed(self, name: str, text: str) -> "Study":
        """The study with dimension `name` of its space fixed at the value in `text`. Raises UsageError."""
        single = self.search_space.single(name, text)
        value = fixed_value(single)
        if name in self.space:
            return replace(self, space={**self.space, name: single}, default={**self.default, name: value})
        assert isinstance(value, float)
        weights = self.weight_space.with_fixed(name.removeprefix(WEIGHT_PREFIX), value)
        return replace(self, fixed_weights=weights.fixed)

    def only(self, task: str) -> "Study":
        """The study of one task by itself, with that task's metric as the score."""
        (kept,) = (each for each in self.tasks if each.name == task)
        return replace(self, tasks=[kept], score="mean", at_least={}, fixed_weights={})

    def build(self, config: Config, seed: int) -> nn.Module:
        """The model of `config`, initialised from `seed` on the CPU. Raises ModelError where it cannot be built."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                model = self.model(config)
            except MtlsearchError:
                raise
            except Exception as error:
                reason = kind_and_line(error)
                raise ModelError(f"the model cannot be built from {dict(config)}: {reason}") from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model must give an nn.Module, but got {type(model).__name__}")
        return with_own_dropout(model)

    def load(
        self,
        directory: Path,
        device: torch.device | str = "cpu",
        units: Mapping[str, float] | None = None,
    ) -> "LoadedStudy":
        """The study with its data, checked and divided, on `device`; the `units` of its losses are measured or given.

        Raises DataError and ModelError, and StudyError for a loss from which no unit can be measured.
        """
        with dividing(self.division):
            splits, targets = load_splits(self.tasks, directory, self.split_seed)
        left_out = unscorable(self.tasks, splits, targets, self.unscorable == "refuse")
        if len(left_out) == len(self.tasks):
            name, why = next(iter(left_out.items()))
            raise DataError(f"no task can be scored, such as {name!r} {why}: hold out more of the data")
        model = self.build(self.default_config(), seed=0).eval()
        loaded = LoadedStudy(self, tuple(with_kind(model, each) for each in splits), targets, left_out=left_out)
        loaded.check_model()
        loaded = replace(loaded, splits=tuple(part.to(torch.device(device)) for part in loaded.splits))
        for number, augment in loaded.augments.items():
            check_augment(augment, loaded.splits[number].train.inputs[:2])
        return replace(loaded, units=loaded.find_units() if units is None else units)


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its data on a device: a `Splits` for each source, the `Target` and the loss's unit of each task."""

    study: Study
    splits: tuple[Splits, ...]
    targets: Mapping[str, Target]
    units: Mapping[str, float] = field(default_factory=dict)  # of a task that is left out, 1
    left_out: Mapping[str, str] = field(default_factory=dict)  # of the score: tasks, with the reason

    @property
    def metrics(self) -> dict[str, Metric]:
        return {task.name: task.metric(self.targets[task.name]) for task in self.study.tasks}

    @property
    def scored(self) -> list[str]:
        """The tasks that count in the score."""
        return [task for task in self.study.task_names if task not in self.left_out]

    @cached_property
    def losses(self) -> dict[str, Loss]:
        """The loss of each task, with what it takes from the training data."""
        return {task.name: task.loss_of(self.targets[task.name], self.device) for task in self.study.tasks}

    @property
    def sha256(self) -> dict[str, str]:
        found = {name: digest for splits in self.splits for name, digest in splits.sha256.items()}
        return {name: found[name] for name in self.study.task_names}

    @property
    def device(self) -> torch.device:
        return self.splits[0].train.inputs.device

    @property
    def on_disk(self) -> dict[int, OnDisk]:
        """The training inputs that are read during training, by the number of their source."""
        inputs = enumerate(splits.train.inputs for splits in self.splits)
        return {number: x for number, x in inputs if isinstance(x, OnDisk)}

    @property
    def augments(self) -> dict[int, Augment]:
        """The augmentations of training inputs, by the number of their source."""
        return {n: splits.augment for n, splits in enumerate(self.splits) if splits.augment is not None}

    @property
    def reads(self) -> bool:
        """Whether an epoch reads inputs from disk, for training or validation, or augments them."""
        validation = any(isinstance(splits.validation.inputs, OnDisk) for splits in self.splits)
        return bool(self.on_disk or self.augments) or validation

    def score(self, values: Mapping[str, Mapping[str, float]]) -> float:
        """The score of {task: {metric: value}}, each metric oriented so that higher is better."""
        signs = {task: 1 if metric.higher_is_better else -1 for task, metric in self.metrics.items()}
        oriented = {
            task: signs[task] * values[task][metric.name]
            for task, metric in self.metrics.items()
            if task not in self.left_out
        }
        return self.study.scoring.value(oriented)

    def shortfalls(self, values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """How far each metric that must reach `at_least` a value is from it; above 0 where it does not."""
        found = {}
        for task, least in self.study.at_least.items():
            metric = self.metrics[task]
            short = (least - values[task][metric.name]) * (1 if metric.higher_is_better else -1)
            found[task] = math.inf if math.isnan(short) else short
        return found

    def find_units(self) -> dict[str, float]:
        """The unit of each task's loss: given, natural or measured. Raises StudyError."""
        study = self.study
        default = study.default_config()
        return units_of(study.tasks, self.splits, lambda seed: study.build(default, seed).to(self.device))

    def only(self, task: str) -> "LoadedStudy":
        """The study of one task by itself, with that task's metric as the score.

        The callable of the model is the same, but its model is given that task's input alone. Raises ModelError where
        it needs more.
        """
        (splits,) = (each for each in self.splits if task in each.tasks)
        parts = (splits.train, splits.validation, splits.test)
        train, validation, test = (Part(part.inputs, {task: part.labels[task]}) for part in parts)
        sha256 = {task: splits.sha256[task]}
        alone = replace(splits, tasks=(task,), train=train, validation=validation, test=test, sha256=sha256)
        units = {task: self.units.get(task, 1.0)}
        loaded = LoadedStudy(self.study.only(task), (alone,), {task: self.targets[task]}, units)
        loaded.check_model()
        return loaded

    def check_model(self) -> None:
        """Raise ModelError unless the default model's outputs fit the tasks."""
        model = self.study.build(self.study.default_config(), seed=0).to(self.device).eval()
        check_outputs(model, self.study.tasks, self.splits, self.targets)

    def fingerprint(self) -> dict[str, Any]:
        """The parts of the definition that two studies must share for their trials to be compared."""
        study = self.study
        model = study.build(study.default_config(), seed=0)
        ranged = study.weight_prior == LOG_RATIOS and len(study.tasks) > 1
        measured = any(unit != 1 for unit in self.units.values())
        augments = {self.splits[n].tasks[0]: described(augment) for n, augment in self.augments.items()}
        kinds = {s.tasks[0]: s.kind for s in self.splits if s.kind not in (None, former_kind(s.train.inputs.dtype))}
        return {
            "tasks": {
                task.name: {"kind": task.kind, "metric": self.metrics[task.name].name, **task.options}
                for task in study.tasks
            },
            "data": self.sha256,
            "split": {
                "split_seed": study.split_seed,
                "sizes": [[len(s.train), len(s.validation), len(s.test)] for s in self.splits],
                **({"way": "iterative"} if any(s.over_all for s in self.splits) else {}),
            },
            "space": study.search_space.describe(),
            "epochs": study.epochs,
            "patience": study.patience,
            "batch size": study.batch_size,
            "score": study.score_name,
            "model": {name: list(p.shape) for name, p in model.named_parameters()},
            # Studies that use none of these were stored without the keys.
            **({"augment": augments} if augments else {}),
            **({"inputs": kinds} if kinds else {}),
            **({"left out of the score": sorted(self.left_out)} if self.left_out else {}),
            **({"weight range": study.weight_range} if ranged else {}),
            **({"units": dict(self.units)} if measured else {}),
            **({"at least": dict(study.at_least)} if study.at_least else {}),
            "code": code_of(functions_of(study.tasks, study.model, study.scoring.of)),
        }


def _check_kinds(study: Study) -> None:
    """Raise StudyError unless what must be a dict or a whole number within its bounds is one."""
    for name in ("space", "default", "at_least"):
        if not isinstance(getattr(study, name), Mapping):
            raise StudyError(f"{name} must be a dict, but got {shortened(repr(getattr(study, name)), 60)}")
    for name in ("epochs", "batch_size", "patience"):
        value = getattr(study, name)
        if value is None and name == "patience":
            continue
        if not isinstance(value, int) or value < 1:
            raise StudyError(f"{name} must be a whole number of 1 or more, but got {shortened(repr(value), 60)}")
        check_most(MOST_BATCH if name == "batch_size" else MOST_EPOCHS, **{name: value})
    if not isinstance(study.split_seed, int) or abs(study.split_seed) > LARGEST_SEED:
        raise StudyError(f"split_seed must be a whole number, but got {shortened(repr(study.split_seed), 60)}")


def _check_range(weight_range: float) -> None:
    number = isinstance(weight_range, int | float) and not isinstance(weight_range, bool)
    if not (number and 1 < weight_range < math.inf):
        raise StudyError(f"weight_range must be a finite number above 1, but got {weight_range!r}")


def _check_at_least(at_least: Mapping[str, float], tasks: Sequence[str]) -> None:
    """Raise StudyError unless the metrics to reach are numbers of known tasks."""
    for task, least in at_least.items():
        if task not in tasks:
            raise StudyError(f"at_least must name tasks of the study ({', '.join(tasks)}), but got {task!r}")
        if isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least):
            raise StudyError(f"at_least must hold finite numbers, but {task!r} has {least!r}")


def _check_default(name: str, distribution: object, value: Value) -> None:
    """Raise StudyError unless a dimension of the space is a distribution that holds its default."""
    if not isinstance(distribution, BaseDistribution):
        raise StudyError(f"space must hold integer(…), real(…) or choice(…) by name, but {name!r} is {distribution!r}")
    try:
        inside = distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        inside = False
    if not inside:
        raise StudyError(f"default {name}={value!r} lies outside its distribution {distribution}")
