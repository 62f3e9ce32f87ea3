"""A study: the definition of what is searched, and its file.

`Study` is what a study file defines. `load_study` reads one by shipped name or path. `Study.load` brings its
data to the device as a `LoadedStudy`, the complete value that trainers work on.
"""

import hashlib
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import BaseDistribution
from torch import Tensor, nn

from mtlsearch.augment import Augment, check_augment, described
from mtlsearch.data import Data, Part, Source, Splits, as_input, divide
from mtlsearch.errors import DataError, ModelError, MtlsearchError, StudyError
from mtlsearch.metrics import Metric
from mtlsearch.nn import with_own_dropout
from mtlsearch.space import Config, Space, Value, fixed_value
from mtlsearch.stored import Stored
from mtlsearch.tasks import Classification, Target, Task, labelled

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
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise StudyError(f"each task needs a name of its own, but {twice[0]!r} is there twice")
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
                    f"the model cannot be built from {dict(config)}: {type(error).__name__}: {_one_line(error)}"
                ) from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model must give an nn.Module, but got {type(model).__name__}")
        return with_own_dropout(model)

    def load(self, directory: Path, device: torch.device | str = "cpu") -> "LoadedStudy":
        """The study with its data, checked and divided, on `device`. Raises DataError or ModelError."""
        loaded = _load(self, directory)
        check_outputs(loaded)
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
    def stored(self) -> dict[int, Stored]:
        """The training inputs that are read while training goes on, by the number of their source."""
        inputs = enumerate(splits.train.inputs for splits in self.splits)
        return {number: x for number, x in inputs if isinstance(x, Stored)}

    @property
    def augments(self) -> dict[int, Augment]:
        """What changes the training inputs at random, by the number of their source."""
        return {n: splits.augment for n, splits in enumerate(self.splits) if splits.augment is not None}

    @property
    def reads(self) -> bool:
        """Whether an epoch, of training or validation, reads inputs that are stored, or augments them."""
        stored = any(isinstance(splits.validation.inputs, Stored) for splits in self.splits)
        return bool(self.stored or self.augments) or stored

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
        check_outputs(loaded)
        return loaded

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


def describe(loaded: LoadedStudy) -> dict[str, Any]:
    """What the store and an exported config say of a study, enough to use its models without its data."""
    study = loaded.study
    examples = {task: splits.train.inputs[0] for splits in loaded.splits for task in splits.tasks}
    return {
        "format": "mtlsearch/study/1",
        "source": study.source,
        "source_sha256": source_sha256(study.source) if study.source else None,
        "score": study.score_name,
        "default": dict(study.default),
        "budget": {
            "epochs": study.epochs,
            "patience": study.patience,
            "batch_size": study.batch_size,
            "split_seed": study.split_seed,
        },
        "tasks": {
            task.name: _describe_task(
                task, loaded.targets[task.name], loaded.metrics[task.name], examples[task.name]
            )
            for task in study.tasks
        },
        "fingerprint": loaded.fingerprint(),
        **_describe_text(loaded),
        **_describe_table(study),
    }


def _describe_text(loaded: LoadedStudy) -> dict[str, Any]:
    """How a text becomes the input of every task, where there is one way for all."""
    ways = [splits.text for splits in loaded.splits]
    return {"text": dict(ways[0])} if ways[0] is not None and all(way == ways[0] for way in ways) else {}


def _describe_table(study: Study) -> dict[str, Any]:
    """How a row of a table becomes the input of every task, where there is one way for all."""
    ways = [getattr(task.data, "fitted", None) for task in study.tasks]
    return {"table": ways[0]} if ways[0] is not None and all(way == ways[0] for way in ways) else {}


def _describe_task(task: Task, target: Target, metric: Metric, example: Tensor) -> dict[str, Any]:
    return {
        "kind": task.kind,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "classes": list(target.classes),
        "mean": target.mean.tolist(),
        "std": target.std.tolist(),
        "input_shape": list(example.shape),
        "input_dtype": str(example.dtype).removeprefix("torch."),
        "output_shape": list(task.output_shape(target)),
    }


def load_study(name: str) -> Study:
    """The study that `name` names: a shipped one, or a path to a study file, whose code then runs."""
    path = shipped_studies().get(name, Path(name))
    if not path.is_file():
        if path.suffix == ".py" or "/" in name:
            shipped = ", ".join(shipped_studies())
            raise StudyError(f"no study file {name}: name an existing one, or a shipped study ({shipped})")
        raise StudyError(
            f"no study {name!r}: the shipped ones are {', '.join(shipped_studies())}, or name a file"
        )
    try:
        values = runpy.run_path(str(path))
    except MtlsearchError:
        raise
    except BaseException as error:
        # A study file is the user's code: its SystemExit must not end the command silently.
        if isinstance(error, KeyboardInterrupt):
            raise
        raise StudyError(
            f"study file {path} fails to import: {type(error).__name__}: {_one_line(error)}"
        ) from error
    study = values.get("study")
    if not isinstance(study, Study):
        got = "nothing of that name" if study is None else f"a {type(study).__name__}"
        raise StudyError(f"study file {path} must define `study = Study(...)`, but got {got}")
    return replace(study, source=name if path == shipped_studies().get(name) else str(path.resolve()))


def shipped_studies() -> dict[str, Path]:
    """The files of the shipped studies by name."""
    package = Path(__file__).parent
    # In a checkout that is installed in place, the studies lie beside the package.
    folder = next(path for path in (package / "studies", package.parent / "studies") if path.is_dir())
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("[!_]*.py"))}


def study_name(source: str) -> str:
    """The name in the store of a study from `source`: the shipped name, or the file's stem."""
    return source if source in shipped_studies() else Path(source).stem


def source_sha256(source: str) -> str:
    """The SHA-256 of the file that defines a study."""
    return hashlib.sha256(shipped_studies().get(source, Path(source)).read_bytes()).hexdigest()


def check_outputs(loaded: LoadedStudy) -> None:
    """Run the default model once on two examples and hold its outputs against the tasks. Raises ModelError."""
    study = loaded.study
    config = study.default_config()
    model = study.build(config, seed=0).to(loaded.device).eval()
    inputs = {
        task: as_input(splits.train.inputs[:2], torch.float32)
        for splits in loaded.splits
        for task in splits.tasks
    }
    # A disjoint source is evaluated by itself, so a model must take whichever tasks it is given.
    for splits in loaded.splits:
        _check_given(loaded, model, {task: inputs[task] for task in splits.tasks})
    _check_given(loaded, model, inputs)


def _check_given(loaded: LoadedStudy, model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except MtlsearchError as error:
        raise ModelError(str(error)) from error
    except Exception as error:
        shapes = ", ".join(f"{task} {tuple(x.shape)}" for task, x in inputs.items())
        raise ModelError(
            f"the model fails on inputs {shapes}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    if not isinstance(outputs, Mapping):
        raise ModelError(f"the model must give a dict of outputs by task, but got a {type(outputs).__name__}")
    for task in loaded.study.tasks:
        if task.name in inputs and task.name not in outputs:
            given = ", ".join(outputs) or "none"
            raise ModelError(f"the model must give an output for task {task.name!r}, but gave: {given}")
        if task.name in inputs:
            check_shape(task, loaded.targets[task.name], outputs[task.name], len(inputs[task.name]))


def check_shape(task: Task, target: Target, output: Tensor, rows: int) -> None:
    """Raise ModelError where one task's output [B, ...] of B `rows` does not fit its labels."""
    due = (rows, *task.output_shape(target))
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the model's output for task {task.name!r} must be a tensor, but got a {type(output).__name__}"
        )
    if tuple(output.shape) != due:
        raise ModelError(
            f"the model's output for task {task.name!r} must have the shape {due}, but got {tuple(output.shape)}"
        )


def _load(study: Study, directory: Path) -> LoadedStudy:
    splits, targets = [], {}
    for source, tasks in _by_source(study.tasks):
        data = _data(source, tasks[0].name, directory)
        if not isinstance(data, Data):
            raise DataError(
                f"the data of task {tasks[0].name!r} must be a Data, but got a {type(data).__name__}"
            )
        found = {task.name: task.target(data) for task in tasks}
        splits.append(_split(study, data, tasks, found))
        targets.update(found)
    return LoadedStudy(study, tuple(splits), targets)


def _by_source(tasks: Sequence[Task]) -> list[tuple[Source, list[Task]]]:
    """The tasks of each source; equal sources are one, as TorchvisionImages("MNIST") named twice."""
    groups: list[tuple[Source, list[Task]]] = []
    for task in tasks:
        joint = next((members for source, members in groups if source == task.data), None)
        if joint is None:
            groups.append((task.data, [task]))
        else:
            joint.append(task)
    return groups


def _data(source: Source, task: str, directory: Path) -> Data:
    """What `source` gives; an error in it is the user's to mend, so it is told in one line."""
    try:
        return source(directory)
    except MtlsearchError:
        raise
    except Exception as error:
        raise DataError(
            f"the data of task {task!r} cannot be loaded: {type(error).__name__}: {_one_line(error)}"
        ) from error


def _split(study: Study, data: Data, tasks: Sequence[Task], targets: Mapping[str, Target]) -> Splits:
    """Divide one source and prepare its tasks' labels."""
    strata = next((data.column(data.train, t.name) for t in tasks if isinstance(t, Classification)), None)
    train, validation = divide(
        data, strata if strata is not None and strata.ndim == 1 else None, study.split_seed
    )

    def prepared(part: Part) -> Part:
        return Part(
            part.inputs.contiguous() if isinstance(part.inputs, Tensor) else part.inputs,
            {t.name: t.prepare(data.column(part, t.name), targets[t.name]).contiguous() for t in tasks},
        )

    parts = {"train": prepared(train), "validation": prepared(validation), "test": prepared(data.test)}
    for where, part in parts.items():
        for name, labels in part.labels.items():
            if not bool(labelled(labels).any()):
                raise DataError(f"task {name!r} needs labels in its {where} data, but all are missing")
    return Splits(
        tasks=tuple(task.name for task in tasks),
        **parts,
        sha256={task.name: data.sha256(task.name) for task in tasks},
        text=data.text,
        augment=data.augment,
    )


def _internal(distribution: BaseDistribution, name: str, value: Value) -> float:
    try:
        return distribution.to_internal_repr(value)
    except (ValueError, TypeError):
        raise StudyError(f"default {name}={value!r} lies outside its distribution {distribution}") from None


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
