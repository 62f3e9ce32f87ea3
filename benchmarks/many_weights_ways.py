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
from dataclasses import dataclass, replace

import numpy as np
import optuna
import torch
from optuna.trial import create_trial
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from mtlsearch.nn.pretrained.shared import load_own_state
from mtlsearch.study.space import Config, Space
from mtlsearch.study.study import LoadedStudy
from mtlsearch.study.weights.shared_weights import EqualWeights, GroupWeights, PowerOfLabels, by_labels, label_counts
from mtlsearch.study.weights.task_weights import LogRatios, WeightSpace
from mtlsearch.training.batches import batch_parts, epoch_batches, epoch_reads
from mtlsearch.training.kept import Kept
from mtlsearch.training.losses import each_loss
from mtlsearch.training.solo import SoloMember, SoloTrainer, evaluate_state
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.samplers.tpe import tpe_sampler

WAYS = ("equal", "each", "labels", "groups", "loss", "difficulty", "affinity", "pbt", "pbt-labels", "pbt-rate")
GROUPS = 4
LOSS_POWER, LEAST_LOSS = 2.0, 0.05
GRADIENT_BATCHES = 2
QUARTER, EVERY = 0.25, 1  # of a population that copies, and after how many epochs
FACTORS = (0.8, 1.25)  # by which a copy moves its learning rate and each weight
POWER_STEP = 0.2  # standard deviation of a copy's move of the power of the number of labels


@dataclass(frozen=True)
class Trained:
    """A trial's config, its best epoch's state, and its score on validation there."""

    config: Config
    state: Mapping[str, Tensor]
    score: float

    def test_score(self, loaded: LoadedStudy) -> float:
        return loaded.score(evaluate_state(loaded, self.config, self.state, "test"))


def trained(loaded: LoadedStudy, seed: int, config: Config) -> Trained:
    """One trial by itself."""
    trainer = SoloTrainer(Training(loaded, seed))
    trainer.add(0, config)
    (result,) = trainer.advance()
    while not result.finished:
        (result,) = trainer.advance()
    return Trained(config, trainer.state(0), result.best_score)


def searched(weights: WeightSpace, loaded: LoadedStudy, seed: int, trials: int, first: Trained) -> Trained:
    """The best of `trials` trials of TPE, of which the first is given."""
    space, default = Space(loaded.study.search_space.hyperparameters, weights), loaded.study.default
    study = optuna.create_study(direction="maximize", sampler=tpe_sampler(seed))
    params = space.params(first.config)
    study.add_trial(create_trial(params=params, distributions=space.distributions, value=first.score))
    best = first
    for _ in range(1, trials):
        trial = study.ask(space.distributions)
        found = trained(loaded, seed, space.config(trial.params, default))
        best = max(best, found, key=lambda each: each.score)
        study.tell(trial, found.score)
    return best


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


def population(move: Move, begin: Move, loaded: LoadedStudy, seed: int, trials: int) -> Trained:
    """The best epoch of a population of `trials` members that train side by side.

    After every `EVERY` epochs each member of the worst quarter takes the whole state of one of the best quarter, and
    goes on with its config moved. The first member has the default config; `begin` draws the weights of the others,
    and their learning rates are uniform in their logarithm.
    """
    random, training = np.random.default_rng(seed), Training(loaded, seed).in_columns
    default = loaded.study.default_config()
    rates = loaded.study.search_space.hyperparameters["learning_rate"]
    low, high = np.log([rates.low, rates.high])  # type: ignore[attr-defined]
    drawn = [
        {**default.hyperparameters, "learning_rate": float(np.exp(random.uniform(low, high)))} for _ in range(trials)
    ]
    configs = [default, *(begin(random, replace(default, hyperparameters=own)) for own in drawn[1:])]
    members = [SoloMember(training, slot, config, 0, seed) for slot, config in enumerate(configs)]
    for epoch in range(loaded.study.epochs):
        scores = [member.advance().score for member in members]
        if (epoch + 1) % EVERY == 0 and epoch + 1 < loaded.study.epochs:
            ranked, count = np.argsort(np.nan_to_num(scores, nan=-np.inf)), max(1, int(QUARTER * trials))
            for slot in ranked[:count]:
                source = members[random.choice(ranked[-count:])]
                members[slot] = copied(training, source, int(slot), move(random, source.config))
    best = max(members, key=lambda member: member.progress.best_score)
    return Trained(best.config, best.best, best.progress.best_score)


def copied(training: Training, source: SoloMember, slot: int, config: Config) -> SoloMember:
    """A member in the whole state of another one, which goes on with `config`."""
    kept = source.keep()
    facts = {
        **kept.facts,
        "hyperparameters": dict(config.hyperparameters),
        "task_weights": dict(config.task_weights),
        "progress": {**kept.facts["progress"], "number": slot},
    }
    return SoloMember.restored(training, Kept({name: tensor.clone() for name, tensor in kept.tensors.items()}, facts))


def stays(random: np.random.Generator, config: Config) -> Config:
    return config


def best_of(way: str, loaded: LoadedStudy, seed: int, trials: int, first: Trained) -> Trained:
    """The best trial on validation of a search that takes its weights in this way."""
    tasks: Sequence[str] = loaded.study.weighted
    labels = label_counts(loaded.study.tasks, loaded.splits)
    if way.startswith("pbt"):
        family = PowerOfLabels(tasks, labels)
        moves = {
            "pbt": (moved_weights, stays),
            "pbt-rate": (moved_rate, stays),
            "pbt-labels": (moved_power(family), any_power(family)),
        }
        return population(*moves[way], loaded, seed, trials)
    return searched(_space(way, tasks, labels, loaded, first), loaded, seed, trials, first)


def any_power(family: PowerOfLabels) -> Move:
    def begin(random: np.random.Generator, config: Config) -> Config:
        powers = {name: float(random.uniform(-1, 1)) for name in family.distributions}
        return replace(config, task_weights=family.weights(powers))

    return begin


def _space(
    way: str, tasks: Sequence[str], labels: Mapping[str, float], loaded: LoadedStudy, first: Trained
) -> WeightSpace:
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
