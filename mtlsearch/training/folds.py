"""Cross-validation: a trial is a member of one trainer for each fold, and its result is the mean over the folds.

The folds' trainers are solo or populations, which know nothing of each other. Members of one trial enter and leave all
of them together, so pruning and early stopping act on the mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from torch import Tensor

from mtlsearch.errors import StudyError
from mtlsearch.nn.pretrained.shared import own_state
from mtlsearch.study.results import EpochResult, FoldValues, Metrics, TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.training.kept import Kept, of_prefix, under
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Trainer, Training

MakeTrainer = Callable[[Training], Trainer]


def search_trainer(make: MakeTrainer, training: Training, shares: bool = False) -> Trainer:
    """The trainer of a search, made by `make`: one for each fold where the study has folds.

    Where it `shares`, one population trains all of them, whose lanes hold members of any fold.
    """
    if not training.loaded.folds:
        return make(training)
    if shares:
        population = Shared(make(in_lanes(training)), len(training.loaded.folds))
        return FoldTrainer(training, [OfFold(population, fold) for fold in range(population.folds)])
    return FoldTrainer(training, [make(replace(training, loaded=fold)) for fold in training.loaded.folds])


class FoldTrainer:
    """Trains each trial on every fold, by the trainers `of_folds`, an epoch of all folds at a time."""

    def __init__(self, training: Training, of_folds: Sequence[Trainer]) -> None:
        self.training, self.of_folds = training, of_folds
        self.progress: dict[int, TrialProgress] = {}
        self.best: dict[int, FoldValues] = {}

    @property
    def kind(self) -> str:
        return f"{len(self.of_folds)} folds, {self.of_folds[0].kind}"

    def room(self) -> int:
        return min(trainer.room() for trainer in self.of_folds)

    def entry(self) -> int:
        return self.of_folds[0].entry()

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        entries = {trainer.add(number, config, entry_epoch=entry_epoch, seed=seed) for trainer in self.of_folds}
        (entry,) = entries  # all have trained the same epochs
        self.progress[number] = self.training.progress(number, entry)
        return entry

    def advance(self) -> list[EpochResult]:
        by_fold = [{result.number: result for result in trainer.advance()} for trainer in self.of_folds]
        return [self._together(number, [results[number] for results in by_fold]) for number in self.progress]

    def _together(self, number: int, results: Sequence[EpochResult]) -> EpochResult:
        """The result of a trial's epoch from those of its folds; it fails where one of them does."""
        progress = self.progress[number]
        for fold, result in enumerate(results):
            if result.reason is not None:
                return progress.fail(f"{result.reason} of fold {fold + 1}")
        values = FoldValues([r.score for r in results], _by_fold([r.validation for r in results]))
        means = {
            task: {metric: fmean(of_folds) for metric, of_folds in found.items()}
            for task, found in values.validation.items()
        }
        shortfalls = self.training.loaded.shortfalls(means)
        result, improved = progress.update(fmean(values.scores), means, shortfalls)
        if improved:
            self.best[number] = values
        return replace(result, folds=self.best.get(number))

    def drop(self, number: int) -> None:
        for trainer in self.of_folds:
            trainer.drop(number)
        del self.progress[number]
        self.best.pop(number, None)

    def conditions(self, number: int) -> dict[str, Any]:
        """The conditions of the first fold; where others differ, the last bits can be repeated in no lane."""
        first, *others = (trainer.conditions(number) for trainer in self.of_folds)
        return first if all(other == first for other in others) else {**first, "lane_slots": None}

    def state(self, number: int) -> dict[str, Tensor]:
        raise AssertionError("a trial of folds has a model for each fold: its config is trained once more on all")

    def keep(self) -> Kept:
        kept = [trainer.keep() for trainer in self.of_folds]
        tensors = {n: t for fold, each in enumerate(kept) for n, t in under(f"fold {fold}:", each.tensors).items()}
        return Kept(
            tensors,
            {
                "folds": [each.facts for each in kept],
                "progress": [asdict(progress) for progress in self.progress.values()],
                "best": {str(number): asdict(values) for number, values in self.best.items()},
            },
        )

    def restore(self, kept: Kept) -> None:
        for fold, (trainer, facts) in enumerate(zip(self.of_folds, kept.facts["folds"], strict=True)):
            trainer.restore(Kept(of_prefix(f"fold {fold}:", kept.tensors), facts))
        self.progress = {facts["number"]: TrialProgress(**facts) for facts in kept.facts["progress"]}
        self.best = {int(number): FoldValues(**values) for number, values in kept.facts["best"].items()}


def in_lanes(training: Training) -> Training:
    """The training of a population that trains all folds."""
    folds = training.loaded.folds
    return replace(training, loaded=folds[0], folds=folds, mixes_seeds=True)


class Shared:
    """A population whose member `number` is that of a trial and a fold: trial · K + fold."""

    def __init__(self, inner: Trainer, folds: int) -> None:
        self.inner, self.folds = inner, folds
        self.results: list[EpochResult] = []


class OfFold:
    """The members of one `fold` in a shared population; the first fold trains and keeps for all."""

    def __init__(self, shared: Shared, fold: int) -> None:
        self.shared, self.fold = shared, fold

    @property
    def kind(self) -> str:
        return f"in shared lanes, {self.shared.inner.kind}"

    def _number(self, trial: int) -> int:
        return trial * self.shared.folds + self.fold

    def room(self) -> int:
        return self.shared.inner.room() // self.shared.folds

    def entry(self) -> int:
        return self.shared.inner.entry()

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        return self.shared.inner.add(self._number(number), config, entry_epoch=entry_epoch, seed=seed)

    def advance(self) -> list[EpochResult]:
        if self.fold == 0:
            self.shared.results = self.shared.inner.advance()
        own = [result for result in self.shared.results if result.number % self.shared.folds == self.fold]
        return [replace(result, number=result.number // self.shared.folds) for result in own]

    def drop(self, number: int) -> None:
        self.shared.inner.drop(self._number(number))

    def conditions(self, number: int) -> dict[str, Any]:
        return self.shared.inner.conditions(self._number(number))

    def state(self, number: int) -> dict[str, Tensor]:
        return self.shared.inner.state(self._number(number))

    def keep(self) -> Kept:
        return self.shared.inner.keep() if self.fold == 0 else Kept({}, {})

    def restore(self, kept: Kept) -> None:
        if self.fold == 0:
            self.shared.inner.restore(kept)


def _by_fold(folds: Sequence[Metrics]) -> dict[str, dict[str, list[float]]]:
    """Each metric's values over the folds, by task."""
    return {
        task: {metric: [fold[task][metric] for fold in folds] for metric in metrics}
        for task, metrics in folds[0].items()
    }


def whole_state(training: Training, config: Config, epochs: int, entry_epoch: int, seed: int) -> dict[str, Tensor]:
    """The parameters and buffers of a config after `epochs` on train and validation together. Raises StudyError."""
    own = replace(training, loaded=training.loaded.whole).in_columns
    member = SoloMember(own, 0, config, entry_epoch, seed)
    for _ in range(epochs):
        result = member.advance()
        if result.reason is not None:
            raise StudyError(f"training on all of train and validation failed: {result.reason}")
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in own_state(member.model).items()}
