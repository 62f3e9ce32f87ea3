"""A study: the definition of a search, and the same with its data on a device.

A study file defines a `Study`. `Study.load` gives a `LoadedStudy`, the complete value that trainers work on.
"""

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
from mtlsearch.nn.dropout import with_own_dropout
from mtlsearch.study.loading import check_outputs, load_splits, unscorable, with_kind
from mtlsearch.study.space import Config, Space, Value, fixed_value
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.task import Loss, Target, Task

Score = Callable[[Mapping[str, float]], float]
UNSCORABLE = ("refuse", "skip")
SCORES: dict[str, Score] = {
    "mean": lambda values: sum(values.values()) / len(values),
    "min": lambda values: min(values.values()),
}


@dataclass(frozen=True)
class Study:
    """Tasks, model, space, budget and score; and the `default` config that a search starts from.

    `model` is a callable from config to an `nn.Module` that maps {task: input} to {task: output}. `space` has the
    distributions by hyperparameter; the task weights are always searched too. `epochs` and `patience` (epochs without
    a better score) bound a trial. `score` is `mean` or `min` over the tasks' metrics, oriented so that higher is
    better, or a callable of {task: value}. A task that cannot be scored on its validation or test data, such as an
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
    score: str | Score = "mean"
    split_seed: int = 0
    unscorable: Literal["refuse", "skip"] = "refuse"
    division: Way = "iterative"
    description: str = ""
    needs: str = "its own data"
    source: str = ""
    fixed_quantiles: Mapping[str, BaseDistribution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.task_names
        if not names:
            raise StudyError("a study needs one task or more, but tasks is empty")
        check_distinct(names, "each task needs a name of its own", StudyError)
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise StudyError(f"a task's name is made of letters, digits, '_' and '-', but got {name!r}")
        for name, distribution in self.space.items():
            if name not in self.default:
                raise StudyError(f"default needs a value for each dimension of the space, but {name!r} has none")
            _check_default(name, distribution, self.default[name])
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise StudyError(f"{name} must be a whole number of 1 or more, but got {value!r}")
        for name, known in (("unscorable", UNSCORABLE), ("division", WAYS)):
            if getattr(self, name) not in known:
                raise StudyError(f"{name} must be {' or '.join(known)}, but got {getattr(self, name)!r}")
        if not callable(self.score) and self.score not in SCORES:
            raise StudyError(f"score must be {' or '.join(SCORES)}, or a callable, but got {self.score!r}")

    @property
    def task_names(self) -> list[str]:
        return [task.name for task in self.tasks]

    @property
    def search_space(self) -> Space:
        return Space(self.space, self.task_names, self.fixed_quantiles)

    @property
    def score_name(self) -> str:
        return self.score if isinstance(self.score, str) else getattr(self.score, "__name__", "score")

    def default_config(self) -> Config:
        """The default hyperparameters with equal task weights."""
        weight = 1 / len(self.tasks)
        config = Config(dict(self.default), dict.fromkeys(self.task_names, weight))
        if not self.fixed_quantiles:
            return config
        params = self.search_space.params(config)
        params |= {name: fixed_value(distribution) for name, distribution in self.fixed_quantiles.items()}
        return self.search_space.config(params, self.default)

    def fixed(self, name: str, text: str) -> "Study":
        """The study with dimension `name` of its space fixed at the value in `text`. Raises UsageError."""
        space = self.search_space.fixed(name, text)
        default = dict(self.default)
        if name in self.space:
            default[name] = fixed_value(space.hyperparameters[name])
        return replace(self, space=space.hyperparameters, default=default, fixed_quantiles=space.fixed_quantiles)

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

    def load(self, directory: Path, device: torch.device | str = "cpu") -> "LoadedStudy":
        """The study with its data, checked and divided, on `device`. Raises DataError and ModelError."""
        with dividing(self.division):
            splits, targets = load_splits(self.tasks, directory, self.split_seed)
        left_out = unscorable(self.tasks, splits, targets, self.unscorable == "refuse")
        if len(left_out) == len(self.tasks):
            name, why = next(iter(left_out.items()))
            raise DataError(f"no task can be scored, such as {name!r} {why}: hold out more of the data")
        model = self.build(self.default_config(), seed=0).eval()
        loaded = LoadedStudy(self, tuple(with_kind(model, each) for each in splits), targets, left_out)
        loaded.check_model()
        loaded = replace(loaded, splits=tuple(part.to(torch.device(device)) for part in loaded.splits))
        for number, augment in loaded.augments.items():
            check_augment(augment, loaded.splits[number].train.inputs[:2])
        return loaded


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its data on a device: a `Splits` for each source, and the `Target` of each task."""

    study: Study
    splits: tuple[Splits, ...]
    targets: Mapping[str, Target]
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
        oriented = {
            task: values[task][metric.name] * (1 if metric.higher_is_better else -1)
            for task, metric in self.metrics.items()
            if task not in self.left_out
        }
        score = self.study.score
        return float(SCORES[score](oriented) if isinstance(score, str) else score(oriented))

    def only(self, task: str) -> "LoadedStudy":
        """The study of one task by itself, with that task's metric as the score.

        The callable of the model is the same, but its model is given that task's input alone. Raises ModelError where
        it needs more.
        """
        (kept,) = (each for each in self.study.tasks if each.name == task)
        (splits,) = (each for each in self.splits if task in each.tasks)
        study = replace(self.study, tasks=[kept], score="mean", fixed_quantiles={})
        parts = (splits.train, splits.validation, splits.test)
        train, validation, test = (Part(part.inputs, {task: part.labels[task]}) for part in parts)
        sha256 = {task: splits.sha256[task]}
        alone = replace(splits, tasks=(task,), train=train, validation=validation, test=test, sha256=sha256)
        loaded = LoadedStudy(study, (alone,), {task: self.targets[task]})
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
            # Studies without any, and those of earlier versions, were stored without these keys.
            **({"augment": augments} if augments else {}),
            **({"inputs": kinds} if kinds else {}),
            **({"left out of the score": sorted(self.left_out)} if self.left_out else {}),
        }


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
