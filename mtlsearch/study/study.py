"""A study: the definition of a search, as a study file writes it. `loaded` adds its data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from optuna.distributions import BaseDistribution
from torch import nn

from mtlsearch.data.examples.division import WAYS, Way
from mtlsearch.errors import ModelError, MtlsearchError, StudyError, check_distinct, kind_and_line
from mtlsearch.nn.batched.replacing import batchable
from mtlsearch.nn.norms import with_live_norms
from mtlsearch.nn.plain import Plain
from mtlsearch.nn.pretrained.frozen import fed, with_own_frozen
from mtlsearch.nn.pretrained.shared import frozen_tensors, tensors_digest
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
from mtlsearch.study.score import Score, Values
from mtlsearch.study.space import Config, Space, Value, fixed_value
from mtlsearch.study.weights.shared_weights import (
    MANY,
    MOST_EACH,
    EqualWeights,
    GroupWeights,
    PowerOfLabels,
    by_labels,
    check_weights_choice,
    of_groups,
)
from mtlsearch.study.weights.task_weights import DEFAULT_RANGE, WEIGHT_PREFIX, LogRatios, Simplex, WeightSpace
from mtlsearch.tasks.evaluation import Evaluation
from mtlsearch.tasks.task import Task
from mtlsearch.tasks.term import Term
from mtlsearch.wording import AUTO, EACH, EQUAL, LABELS

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
    or groups of your own, {name: [task, …]}. "auto" takes each, and equal weights of more than 8 tasks.

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
