"""The training of a study as an ordinary Optuna objective."""

from collections.abc import Callable
from pathlib import Path

import optuna
import torch

from mtlsearch.errors import StudyError
from mtlsearch.store.trials import suggest
from mtlsearch.study.loaded import load_data
from mtlsearch.study.score import PARETO
from mtlsearch.study.study import Study
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training


def objective(
    study: Study, *, data: str | Path = ".", device: torch.device | str = "cpu", seed: int = 0
) -> Callable[[optuna.Trial], float]:
    """The training of `study` as an ordinary Optuna objective, to be maximised, for one's own `study.optimize`.

    `data` is the data directory. Scores are reported at every epoch, and a trial is pruned where the Optuna
    study's pruner says so; a loss that is not finite gives NaN, which Optuna records as a failed trial. Raises
    StudyError with the score `pareto`, whose values an Optuna trial cannot report.
    """
    if study.scoring.kind == PARETO:
        raise StudyError(f"an objective has one score, but the study has {PARETO}: name another score")
    training = Training(load_data(study, Path(data), device), seed)
    space = study.search_space

    def train(trial: optuna.Trial) -> float:
        params = {name: suggest(trial, name, d) for name, d in space.distributions.items()}
        config = space.config(params, study.default)
        trial.set_user_attr("task_weights", dict(config.task_weights))
        trainer = search_trainer(SoloTrainer, training)
        trainer.add(trial.number, config)
        while True:
            (result,) = trainer.advance()
            if result.reason is not None:
                trial.set_user_attr("reason", result.reason)
                return float("nan")
            trial.report(result.score, result.epoch)
            trial.set_user_attr("validation", result.best_validation)
            if result.finished:
                return result.best_score
            if trial.should_prune():
                raise optuna.TrialPruned

    return train
