"""Training one config again: `train` scores it on test, `verify` compares it with the recorded metrics."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from torch import Tensor

from mtlsearch.data.examples.kinds import former_kind
from mtlsearch.errors import ConfigError, StudyError
from mtlsearch.limits import CORES
from mtlsearch.store.artifacts import file_name, save_artifact
from mtlsearch.store.config_file import config_document, config_of, on_all, read_config, trial_config
from mtlsearch.store.model_file import study_of, write_model
from mtlsearch.store.record import Record
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.study.shipped import study_name
from mtlsearch.study.space import Config
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import Conditions, use_device
from mtlsearch.training.folds import search_trainer, whole_state
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import steps_like
from mtlsearch.training.solo import SoloTrainer, evaluate_state
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.options.training import TrainOptions, VerifyOptions
from mtlsearch.tuning.session import Session
from mtlsearch.tuning.studies import recorded_units

TOLERANCE = 0.002


def train_config(
    training: Training,
    config: Config,
    entry_epoch: int = 0,
    epochs: int | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
    trainer: Trainer | None = None,
) -> tuple[EpochResult, dict[str, Tensor]]:
    """Train one config by itself; the last epoch's result, and the parameters of the best epoch.

    Those of a cross-validated config are trained once more, on all of train. Raises StudyError where a loss is not
    finite.
    """
    trainer = search_trainer(SoloTrainer, training) if trainer is None else trainer
    result = last_result(trainer, config, entry_epoch, epochs, on_epoch)
    if result.folds is None:
        return result, trainer.state(0)
    return result, whole_state(training, config, result.best_epoch + 1, entry_epoch, training.seed)


def last_result(
    trainer: Trainer,
    config: Config,
    entry_epoch: int,
    epochs: int | None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> EpochResult:
    """Train one config by a trainer without members; the last epoch's result. Raises StudyError, as above."""
    trainer.add(0, config, entry_epoch=entry_epoch)
    while True:
        (result,) = trainer.advance()
        if result.reason is not None:
            # A metric that is never finite is no matter of the learning rate.
            advice = "; try a lower learning_rate" if result.reason.startswith("the loss") else ""
            raise StudyError(f"training failed: {result.reason}{advice}")
        on_epoch(result)
        if result.finished or result.epoch + 1 == epochs:
            return result


def train(
    training: Training,
    config: Config,
    conditions: Conditions,
    on_epoch: Callable[[EpochResult], None],
    name: str,
    resplit: int | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train `config` from epoch 0; its exported config with test metrics, and its parameters.

    `resplit` is the seed of the training's division of the data, where that is a new one.
    """
    result, state = train_config(training, config, on_epoch=on_epoch)
    document = config_document(
        describe(training.loaded),
        name=name,
        trial=None,
        score=result.best_score,
        config=config,
        validation=result.best_validation,
        training={
            "epochs_trained": result.epoch + 1,
            "best_epoch": result.best_epoch,
            "entry_epoch": 0,
            "seed": training.seed,
            **({} if training.loaded.study.folds is None else {"folds": training.loaded.study.folds}),
            **({} if resplit is None else {"resplit": resplit}),
            **conditions.recorded(),
            **training.in_columns.conditions,
        },
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        storage=None,
    )
    test = evaluate_state(training.loaded, config, state, "test", training.precision)
    folds = {} if result.folds is None else {"folds": asdict(result.folds), **on_all(result.best_epoch)}
    return {**document, **folds, "test": test, "test_scorings": 1}, state


def train_command(
    options: TrainOptions, on_epoch: Callable[[EpochResult], None]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train an exported config from its file, or a study's default config; as `train`."""
    conditions = use_device(options.device, options.threads)
    what, seed = options.what, options.seed
    exported_config = read_config(Path(what)) if what.endswith(".json") else None
    if exported_config is None:
        study = load_study(what)
        config, name = study.default_config(), study_name(study.source)
    else:
        study = budgeted(study_of(exported_config, options.study_path), exported_config)
        config, name = config_of(exported_config, study), exported_config["study"]["name"]
        seed = exported_config["training"]["seed"] if seed is None else seed
    if options.epochs is not None:
        study = replace(study, epochs=options.epochs)
    units = None if exported_config is None else recorded_units(exported_config)
    loaded = load_data(study, options.directory, conditions.device, units)
    resplit = None if exported_config is None else exported_config["training"].get("resplit")
    loaded = loaded if resplit is None else loaded.redivided(resplit)
    if exported_config is not None and "alone" in exported_config:
        loaded = loaded.only(exported_config["alone"])
        config = config_of(exported_config, loaded.study)
    training = Training(loaded, seed or 0)
    if exported_config is not None:
        training = as_recorded(training, exported_config["training"])
    return train(training, config, conditions, on_epoch, name, resplit)


def verify_command(options: VerifyOptions) -> dict[str, Any]:
    """Train the config in a file again, under its recorded threads unless others are named; as `verify`."""
    config = read_config(options.config)
    recorded = config["training"]
    # Of a machine with more cores: here they would only wait for each other, and the comparison allows for it.
    threads = options.threads or min(recorded.get("threads") or CORES, CORES)
    conditions = use_device(options.device, threads, recorded.get("precision", "fp32"))
    study = budgeted(study_of(config, options.study_path), config)
    config_of(config, study)
    loaded = load_data(study, options.directory, conditions.device, recorded_units(config))
    if "resplit" in recorded:
        loaded = loaded.redivided(recorded["resplit"])
    if "alone" in config:
        loaded = loaded.only(config["alone"])
    changed = [task for task, digest in config["provenance"]["data_sha256"].items() if loaded.sha256[task] != digest]
    if changed:
        raise ConfigError(f"the data of {', '.join(changed)} are not those of the config (another SHA-256)")
    check_inputs(config, loaded)
    return verify(Training(loaded, recorded["seed"], conditions.precision), config, conditions)


def keep_whole(session: Session, config: Mapping[str, Any], holder: Record, trial: FrozenTrial) -> None:
    """Train an answer of a study with folds on train and validation together, and keep its parameters in the store.

    `config` is its exported config, and `holder` the record of its `trial`. It trains as many epochs as were best.
    """
    training, attrs = session.training, trial.user_attrs
    if session.study.folds is None or holder.whole_parameters(trial) is not None:
        return
    epochs = attrs["best_epoch"] + 1
    session.watcher.notice(
        f"training trial {trial.number} once more, on train and validation together, for the {epochs} epochs that were"
        " best: `export --checkpoint` and `predict` use this model"
    )
    if attrs.get("task") is not None:
        training = replace(training, loaded=training.loaded.only(attrs["task"]))
    own, seed = trial_config(holder.info, trial), attrs["seed"] if "seed" in attrs else holder.info["seed"]
    state = whole_state(training, own, epochs, attrs["entry_epoch"], int(seed))
    name = file_name(holder.name, trial.number, whole=True)
    save_artifact(holder.artifacts, name, holder.study, lambda path: write_model(path, state, config))


def check_inputs(config: Mapping[str, Any], loaded: LoadedStudy) -> None:
    """Raise ConfigError where a task's inputs were taken for another kind when the config was trained."""
    given = {task: splits.inputs_given for splits in loaded.splits for task in splits.tasks}
    for task, about in config["tasks"].items():
        kind, dtype = given[task].kind, given[task].dtype
        before = about.get("input_kind") or former_kind(dtype)
        if before != (kind or before):
            raise ConfigError(
                f"the config was trained with inputs of task {task!r} taken for {before}, which are {kind} now: say"
                f' inputs="{before}" in the study\'s Data'
            )


def budgeted(study: Study, config: Mapping[str, Any]) -> Study:
    """The study with the budget and the split under which `config` was trained."""
    training = config["training"]
    return replace(
        study,
        epochs=training["epochs"],
        patience=training.get("patience"),
        batch_size=training["batch_size"],
        split_seed=training["split_seed"],
        folds=training.get("folds"),
        division=training.get("division", "first"),  # earlier versions record none
    )


def verify(training: Training, config: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
    """Train an exported config again and compare every validation metric with the recorded one.

    On the same device kind, thread count and trainer they must be equal to the bit. Elsewhere they may differ by the
    larger of 0.2 points and 3 binomial standard errors.
    """
    loaded, recorded = training.loaded, config["training"]
    training = as_recorded(training, recorded)
    shares = bool(recorded.get("own_batches")) and recorded.get("lane_slots") is not None
    trainer = search_trainer(partial(_trainer_like, recorded=recorded), training, shares)
    own = config_of(config, loaded.study)
    result = last_result(trainer, own, recorded["entry_epoch"], recorded["epochs_trained"])
    exact = _same_conditions(recorded, {**conditions.recorded(), **trainer.conditions(0)})
    sizes = {
        task: len(splits.validation) + (len(splits.train) if loaded.folds else 0)
        for splits in loaded.splits
        for task in splits.tasks
    }
    rows = []
    for task, values in config["validation"].items():
        for metric, before in values.items():
            now = result.best_validation[task][metric]
            allowed = 0.0 if exact else tolerance(before, sizes[task])
            rows.append(
                {
                    "task": task,
                    "metric": metric,
                    "recorded": before,
                    "now": now,
                    "allowed": allowed,
                    "agrees": abs(now - before) <= allowed,
                }
            )
    return {
        "agrees": all(row["agrees"] for row in rows),
        "rule": "bitwise" if exact else "tolerance",
        "metrics": rows,
    }


def as_recorded(training: Training, recorded: Mapping[str, Any]) -> Training:
    """The training with tasks in columns, or one after the other, as a config was trained."""
    return replace(training, columns=bool(recorded.get("columns")))  # earlier versions record none


def _trainer_like(training: Training, recorded: Mapping[str, Any]) -> Trainer:
    """A trainer of the kind that a config was trained by, with the same number of slots; solo where it had moved."""
    slots = recorded.get("lane_slots")
    if recorded.get("trainer") != "population" or slots is None:
        return SoloTrainer(training)
    training = replace(training, mixes_seeds=bool(recorded.get("own_batches")), slots=slots)
    members = max(slots, len(training.folds))
    return PopulationTrainer(
        training, members, steps_like(recorded.get("steps", "eager"), training.loaded.device), shrinks=False
    )


def tolerance(value: float, examples: int) -> float:
    """The larger of 0.2 points and 3 binomial standard errors of a fraction `value` of `examples`."""
    share = min(max(value, 0.0), 1.0)
    return max(TOLERANCE, 3 * sqrt(share * (1 - share) / examples))


def _same_conditions(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    names = ("threads", "precision", "trainer", "lane_width", "lane_slots", "own_batches", "steps", "columns")
    same_device = str(recorded.get("device", "")).split(":")[0] == str(now["device"]).split(":")[0]
    return same_device and all(recorded.get(name) == now.get(name) for name in names)
