"""A study: the definition of what is searched.

`Study` is what a study file defines. `Study.load` brings its data to the device as a `LoadedStudy`, the complete
value that trainers work on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import BaseDistribution
from torch import nn

from mtlsearch.data.augment import Augment, check_augment, described
from mtlsearch.data.on_disk import OnDisk
from mtlsearch.data.parts import Part, Splits
from mtlsearch.errors import ModelError, MtlsearchError, StudyError, check_distinct, kind_and_line
from mtlsearch.nn.dropout import with_own_dropout
from mtlsearch.study.loading import check_outputs, load_splits
from mtlsearch.study.space import Config, Space, Value, fixed_value
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.task import Target, Task

Score = Callable[[Mapping[str, float]], float]
SCORES: dict[str, Score] = {
    "mean": lambda values: sum(values.values()) / len(values),
    "min": lambda values: min(values.values()),
}


@dataclass(frozen=True)
class Study:
    """Tasks, model, space, budget and score; and the `default` config that a search starts from.

    `model` is a callable from config to an `nn.Module` that maps {task: input} to {task: output}. `space` gives
    the distributions by hyperparameter; task weights are searched always. `epochs` and `patience` (epochs
    without a better score) bound a trial. `score` is `mean` or `min` over the tasks' metrics, oriented so that
    higher is better, or a callable of {task: value}.
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
    description: str = ""
    needs: str = "its own data"
    source: str = ""
    fixed_weights: Mapping[str, BaseDistribution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names:
            raise StudyError("a study needs one task or more, but tasks is empty")
        check_distinct(names, "each task needs a name of its own", StudyError)
        bad = [name for name in names if not name or not set(name) <= _NAME_CHARACTERS]
        if bad:
            raise StudyError(f"a task's name is made of letters, digits, '_' and '-', but got {bad[0]!r}")
        missing = [name for name in self.space if name not in self.default]
        if missing:
            raise StudyError(
                f"default must hold a value for each dimension of the space, but {missing[0]!r} has none"
            )
        for name, distribution in self.space.items():
            if not isinstance(distribution, BaseDistribution):
                raise StudyError(
                    f"space must hold integer(…), real(…) or choice(…) by name, but {name!r} is {distribution!r}"
                )
            if not distribution._contains(_internal(distribution, name, self.default[name])):
                raise StudyError(
                    f"default {name}={self.default[name]!r} lies outside its distribution {distribution}"
                )
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise StudyError(f"{name} must be a whole number of {least} or more, but got {value!r}")
        if not callable(self.score) and self.score not in SCORES:
            raise StudyError(f"score must be {' or '.join(SCORES)}, or a callable, but got {self.score!r}")

    @property
    def task_names(self) -> list[str]:
        return [task.name for task in self.tasks]

    @property
    def search_space(self) -> Space:
        return Space(self.space, self.task_names, self.fixed_weights)

    @property
    def score_name(self) -> str:
        return self.score if isinstance(self.score, str) else getattr(self.score, "__name__", "score")

    def default_config(self) -> Config:
        """The default hyperparameters with equal task weights."""
        weight = 1 / len(self.tasks)
        config = Config(dict(self.default), dict.fromkeys(self.task_names, weight))
        if not self.fixed_weights:
            return config
        params = self.search_space.params(config)
        params |= {name: fixed_value(distribution) for name, distribution in self.fixed_weights.items()}
        return self.search_space.config(params, self.default)

    def fixed(self, name: str, text: str) -> "Study":
        """The study with dimension `name` of its space fixed at the value that `text` spells."""
        space = self.search_space.fixed(name, text)
        default = dict(self.default)
        if name in self.space:
            default[name] = fixed_value(space.hyperparameters[name])
        return replace(self, space=space.hyperparameters, default=default, fixed_weights=space.fixed_weights)

    def build(self, config: Config, seed: int) -> nn.Module:
        """The model of `config`, initialised from `seed` on the CPU whatever the device."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                model = self.model(config)
            except MtlsearchError:
                raise
            except Exception as error:
                raise ModelError(
                    f"the model cannot be built from {dict(config)}: {kind_and_line(error)}"
                ) from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model must give an nn.Module, but got {type(model).__name__}")
        return with_own_dropout(model)

    def load(self, directory: Path, device: torch.device | str = "cpu") -> "LoadedStudy":
        """The study with its data, checked and divided, on `device`. Raises DataError or ModelError."""
        loaded = LoadedStudy(self, *load_splits(self.tasks, directory, self.split_seed))
        loaded.check_model()
        loaded = replace(loaded, splits=tuple(part.to(torch.device(device)) for part in loaded.splits))
        for number, augment in loaded.augments.items():
            check_augment(augment, loaded.splits[number].train.inputs[:2])
        return loaded


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its data on a device: one `Splits` per source, and what the data say of each task."""

    study: Study
    splits: tuple[Splits, ...]
    targets: Mapping[str, Target]

    @property
    def metrics(self) -> dict[str, Metric]:
        return {task.name: task.metric(self.targets[task.name]) for task in self.study.tasks}

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
        """What changes the training inputs at random, by the number of their source."""
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
        }
        score = self.study.score
        return float(SCORES[score](oriented) if isinstance(score, str) else score(oriented))

    def only(self, task: str) -> "LoadedStudy":
        """The study of one task by itself: its batches alone, and its own metric as the score.

        The model callable is the same; its model is given that task's input alone. Raises ModelError where it
        cannot do with that.
        """
        (kept,) = (each for each in self.study.tasks if each.name == task)
        (splits,) = (each for each in self.splits if task in each.tasks)
        study = replace(self.study, tasks=[kept], score="mean", fixed_weights={})
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
        """What makes two definitions the same study, so that their trials may stand side by side."""
        study = self.study
        model = study.build(study.default_config(), seed=0)
        return {
            "tasks": {
                task.name: {"kind": task.kind, "metric": self.metrics[task.name].name, **task.options}
                for task in study.tasks
            },
            "data": self.sha256,
            "split": {
                "split_seed": study.split_seed,
                "sizes": [[len(s.train), len(s.validation), len(s.test)] for s in self.splits],
            },
            "space": study.search_space.describe(),
            "epochs": study.epochs,
            "patience": study.patience,
            "batch size": study.batch_size,
            "score": study.score_name,
            "model": {name: list(p.shape) for name, p in model.named_parameters()},
            **self._describe_augments(),
        }

    def _describe_augments(self) -> dict[str, Any]:
        """By the first task of each source that has one; a study without any is described as it always was."""
        found = {self.splits[n].tasks[0]: described(augment) for n, augment in self.augments.items()}
        return {"augment": found} if found else {}


def _internal(distribution: BaseDistribution, name: str, value: Value) -> float:
    try:
        return distribution.to_internal_repr(value)
    except (ValueError, TypeError):
        raise StudyError(f"default {name}={value!r} lies outside its distribution {distribution}") from None


_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
