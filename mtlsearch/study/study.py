"""A study: the definition of a search, and the same with its data on a device.

A study file defines a `Study`. `Study.load` gives a `LoadedStudy`, the complete value that trainers work on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from optuna.distributions import BaseDistribution
from torch import nn

from mtlsearch.activity import doing, stoppable
from mtlsearch.data.augment import Augment, check_augment, described
from mtlsearch.data.examples.division import WAYS, Way, dividing
from mtlsearch.data.examples.kinds import former_kind
from mtlsearch.data.on_disk import OnDisk
from mtlsearch.data.parts import Splits
from mtlsearch.errors import DataError, ModelError, MtlsearchError, StudyError, check_distinct, kind_and_line
from mtlsearch.nn.batched.replacing import batchable
from mtlsearch.nn.norms import with_live_norms
from mtlsearch.nn.plain import Plain
from mtlsearch.nn.pretrained.frozen import fed, with_own_frozen
from mtlsearch.nn.pretrained.shared import frozen_tensors, placed, shared_digest, shared_tensors, tensors_digest
from mtlsearch.nn.widening import Widenable, width_dimension
from mtlsearch.study.checks import (
    check_at_least,
    check_default,
    check_folds,
    check_kinds,
    check_mapping,
    check_name,
    check_range,
    check_seed,
    check_size,
)
from mtlsearch.study.code import code_of, functions_of
from mtlsearch.study.divisions import Rows, fold_splits, groups_digest, new_rows, redivided, whole
from mtlsearch.study.features import check_frozen, with_features
from mtlsearch.study.loading import check_heads, check_outputs, load_splits, unscorable, with_kind
from mtlsearch.study.score import Score, Values
from mtlsearch.study.space import Config, Space, Value, fixed_value
from mtlsearch.study.units.task_units import units_of
from mtlsearch.study.units.term_units import term_units
from mtlsearch.study.weights.shared_weights import (
    MANY,
    MOST_EACH,
    EqualWeights,
    GroupWeights,
    PowerOfLabels,
    by_labels,
    check_weights_choice,
    described_choice,
    label_counts,
    of_groups,
)
from mtlsearch.study.weights.task_weights import DEFAULT_RANGE, WEIGHT_PREFIX, LogRatios, Simplex, WeightSpace
from mtlsearch.tasks.evaluation import Evaluation
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.points import Points, read_points
from mtlsearch.tasks.task import Loss, Target, Task
from mtlsearch.tasks.term import Term
from mtlsearch.wording import AUTO, EACH, EQUAL, GROUPS, LABELS

# The distribution of task weights: log ratios; in studies that were begun before them, uniform on the simplex.
LOG_RATIOS, SIMPLEX = "log ratios", "simplex"
UNSCORABLE = ("refuse", "skip")
REFUSED_NAMES = ("module name can", "already exists")  # of a ModuleDict's errors


@dataclass(frozen=True)
class Study:
    """Tasks, model, space, budget and score; and the `default` config that a search starts from.

    `model` is a callable from config to an `nn.Module` that maps {task: input} to {task: output}. `space` has the
    distributions by hyperparameter; the task weights are always searched too, up to 1 : `weight_range` between two
    tasks. `epochs` and `patience` (epochs without a better score) bound a trial. `score` is `mean` or `min` over the
    tasks' metrics, oriented so that higher is better, a task, weights by task, a callable of {task: value}, or a
    `Score`. `at_least` holds metrics that the best trial must reach, by task; of a metric where lower is better, the
    most that it may be. With `folds` each trial is cross-validated on train and validation together: it trains once for
    each fold, is scored on that fold, and its score is the mean. A task that its validation or test data cannot score,
    such as an AUROC of one class, is refused when the data are loaded; `unscorable="skip"` trains it and leaves it out
    of the score. `division` says how sources hold out examples: with every task's share of labels ("iterative"), or of
    the first task's classes ("first"), as studies do that were begun by an earlier version. `spare_heads` names heads
    of the model that are no task's, which is else taken for a slip.

    `weights` says how the task weights are searched: "each" by itself; "equal", not at all; "labels", as the number of
    a task's labels to a searched power; "groups", one weight for each quarter of the tasks by their number of labels;
    or groups of your own, {name: [task, …]}. "auto" takes each, and equal weights of more than 20 tasks.

    `terms` have a loss and a weight, but no metric; `evaluations` have a metric, which counts in the score, but no
    loss. The model of a study without tasks takes a tensor and gives one: its terms call it as they like, and its
    evaluations with their inputs. Raises StudyError where a definition cannot work.
    """

    tasks: Sequence[Task] = ()
    _: KW_ONLY
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
    weights: str | Mapping[str, Sequence[str]] = AUTO
    at_least: Mapping[str, float] = field(default_factory=dict)
    spare_heads: Sequence[str] = ()
    weight_prior: str = LOG_RATIOS
    fixed_weights: Mapping[str, float] = field(default_factory=dict)  # on the simplex, fixed quantiles
    weight_bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of log ratios, by dimension
    folds: int | None = None
    terms: Sequence[Term] = ()
    evaluations: Sequence[Evaluation] = ()
    fed: str = ""  # the digest of the frozen modules whose features models take, as `LoadedStudy` has them
    label_counts: Mapping[str, float] = field(default_factory=dict)  # of the training data; `load` fills them in

    def __post_init__(self) -> None:
        names = self.task_names
        check_kinds(self.tasks, self.terms, self.evaluations)
        every = [*names, *(term.name for term in self.terms)]
        check_distinct(every, "each task needs a name of its own", StudyError)
        for name in every:
            check_name(name)
        for name in ("space", "default", "at_least"):
            check_mapping(name, getattr(self, name))
        for name, distribution in self.space.items():
            if name not in self.default:
                raise StudyError(f"default needs a value for each dimension of the space, but {name!r} has none")
            check_default(name, distribution, self.default[name])
        for name in ("epochs", "batch_size", "patience"):
            if name != "patience" or self.patience is not None:
                check_size(name, getattr(self, name))
        check_seed(self.split_seed)
        check_folds(self.folds)
        if self.folds is not None and (self.terms or self.evaluations):
            raise StudyError(
                "folds divide labelled examples to train and to validate, which points and evaluations are not: leave"
                " folds out of a study with terms or evaluations"
            )
        for name, known in (("unscorable", UNSCORABLE), ("division", WAYS)):
            if getattr(self, name) not in known:
                raise StudyError(f"{name} must be {' or '.join(known)}, but got {getattr(self, name)!r}")
        self.scoring.check(names)
        check_range(self.weight_range)
        check_weights_choice(self.weights, [task.name for task in self.tasks], [term.name for term in self.terms])
        check_at_least(self.at_least, names)

    @cached_property
    def measured(self) -> list[Task]:
        """What has a metric: the tasks, and the evaluations."""
        return [*self.tasks, *(each.task for each in self.evaluations)]

    @property
    def task_names(self) -> list[str]:
        """The names of what has a metric."""
        return [task.name for task in self.measured]

    @property
    def weighted(self) -> list[str]:
        """The names of what has a loss, and so a weight: the tasks, and the terms."""
        return [*(task.name for task in self.tasks), *(term.name for term in self.terms)]

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
        return [task.name for task in self.tasks if task.name not in needed]

    @property
    def weight_space(self) -> WeightSpace:
        """How the task weights are searched."""
        if self.weight_prior == SIMPLEX:
            return Simplex(self.weighted, self.fixed_weights)
        names, choice = self.weighted, self.weights_choice
        if len(names) > 1 and choice != EACH and not self.fixed_weights:
            if choice == EQUAL:
                return EqualWeights(names)
            if choice == LABELS:
                return PowerOfLabels(names, self.label_counts)
            groups = by_labels(names, self.label_counts) if isinstance(choice, str) else choice
            return GroupWeights(names, groups, self.weight_range)
        return LogRatios(self.weighted, self.weight_range, self.auxiliary_tasks, self.fixed_weights, self.weight_bounds)

    @property
    def weights_choice(self) -> str | Mapping[str, Sequence[str]]:
        """How the task weights are searched, with what "auto" stands for: one for each, unless they are many.

        Where the space holds nothing else, there is a weight for each whatever their number.
        """
        if self.weights != AUTO:
            return self.weights
        return EACH if len(self.weighted) <= MOST_EACH or self.terms or not self.space else MANY

    @property
    def search_space(self) -> Space:
        return Space(self.space, self.weight_space)

    def default_config(self) -> Config:
        """The default hyperparameters with equal task weights, apart from those that are fixed."""
        return Config(dict(self.default), self.weight_space.default())

    def fixed(self, name: str, text: str) -> "Study":
        """The study with dimension `name` of its space fixed at the value in `text`. Raises UsageError."""
        name, text = self.search_space.parted(name, text)
        single = self.search_space.single(name, text)
        value = fixed_value(single)
        if name in self.space:
            return replace(self, space={**self.space, name: single}, default={**self.default, name: value})
        assert isinstance(value, float)
        weights = self.weight_space.with_fixed(name.removeprefix(WEIGHT_PREFIX), value)
        return replace(self, fixed_weights=weights.fixed)

    def only(self, *tasks: str) -> "Study":
        """The study of some of its tasks by themselves, scored as before on those; its model may have all heads.

        One task is scored by its metric. Raises StudyError for a task that the study has not.
        """
        names = [task.name for task in self.tasks]
        unknown = [task for task in tasks if task not in names]
        if unknown or not tasks:
            got = repr(unknown[0]) if unknown else "none"
            raise StudyError(f"only() must name tasks of the study ({', '.join(names)}), but got {got}")
        kept = [task for task in self.tasks if task.name in tasks]
        others = [name for name in self.task_names if name not in tasks]
        several = len(kept) > 1
        return replace(
            self,
            tasks=kept,
            terms=(),
            evaluations=(),
            score=self.scoring.of_tasks(tasks) if several else "mean",
            at_least={task: least for task, least in self.at_least.items() if task in tasks} if several else {},
            fixed_weights={},
            weights=of_groups(self.weights, [task.name for task in kept]),
            weight_bounds={},
            spare_heads=[*self.spare_heads, *others],
        )

    def build(self, config: Config, seed: int) -> nn.Module:
        """The model of `config` as it is trained, initialised from `seed` on the CPU. Raises ModelError."""
        own = self.own(config, seed)
        if self.fed and tensors_digest(frozen_tensors(own)) != self.fed:
            raise StudyError(
                f"a frozen module must be the same in every trial, but that of {dict(config)} is not the default's:"
                " make it once, outside the function that makes the model"
            )
        model = batchable(fed(own) if self.fed else with_own_frozen(own))
        if isinstance(model, Widenable) and width_dimension(model) in self.space:
            model = with_live_norms(model)
        return model if self.tasks else Plain(model)

    def own(self, config: Config, seed: int) -> nn.Module:
        """The model as the study's own code makes it. Raises ModelError where it cannot be built."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                model = self.model(config)
            except MtlsearchError:
                raise
            except Exception as error:
                reason = kind_and_line(error)
                if isinstance(error, KeyError) and any(refused in reason for refused in REFUSED_NAMES):
                    reason += " (mtlsearch.TaskModules takes any name)"
                raise ModelError(f"the model cannot be built from {dict(config)}: {reason}") from error
        if not isinstance(model, nn.Module):
            raise StudyError(f"model must give an nn.Module, but got {type(model).__name__}")
        return model

    @stoppable()
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
            splits, targets = load_splits(self.measured, directory, self.split_seed)
        points = read_points({term.name: term.points for term in self.terms})
        with doing("checking the model on the data"):
            return self._checked(splits, targets, points, device, units)

    def _checked(
        self,
        splits: tuple[Splits, ...],
        targets: Mapping[str, Target],
        points: tuple[Points, ...],
        device: torch.device | str,
        units: Mapping[str, float] | None,
    ) -> "LoadedStudy":
        """The study with these parts of its data, as `load` gives it."""
        left_out = unscorable(self.measured, splits, targets, self.unscorable == "refuse")
        if len(left_out) == len(self.measured):
            name, why = next(iter(left_out.items()))
            raise DataError(f"no task can be scored, such as {name!r} {why}: hold out more of the data")
        model = self.build(self.default_config(), seed=0).eval()
        check_heads(model, [*self.task_names, *self.spare_heads])
        counted = self.weights_choice in (LABELS, GROUPS)
        study = replace(self, label_counts=label_counts(self.tasks, splits)) if counted else self
        loaded = LoadedStudy(
            study, tuple(with_kind(model, each) for each in splits), targets, left_out=left_out, points=points
        )
        loaded.check_model()
        loaded = loaded.with_features(model, torch.device(device))
        loaded = replace(
            loaded,
            splits=tuple(part.to(torch.device(device)) for part in loaded.splits),
            points=tuple(each.to(torch.device(device)) for each in points),
        )
        for number, augment in loaded.augments.items():
            check_augment(augment, loaded.batched[number].train.augmented_from[:2])
        loaded = replace(loaded, units=loaded.find_units() if units is None else units)
        return loaded if self.folds is None else loaded.with_scorable_folds()


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


def _of_tasks(splits: Splits, tasks: Sequence[str]) -> Splits:
    """The splits of one source with the labels of some of its tasks."""
    kept = tuple(task for task in splits.tasks if task in tasks)
    parts = (splits.train, splits.validation, splits.test)
    train, validation, test = (replace(part, labels={task: part.labels[task] for task in kept}) for part in parts)
    sha256 = {task: splits.sha256[task] for task in kept}
    return replace(splits, tasks=kept, train=train, validation=validation, test=test, sha256=sha256)
