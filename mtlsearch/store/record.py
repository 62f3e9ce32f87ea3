"""A study's record in the store: its definition, and every trial from the ask to its outcome.

Nothing here needs torch, so that `best`, `export` and `trials` answer at once.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import StoreError
from mtlsearch.store.artifacts import artifact_store
from mtlsearch.store.config_file import config_document, trial_config
from mtlsearch.store.database.opening import Storage, is_counted, mask_password
from mtlsearch.store.definition import check_same
from mtlsearch.store.ownership import Heart, Watch, is_alive, is_here, this_process
from mtlsearch.study.space import Config, Space

if TYPE_CHECKING:
    from mtlsearch.study.results import EpochResult

DEFAULT_STORAGE = "sqlite:///mtlsearch.db"
Info = Mapping[str, Any]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Record:
    """One study in an open store, and what its run keeps at hand."""

    storage: Storage
    study: optuna.Study
    info: Info
    artifacts: Path
    running: dict[int, tuple[optuna.Trial, float]] = field(default_factory=dict)
    entered: dict[int, dict[str, Any]] = field(default_factory=dict)
    heart: Heart | None = None
    watch: Watch = field(default_factory=Watch)

    @property
    def name(self) -> str:
        return self.study.study_name

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The study's trials, of `states` where any are given."""
        return self.storage.get_all_trials(self.study._study_id, deepcopy=False, states=states or None)

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number, as it is stored."""
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return self.storage.get_trial(trial_id)

    def counted(self) -> int:
        """How many trials have an outcome of their own."""
        return sum(map(is_counted, self.trials()))

    def best(self) -> FrozenTrial:
        """The complete trial of the highest score, the earliest of equals. Raises StoreError where none is complete."""
        best = self.best_or_none()
        if best is None:
            raise StoreError(
                f"study {self.name!r} has no complete trial yet: `mtlsearch run` goes on with it"
            )
        return best

    def best_or_none(self) -> FrozenTrial | None:
        """The best trial, None where none is complete."""
        complete = self.trials(TrialState.COMPLETE)
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    # The life of a trial.

    def ask(self, space: Space, total: int) -> tuple[optuna.Trial, Config] | None:
        """Reserve a trial below `total` and suggest its config; None where all are reserved."""
        trial = self.storage.ask(self.study, total, {"owner": this_process()})
        if trial is None:
            return None
        self.running[trial.number] = trial, time.monotonic()
        params = {name: suggest(trial, name, d) for name, d in space.distributions.items()}
        config = space.config(params, self.info["default"])
        trial.set_user_attr("task_weights", dict(config.task_weights))
        return trial, config

    def enter(self, number: int, entry_epoch: int, trained_on: Mapping[str, Any]) -> None:
        """Note where a trial entered the shared batches, and on what it is trained."""
        self.entered[number] = {"entry_epoch": entry_epoch, "trained_on": dict(trained_on)}
        if self.heart is None:
            self.heart = Heart(self._in_training)

    def _in_training(self) -> list[optuna.Trial]:
        return [trial for trial, _ in list(self.running.values())]

    def note(self, number: int, conditions: Mapping[str, Any]) -> None:
        """Add to what is known of how a trial is trained."""
        self.entered[number]["trained_on"] |= conditions

    def report(self, result: "EpochResult") -> None:
        """Store the score of an epoch."""
        if result.reason is None:
            with self.losing(result.number):
                self.running[result.number][0].report(result.score, result.epoch)

    def should_prune(self, number: int) -> bool:
        return self.running[number][0].should_prune()

    def tell(
        self, result: "EpochResult", state: TrialState, save: Callable[[Path, dict[str, Any]], None]
    ) -> bool:
        """End a trial; False where another process had taken it over.

        Its parameters are saved first by `save(path, config)` where it becomes the best.
        """
        trial, begun = self.running[result.number]
        attributes = {**outcome(result), **self.entered.pop(result.number)}
        with self.losing(result.number):
            for name, value in {**attributes, "seconds": round(time.monotonic() - begun, 3)}.items():
                trial.set_user_attr(name, value)
            if state is TrialState.COMPLETE and self._is_best(trial, result.best_score):
                self._save_best(trial, result.best_score, save)
            self.study.tell(trial, result.best_score if state is TrialState.COMPLETE else None, state)
        return self.running.pop(result.number, None) is not None

    @contextmanager
    def losing(self, number: int) -> Iterator[None]:
        """Inside, a trial that another process took over, since this one seemed dead, leaves `running`."""
        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            self.running.pop(number, None)

    def refresh(self) -> list[int]:
        """Take in what other processes wrote; the trials that they took from this one, which seemed dead."""
        self.storage.refresh(self.study._study_id)
        lost = [number for number in self.running if self.trial(number).state.is_finished()]
        for number in lost:
            del self.running[number]
        return lost

    def interrupt(self) -> None:
        """End what is in training as interrupted; its params are asked again by the next run."""
        if self.heart is not None:
            self.heart.stop()
            self.heart = None
        for trial, _ in self.running.values():
            self._interrupt(trial._trial_id)
        self.running.clear()
        self.storage.flush()

    def take_over(self) -> int:
        """End the running trials of processes that have died, so that they are asked again; how many there were."""
        dead = [
            t for t in self.trials(TrialState.RUNNING) if t.number not in self.running and not self._lives(t)
        ]
        return sum(self._interrupt(trial._trial_id) for trial in dead)

    def _lives(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is not None and is_here(owner):
            return is_alive(owner)
        return not self.watch.expired(trial)

    def _interrupt(self, trial_id: int) -> bool:
        return self.storage.interrupt(trial_id) is not None

    def _is_best(self, trial: optuna.Trial, score: float) -> bool:
        complete = self.trials(TrialState.COMPLETE)
        return all(other.value is not None and score > other.value for other in complete)

    def _save_best(
        self, trial: optuna.Trial, score: float, save: Callable[[Path, dict[str, Any]], None]
    ) -> None:
        store = artifact_store(self.artifacts)
        frozen = self.storage.get_trial(trial._trial_id)
        try:
            with tempfile.TemporaryDirectory(dir=self.artifacts) as folder:
                path = Path(folder) / f"{self.name.replace('/', '-')}-trial-{trial.number}.safetensors"
                save(path, exported(self, frozen, score))
                optuna.artifacts.upload_artifact(
                    artifact_store=store, file_path=str(path), study_or_trial=trial
                )
        except OSError as error:
            raise StoreError(
                f"the artifact folder {self.artifacts} cannot be written ({error.strerror}): mend that, then run the"
                " same command again: finished trials are kept"
            ) from error


def outcome(result: "EpochResult") -> dict[str, Any]:
    """What a trial has reached, as user attributes: what a person looks for first, and plain numbers by themselves,
    since the dashboard shows attributes in this order and plots numbers only.
    """
    reached: dict[str, Any] = {}
    if result.reason is not None:
        reached["reason"] = result.reason
    elif result.best_validation:
        for task, values in result.best_validation.items():
            reached |= {f"{task} {metric}": value for metric, value in values.items()}
        reached |= {"best_epoch": result.best_epoch, "validation": result.best_validation}
    return {**reached, "epochs": result.epoch + 1}


def open_record(storage: Storage, name: str, info: Info, seed: int | None, artifacts: Path) -> Record:
    """The record of study `name` for a run, made where there is none. Raises StoreError for another definition."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name in (s.study_name for s in storage.get_all_studies()):
            study = optuna.load_study(storage=storage, study_name=name)  # another program's is only looked at
        else:
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
        found = study.user_attrs.get("mtlsearch")
        if found is None and study.get_trials(deepcopy=False):
            raise _not_ours(name)
        if found is None:
            found = {**info, "seed": 0 if seed is None else seed}
            study.set_user_attr("mtlsearch", found)
            study.set_metric_names([found["score"]])
    check_same(name, found, info, seed)
    return Record(storage, study, found, artifacts)


def find_record(storage: Storage, name: str | None, artifacts: Path) -> Record:
    """The record of study `name`, for reading; without a name the store's only study, else the latest."""
    studies = [
        s for s in storage.get_all_studies() if "mtlsearch" in s.user_attrs and "role" not in s.user_attrs
    ]
    names = [study.study_name for study in studies]
    where = mask_password(str(storage.url))
    if name is None and not names:
        raise StoreError(f"the store {where} holds no study of mtlsearch yet: `mtlsearch run` makes one")
    if name is None:
        name = max(studies, key=lambda s: s._study_id).study_name
    if name not in names:
        if name in [s.study_name for s in storage.get_all_studies()]:
            raise _not_ours(name)
        held = ", ".join(names) or "none"
        raise StoreError(f"the store {where} holds no study {name!r}; it holds: {held}")
    study = optuna.load_study(storage=storage, study_name=name)
    return Record(storage, study, study.user_attrs["mtlsearch"], artifacts)


def best_artifact(record: Record, trial: FrozenTrial) -> Path:
    """The file of a trial's saved parameters. Raises StoreError where there is none."""
    metas = optuna.artifacts.get_all_artifact_meta(trial, storage=record.storage)
    for meta in metas:
        path = record.artifacts / meta.artifact_id
        if meta.filename.endswith(".safetensors") and path.is_file() and path.parent == record.artifacts:
            return path
    raise StoreError(
        f"trial {trial.number} of study {record.name!r} has no parameters in {record.artifacts}:"
        " name their folder with --artifacts, or train it again with `mtlsearch train`"
    )


def exported(record: Record, trial: FrozenTrial, score: float | None = None) -> dict[str, Any]:
    """The config of a trial as it is exported."""
    info, attrs = record.info, trial.user_attrs
    trained = attrs.get("trained_on", {})
    ended = trial.datetime_complete or datetime.now()
    return config_document(
        info,
        name=record.name,
        trial=trial.number,
        score=trial.value if score is None else score,
        config=trial_config(info, trial),
        validation=attrs["validation"],
        training={
            "epochs_trained": attrs["epochs"],
            "best_epoch": attrs["best_epoch"],
            "entry_epoch": attrs["entry_epoch"],
            "seed": attrs.get("seed", info["seed"]),
        },
        trained_on=trained,
        time=ended.astimezone(UTC).isoformat(timespec="seconds"),
        storage=mask_password(str(record.storage.url)),
    )


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Ask the sampler for one dimension."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _not_ours(name: str) -> StoreError:
    return StoreError(
        f"study {name!r} in the store was not written by mtlsearch: give this one another --name"
    )
