"""A study with its data on a device: the complete value that trainers work on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtlsearch.activity import doing, stoppable
from mtlsearch.data.augment import Augment, check_augment, described
from mtlsearch.data.examples.division import dividing
from mtlsearch.data.examples.kinds import former_kind
from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.data.splits import Splits
from mtlsearch.errors import DataError
from mtlsearch.nn.pretrained.shared import frozen_tensors, placed, shared_digest, shared_tensors, tensors_digest
from mtlsearch.study.code import code_of, functions_of
from mtlsearch.study.divisions import Rows, fold_splits, groups_digest, new_rows, redivided, whole
from mtlsearch.study.features import check_frozen, with_features
from mtlsearch.study.loading import check_heads, check_outputs, load_splits, unscorable, with_kind
from mtlsearch.study.study import LOG_RATIOS, Study
from mtlsearch.study.units.task_units import units_of
from mtlsearch.study.units.term_units import term_units
from mtlsearch.study.weights.shared_weights import (
    described_choice,
    label_counts,
)
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.points import Points, read_points
from mtlsearch.tasks.task import Loss, Target
from mtlsearch.wording import EACH, GROUPS, LABELS


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its data on a device: a `Splits` for each source, the `Target` and the loss's unit of each task.

    `points` are those of its terms.
    """

    study: Study
    splits: tuple[Splits, ...]
    targets: Mapping[str, Target]
    units: Mapping[str, float] = field(default_factory=dict)  # of a task that is left out, 1
    left_out: Mapping[str, str] = field(default_factory=dict)  # of the score: tasks, with the reason
    points: tuple[Points, ...] = ()

    def with_features(self, model: nn.Module, device: torch.device) -> "LoadedStudy":
        """The study on the features of its frozen modules, where it has some that take the inputs as they are.

        `model` is the default one. Raises StudyError where what trials share depends on the seed.
        """
        study = self.study
        if not shared_tensors(model):
            return self
        default, of_features = study.default_config(), replace(study, fed=tensors_digest(frozen_tensors(model)))
        check_frozen(model, study.build(default, seed=1))
        if study.terms or not of_features.fed:  # terms call the model with points of their own
            return self
        splits = with_features(self.splits, model, of_features.build(default, seed=0).eval(), device)
        return self if splits is None else replace(self, study=of_features, splits=splits)

    @cached_property
    def batched(self) -> tuple[Splits | Points, ...]:
        """What a step draws a batch from, each: the sources of the tasks, and the points of the terms."""
        trained = {task.name for task in self.study.tasks}
        return (*(splits for splits in self.splits if trained & {*splits.tasks}), *self.points)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        return {task.name: task.metric(self.targets[task.name]) for task in self.study.measured}

    @property
    def scored(self) -> list[str]:
        """The tasks that count in the score."""
        return [task for task in self.study.task_names if task not in self.left_out]

    @cached_property
    def losses(self) -> dict[str, Loss]:
        """The loss of each task, with what it takes from the training data."""
        return {task.name: task.loss_of(self.targets[task.name], self.device) for task in self.study.tasks}

    @cached_property
    def folds(self) -> tuple["LoadedStudy", ...]:
        """The study on each fold of its train and validation examples, which share their memory; none without folds."""
        study = self.study
        if study.folds is None:
            return ()
        found = fold_splits(study.tasks, self.splits, self.targets, study.folds, study.split_seed)
        return tuple(replace(self.unfolded, splits=splits) for splits in found)

    @property
    def unfolded(self) -> "LoadedStudy":
        """The study on its one division."""
        return replace(self, study=replace(self.study, folds=None))

    @property
    def whole(self) -> "LoadedStudy":
        """The study that trains on train and validation together; its validation part then tells nothing."""
        return replace(self.unfolded, splits=whole(self.splits))

    def redivided(self, seed: int) -> "LoadedStudy":
        """The study with all its examples dealt anew to train, validation and test."""
        return self.with_rows(new_rows(self.study.tasks, self.splits, seed))

    def with_rows(self, rows: Sequence[Rows]) -> "LoadedStudy":
        """The study with these rows of each source in its parts. Raises DataError for a task that cannot be scored."""
        study, splits = self.study, redivided(self.splits, rows)
        found = unscorable(study.tasks, splits, self.targets, refuse=False)
        wrong = [f"task {task!r} cannot be scored {why}" for task, why in found.items() if task not in self.left_out]
        if wrong:
            raise DataError(f"in a new division of the data {wrong[0]}: --resplit 0 keeps the one division")
        return replace(self.unfolded, splits=splits)

    def with_scorable_folds(self) -> "LoadedStudy":
        """The study whose score leaves out the tasks that a fold cannot score. Raises DataError for a refused one."""
        study, left_out = self.study, dict(self.left_out)
        for number, fold in enumerate(self.folds):
            try:
                found = unscorable(study.tasks, fold.splits, self.targets, study.unscorable == "refuse")
            except DataError as error:
                raise DataError(f"fold {number + 1} of {study.folds}: {error}; or use fewer folds") from None
            left_out = {**found, **left_out}
        return self if left_out == self.left_out else replace(self, left_out=left_out)

    @property
    def sha256(self) -> dict[str, str]:
        sources: tuple[Splits | Points, ...] = (*self.splits, *self.points)
        found = {name: digest for source in sources for name, digest in source.sha256.items()}
        return {name: found[name] for name in dict.fromkeys([*self.study.task_names, *self.study.weighted])}

    @property
    def device(self) -> torch.device:
        return self.splits[0].train.inputs.device

    @property
    def on_disk(self) -> dict[int, OnDisk]:
        """The training inputs that are read during training, by the number of their source."""
        inputs = enumerate(source.train.augmented_from for source in self.batched)
        return {number: x for number, x in inputs if isinstance(x, OnDisk)}

    @property
    def augments(self) -> dict[int, Augment]:
        """The augmentations of training inputs, by the number of their source."""
        return {n: source.augment for n, source in enumerate(self.batched) if source.augment is not None}

    @property
    def drawn(self) -> dict[int, Points]:
        """The points that are drawn anew each epoch, by their number among what is batched."""
        return {n: source for n, source in enumerate(self.batched) if isinstance(source, Points) and source.draw}

    @property
    def reads(self) -> bool:
        """Whether an epoch reads inputs from disk, for training or validation, augments them, or draws points."""
        validation = any(isinstance(splits.validation.inputs, OnDisk) for splits in self.splits)
        return bool(self.on_disk or self.augments or self.drawn) or validation

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
        """The unit of each task's and term's loss: given, natural or measured. Raises StudyError."""
        study = self.study
        default = study.default_config()

        def build(seed: int) -> nn.Module:
            return placed(study.build(default, seed), self.device)

        return {**units_of(study.tasks, self.splits, build), **term_units(study.terms, self.points, build)}

    def only(self, *tasks: str) -> "LoadedStudy":
        """The study of some of its tasks by themselves, scored as before on those; one by its metric.

        The callable of the model is the same, but its model is given those tasks' inputs alone. Raises ModelError where
        it needs more.
        """
        splits = [_of_tasks(each, tasks) for each in self.splits if any(task in each.tasks for task in tasks)]
        study = self.study.only(*tasks)
        units = {task: self.units.get(task, 1.0) for task in study.task_names}
        left_out = {task: why for task, why in self.left_out.items() if task in tasks}
        targets = {task: self.targets[task] for task in study.task_names}
        loaded = LoadedStudy(study, tuple(splits), targets, units, left_out)
        loaded.check_model()
        return loaded

    def check_model(self) -> None:
        """Raise ModelError unless the default model's outputs fit the tasks."""
        model = placed(self.study.build(self.study.default_config(), seed=0), self.device).eval()
        check_outputs(model, self.study.measured, self.splits, self.targets)

    def fingerprint(self) -> dict[str, Any]:
        """The parts of the definition that two studies must share for their trials to be compared."""
        study = self.study
        model = replace(study, fed="").build(study.default_config(), seed=0)
        ranged = study.weight_prior == LOG_RATIOS and len(study.weighted) > 1
        measured = any(unit != 1 for unit in self.units.values())
        augments = {self.batched[n].tasks[0]: described(augment) for n, augment in self.augments.items()}
        inputs = {splits.tasks[0]: splits.inputs_given for splits in self.splits}
        kinds = {task: x.kind for task, x in inputs.items() if x.kind not in (None, former_kind(x.dtype))}
        shared = shared_digest(model)
        groups = groups_digest(self.splits)
        return {
            "tasks": {
                task.name: {"kind": task.kind, "metric": self.metrics[task.name].name, **task.options}
                for task in study.measured
            },
            "data": self.sha256,
            "split": {
                "split_seed": study.split_seed,
                "sizes": [[len(s.train), len(s.validation), len(s.test)] for s in self.splits],
                **({"way": "iterative"} if any(s.over_all for s in self.splits) else {}),
                **({} if groups is None else {"groups": groups}),
            },
            "space": study.search_space.describe(),
            "epochs": study.epochs,
            "patience": study.patience,
            "batch size": study.batch_size,
            "score": study.score_name,
            "model": {name: list(p.shape) for name, p in model.named_parameters()},
            # Studies that use none of these were stored without the keys.
            **({"terms": [term.name for term in study.terms]} if study.terms else {}),
            **({"augment": augments} if augments else {}),
            **({"pretrained": shared} if shared else {}),
            **({"inputs": kinds} if kinds else {}),
            **({"left out of the score": sorted(self.left_out)} if self.left_out else {}),
            **({"weight range": study.weight_range} if ranged else {}),
            **({} if study.weights_choice == EACH else {"weights": described_choice(study.weights_choice)}),
            **({"units": dict(self.units)} if measured else {}),
            **({"at least": dict(study.at_least)} if study.at_least else {}),
            **({} if study.folds is None else {"folds": study.folds}),
            "code": code_of(functions_of([*study.measured, *study.terms], study.model, study.scoring.of)),
        }


@stoppable()
def load_data(
    study: Study,
    directory: Path,
    device: torch.device | str = "cpu",
    units: Mapping[str, float] | None = None,
) -> "LoadedStudy":
    """The study with its data, checked and divided, on `device`; the `units` of its losses are measured or given.

    Raises DataError and ModelError, and StudyError for a loss from which no unit can be measured.
    """
    with dividing(study.division):
        splits, targets = load_splits(study.measured, directory, study.split_seed)
    points = read_points({term.name: term.points for term in study.terms})
    with doing("checking the model on the data"):
        return _checked(study, splits, targets, points, torch.device(device), units)


def _checked(
    study: Study,
    splits: tuple[Splits, ...],
    targets: Mapping[str, Target],
    points: tuple[Points, ...],
    device: torch.device,
    units: Mapping[str, float] | None,
) -> "LoadedStudy":
    """The study with these parts of its data, as `load_data` gives it."""
    left_out = unscorable(study.measured, splits, targets, study.unscorable == "refuse")
    if len(left_out) == len(study.measured):
        name, why = next(iter(left_out.items()))
        raise DataError(f"no task can be scored, such as {name!r} {why}: hold out more of the data")
    model = study.build(study.default_config(), seed=0).eval()
    check_heads(model, [*study.task_names, *study.spare_heads])
    if study.weights_choice in (LABELS, GROUPS):
        study = replace(study, label_counts=label_counts(study.tasks, splits))
    loaded = LoadedStudy(
        study, tuple(with_kind(model, each) for each in splits), targets, left_out=left_out, points=points
    )
    study.scoring.check_metrics({task: metric.higher_is_better for task, metric in loaded.metrics.items()})
    loaded.check_model()
    loaded = loaded.with_features(model, device)
    loaded = replace(
        loaded,
        splits=tuple(part.to(device) for part in loaded.splits),
        points=tuple(each.to(device) for each in points),
    )
    for number, augment in loaded.augments.items():
        check_augment(augment, loaded.batched[number].train.augmented_from[:2])
    loaded = replace(loaded, units=loaded.find_units() if units is None else units)
    return loaded if study.folds is None else loaded.with_scorable_folds()


def _of_tasks(splits: Splits, tasks: Sequence[str]) -> Splits:
    """The splits of one source with the labels of some of its tasks."""
    kept = tuple(task for task in splits.tasks if task in tasks)
    parts = (splits.train, splits.validation, splits.test)
    train, validation, test = (replace(part, labels={task: part.labels[task] for task in kept}) for part in parts)
    sha256 = {task: splits.sha256[task] for task in kept}
    return replace(splits, tasks=kept, train=train, validation=validation, test=test, sha256=sha256)
