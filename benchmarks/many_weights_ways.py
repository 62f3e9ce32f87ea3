"""Ways to weigh many tasks, for `many_weights`: weights that stay, searched by TPE, and weights that move.

`equal`, `each`, `labels` and `groups` are those of `--weights`. Tried beside them, and not in the library:

- `loss`: `wᵢ ∝ Lᵢᵖ`, p searched from −2 to 2; Lᵢ is the validation loss, in its unit, that the first trial reached.
- `difficulty`: one weight for each quarter of the tasks by that loss.
- `affinity`: one weight for each of four groups of tasks whose gradients on the trunk agree (the cosine at the first
  trial's best epoch, average linkage).
- `pbt`: a population whose members copy each other and move their weights and learning rates (Jaderberg et al. 2017;
  for task weights Royer et al. 2023, Scalarization for multi-task and multi-domain learning at scale).
- `pbt-labels`: the same, where the weights follow the number of labels to a power that moves.
- `pbt-rate`: the same with equal weights: what the moving learning rate gains by itself.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import optuna
import torch
from optuna.trial import create_trial
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from mtlsearch.nn.pretrained.shared import load_own_state
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import EpochResult, TrialProgress
from mtlsearch.study.space import Config, Space
from mtlsearch.study.weights.shared_weights import EqualWeights, GroupWeights, PowerOfLabels, by_labels, label_counts
from mtlsearch.study.weights.task_weights import LogRatios, WeightSpace
from mtlsearch.training.batches import batch_parts, epoch_batches, epoch_reads, steps_per_epoch
from mtlsearch.training.losses import each_loss
from mtlsearch.training.optim import OptimizerSettings
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Steps
from mtlsearch.training.solo import SoloMember, evaluate_state
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.samplers.tpe import tpe_sampler

STAYING = ("equal", "each", "labels", "groups", "loss", "difficulty", "affinity")
MOVING = ("pbt", "pbt-labels", "pbt-rate")
WAYS = (*STAYING, *MOVING)
GROUPS = 4
MOST = 1000  # members of a crowd
LOSS_POWER, LEAST_LOSS = 2.0, 0.05
GRADIENT_BATCHES = 2
QUARTER, EVERY = 0.25, 1  # of a population that copies, and after how many epochs
FACTORS = (0.8, 1.25)  # by which a copy moves its learning rate and each weight
POWER_STEP = 0.2  # standard deviation of a copy's move of the power of the number of labels

AfterEpoch = Callable[[Sequence[EpochResult]], None]


@dataclass(frozen=True)
class Trained:
    """A trial's last config, its best epoch's state, and its score on validation there."""

    config: Config
    state: Mapping[str, Tensor]
    score: float

    def test_score(self, loaded: LoadedStudy) -> float:
        return loaded.score(evaluate_state(loaded, self.config, self.state, "test"))


class Crowd:
    """Trains configs side by side, in lanes of `slots`: all have the same seed, and so the same batches."""

    def __init__(self, loaded: LoadedStudy, slots: int, steps: Steps) -> None:
        self.loaded = loaded
        self.trainer = PopulationTrainer(Training(loaded, slots=slots), MOST, steps, shrinks=False)

    def train(self, seed: int, configs: Sequence[Config], after: AfterEpoch = lambda results: None) -> list[Trained]:
        """Train a trial of each config; `after` each epoch but the last may copy members."""
        trainer, epochs = self.trainer, self.loaded.study.epochs
        for number, config in enumerate(configs):
            trainer.add(number, config, entry_epoch=0, seed=seed)
        for epoch in range(epochs):
            results = sorted(trainer.advance(), key=lambda each: each.number)
            if epoch + 1 < epochs:
                after(results)
        found = [Trained(self._config(each.number), trainer.state(each.number), each.best_score) for each in results]
        for number in range(len(configs)):
            trainer.drop(number)
        trainer.lanes.groups = {key: lanes for key, lanes in trainer.lanes.groups.items() if key[1] == seed}
        return found

    def _config(self, number: int) -> Config:
        lane, slot = self.trainer.lanes.find(number)
        return lane.members[slot].config  # type: ignore[union-attr]

    def copy(self, source: int, number: int, move: Callable[[Config], Config]) -> None:
        """Give trial `number` the whole state of trial `source`, with its config moved."""
        (old, old_slot), (lane, slot) = map(self.trainer.lanes.find, (source, number))
        for own, theirs in zip(lane.state.stacked(), old.state.stacked(), strict=True):
            own[slot].copy_(theirs[old_slot])
        giver, member = old.members[old_slot], lane.members[slot]
        assert giver is not None
        assert member is not None
        member.config = move(giver.config)
        member.settings = OptimizerSettings.of(member.config)
        member.progress = TrialProgress(**{**asdict(giver.progress), "number": number})
        steps = self.loaded.study.epochs * steps_per_epoch(self.loaded)
        for name, value in member.settings.coefficients(steps).items():
            lane.state.coefficients[name][slot] = value
        lane.state.weights[slot].copy_(lane.program.training.weights(member.config))


class Searched:
    """A search by TPE over a space of weights, whose first trial is given."""

    def __init__(self, weights: WeightSpace, loaded: LoadedStudy, seed: int, first: Trained) -> None:
        self.space = Space(loaded.study.search_space.hyperparameters, weights)
        self.default, self.best = loaded.study.default, first
        self.study = optuna.create_study(direction="maximize", sampler=tpe_sampler(seed))
        params = self.space.params(first.config)
        self.study.add_trial(create_trial(params=params, distributions=self.space.distributions, value=first.score))

    def ask(self) -> Config:
        self.trial = self.study.ask(self.space.distributions)
        return self.space.config(self.trial.params, self.default)

    def tell(self, found: Trained) -> None:
        self.study.tell(self.trial, found.score)
        self.best = max(self.best, found, key=lambda each: each.score)


def best_of_each(ways: Sequence[str], crowd: Crowd, seed: int, trials: int) -> dict[str, Trained]:
    """The best trial on validation of a search in each way: those that stay side by side, then those that move."""
    loaded, staying = crowd.loaded, [way for way in ways if way in STAYING]
    found: dict[str, Trained] = {}
    if staying:
        (first,) = crowd.train(seed, [loaded.study.default_config()])
        searches = {way: Searched(_space(way, loaded, first), loaded, seed, first) for way in staying}
        for _ in range(1, trials):
            told = crowd.train(seed, [search.ask() for search in searches.values()])
            for search, trained in zip(searches.values(), told, strict=True):
                search.tell(trained)
        found = {way: search.best for way, search in searches.items()}
    return found | populations([way for way in ways if way in MOVING], crowd, seed, trials)


def validation_losses(loaded: LoadedStudy, first: Trained) -> dict[str, float]:
    """The loss of each task on validation, in its unit; where it has no labels there, that of a constant, 1."""
    member = _member(loaded, first)
    member.model.eval()
    with torch.no_grad():
        parts = [splits.validation for splits in loaded.batched]
        losses = each_loss(loaded, member.model, parts, torch.float32)
    found = zip(loaded.study.weighted, map(float, losses), strict=True)
    return {task: max(loss, LEAST_LOSS) if loss > 0 else 1.0 for task, loss in found}


def groups_by_affinity(loaded: LoadedStudy, first: Trained) -> dict[str, list[str]]:
    """Tasks whose gradients on the trunk agree, by the mean of their cosines over some training batches."""
    member = _member(loaded, first)
    member.model.train()
    tasks, batches = loaded.study.weighted, epoch_batches(loaded, 0, 0)
    trunk = [param for name, param in member.model.named_parameters() if "head" not in name]
    cosines = np.zeros((len(tasks), len(tasks)))
    with epoch_reads(loaded, 0, 0) as reads:
        for step, read in itertools.islice(enumerate(reads), GRADIENT_BATCHES):
            parts = batch_parts(loaded, [rows[step] for rows in batches], read)
            losses = each_loss(loaded, member.model, parts, torch.float32)
            rows = [torch.cat([g.flatten() for g in torch.autograd.grad(x, trunk, retain_graph=True)]) for x in losses]
            unit = torch.nn.functional.normalize(torch.stack(rows))
            cosines += (unit @ unit.T).double().numpy()
    apart = 1 - cosines / GRADIENT_BATCHES
    upper = np.triu_indices(len(tasks), 1)
    labels = fcluster(linkage(apart[upper], "average"), GROUPS, "maxclust")
    return {f"affinity {n}": [t for t, own in zip(tasks, labels, strict=True) if own == n] for n in sorted({*labels})}


def _member(loaded: LoadedStudy, first: Trained) -> SoloMember:
    member = SoloMember(Training(loaded, columns=False), 0, first.config, entry_epoch=0, seed=0)
    load_own_state(member.model, first.state)
    return member


Move = Callable[[np.random.Generator, Config], Config]


def moved_rate(random: np.random.Generator, config: Config) -> Config:
    rate = config.number("learning_rate", 0.0) * random.choice(FACTORS)
    return Config({**config.hyperparameters, "learning_rate": float(rate)}, config.task_weights)


def moved_weights(random: np.random.Generator, config: Config) -> Config:
    """The learning rate and every weight, up or down by a fifth."""
    shares = {task: weight * random.choice(FACTORS) for task, weight in config.task_weights.items()}
    total = sum(shares.values())
    return replace(moved_rate(random, config), task_weights={task: float(w / total) for task, w in shares.items()})


def moved_power(family: PowerOfLabels) -> Move:
    def move(random: np.random.Generator, config: Config) -> Config:
        params = family.params(config.task_weights)
        powers = {name: float(np.clip(p + POWER_STEP * random.normal(), -1, 1)) for name, p in params.items()}
        return replace(moved_rate(random, config), task_weights=family.weights(powers))

    return move


def populations(ways: Sequence[str], crowd: Crowd, seed: int, size: int) -> dict[str, Trained]:
    """The best epoch of a population of each way.

    After every `EVERY` epochs each member of the worst quarter takes the whole state of one of the best quarter, and
    goes on with its config moved. The first member has the default config; the learning rates of the others are
    uniform in their logarithm, and the same in every way.
    """
    if not ways:
        return {}
    loaded = crowd.loaded
    family = PowerOfLabels(loaded.study.weighted, label_counts(loaded.study.tasks, loaded.splits))
    moves = {"pbt": moved_weights, "pbt-rate": moved_rate, "pbt-labels": moved_power(family)}
    randoms = {way: np.random.default_rng(seed) for way in ways}
    configs = [config for way in ways for config in _begun(loaded, randoms[way], family, way, size)]

    def after(results: Sequence[EpochResult]) -> None:
        if (results[0].epoch + 1) % EVERY:
            return
        for number, way in enumerate(ways):
            own, random, move = results[number * size : (number + 1) * size], randoms[way], moves[way]
            ranked = sorted(own, key=lambda each: np.nan_to_num(each.score, nan=-np.inf))
            count = max(1, int(QUARTER * size))
            for worst in ranked[:count]:
                source = ranked[-1 - int(random.integers(count))]
                crowd.copy(source.number, worst.number, partial(move, random))

    trained = crowd.train(seed, configs, after)
    parts = (trained[start : start + size] for start in range(0, len(trained), size))
    return {way: max(own, key=lambda each: each.score) for way, own in zip(ways, parts, strict=True)}


def _begun(
    loaded: LoadedStudy, random: np.random.Generator, family: PowerOfLabels, way: str, size: int
) -> list[Config]:
    """The configs with which the members of a population begin."""
    default, rates = loaded.study.default_config(), loaded.study.search_space.hyperparameters["learning_rate"]
    low, high = np.log([rates.low, rates.high])  # type: ignore[attr-defined]
    drawn = np.exp(random.uniform(low, high, size=size - 1))
    configs = [
        Config({**default.hyperparameters, "learning_rate": float(rate)}, default.task_weights) for rate in drawn
    ]
    if way == "pbt-labels":
        powers = random.uniform(-1, 1, size=size - 1)
        shares = [family.weights(dict.fromkeys(family.distributions, float(power))) for power in powers]
        configs = [replace(own, task_weights=weights) for own, weights in zip(configs, shares, strict=True)]
    return [default, *configs]


def _space(way: str, loaded: LoadedStudy, first: Trained) -> WeightSpace:
    tasks, labels = loaded.study.weighted, label_counts(loaded.study.tasks, loaded.splits)
    if way == "affinity":
        return GroupWeights(tasks, groups=groups_by_affinity(loaded, first))
    if way == "difficulty":
        return GroupWeights(tasks, groups=by_labels(tasks, validation_losses(loaded, first)))
    if way == "loss":
        losses = validation_losses(loaded, first)
        lowest = min(losses.values())
        # The library's family takes powers up to 1 of numbers from 1 on.
        return PowerOfLabels(tasks, {task: (loss / lowest) ** LOSS_POWER for task, loss in losses.items()})
    known = {
        "equal": EqualWeights(tasks),
        "each": LogRatios(tasks),
        "labels": PowerOfLabels(tasks, labels),
        "groups": GroupWeights(tasks, groups=by_labels(tasks, labels)),
    }
    return known[way]
