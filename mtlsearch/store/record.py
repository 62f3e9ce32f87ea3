"""A study's record in the store: its definition, and every trial from the ask to its outcome.

Nothing here needs torch, so that `best`, `export` and `trials` answer at once.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import StoreError
from mtlsearch.processes import Owner, this_process
from mtlsearch.store.artifacts import file_name, kept_files, save_artifact
from mtlsearch.store.config_file import config_document, on_all, trial_config
from mtlsearch.store.curves import CURVES, epochs_reported, has_several, task_curves
from mtlsearch.store.database.damage import as_failed, fault_of, is_damaged
from mtlsearch.store.database.opening import Storage, is_counted, mask_password
from mtlsearch.store.ownership import Heart, Watch, leaving
from mtlsearch.store.states import found_states
from mtlsearch.store.trials import best_of, is_on_front, outcome, rank, rank_of, score_of, suggest
from mtlsearch.study.results import shortfall
from mtlsearch.study.space import Config, Space

if TYPE_CHECKING:
    from mtlsearch.study.results import EpochResult

Info = Mapping[str, Any]
Save = Callable[[Path, dict[str, Any]], None]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Policy:
    """The rules by which the record of a search and that of a confirmation differ.

    `asks_again` says whether the params of an interrupted trial go back into the queue. `group` names the trials
    with which a trial competes: each group keeps the parameters of its best trial, and the group None keeps none.
    """

    asks_again: bool
    group: Callable[[FrozenTrial], str | None]


SEARCH = Policy(asks_again=True, group=lambda trial: "search")


@dataclass
class InTraining:
    """A trial of this process that has not ended: since when it runs, and the attributes to store at its end."""

    trial: optuna.Trial
    begun: float = field(default_factory=time.monotonic)
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """One study in an open store, with the trials that this process has in training; `is_new` if it made the study."""

    storage: Storage
    study: optuna.Study
    info: Info
    artifacts: Path
    policy: Policy = SEARCH
    running: dict[int, InTraining] = field(default_factory=dict)  # by trial number
    checked: dict[int, FrozenTrial] = field(default_factory=dict)  # finished trials by id, as `_checked` gives them
    heart: Heart | None = None
    watch: Watch = field(default_factory=Watch)
    is_new: bool = False
    variant: str = ""  # settings that the search did not have, at which it is confirmed
    seen: int = 0  # how many ended trials `places` has taken in
    places: dict[str | None, tuple[float, float, int]] = field(default_factory=dict)  # of the best trial, by group

    @property
    def name(self) -> str:
        return self.study.study_name

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The study's trials, of `states` where any are given."""
        # A damaged trial is one that failed, so asking for some that finished looks at all.
        asked = None if any(state.is_finished() for state in states) else states or None
        found = map(self._checked, self.storage.get_all_trials(self.study._study_id, deepcopy=False, states=asked))
        return [trial for trial in found if not states or trial.state in states]

    def _checked(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial, or where a stored value is damaged, the same as a failed one."""
        if not trial.state.is_finished():
            return trial
        known = self.checked.get(trial._trial_id)
        if known is None:
            wrong = fault_of(trial, self.info.get("weighted", self.info["tasks"]))
            known = trial if wrong is None else as_failed(trial, wrong)
            self.checked[trial._trial_id] = known
        return known

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number, as it is stored."""
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return self._checked(self.storage.get_trial(trial_id))

    def damaged(self) -> list[str]:
        """A line for each trial whose stored values cannot be used."""
        damaged = filter(is_damaged, self.trials(TrialState.FAIL))
        return [f"trial {trial.number} is left out: {trial.user_attrs['reason']}" for trial in damaged]

    def counted(self) -> int:
        """How many trials have an outcome of their own."""
        return sum(map(is_counted, self.trials()))

    def best(self) -> FrozenTrial:
        """The best trial. Raises StoreError where none is complete."""
        best = self.best_or_none()
        if best is None:
            raise StoreError(f"study {self.name!r} has no complete trial yet: `mtlsearch run` goes on with it")
        return best

    def best_or_none(self) -> FrozenTrial | None:
        """The best trial, None where none is complete."""
        return best_of(self.trials(TrialState.COMPLETE))

    def parameters(self, trial: FrozenTrial) -> Path:
        """The file of the parameters of an answer, which is a trial's config. Raises StoreError where there is none.

        In a study with folds they are those of its config trained on train and validation together.
        """
        if "folds" not in self.info["fingerprint"]:
            return self.own_parameters(trial)
        path = self.whole_parameters(trial)
        if path is None:
            raise StoreError(
                f"trial {trial.number} of study {self.name!r} has no parameters in {self.artifacts}: they are trained"
                " on all of train when its search or confirmation has ended; give the same command again"
            )
        return path

    def whole_parameters(self, trial: FrozenTrial) -> Path | None:
        """The file of the parameters of a trial's config trained on train and validation together; None without one."""
        name = file_name(self.name, trial.number, whole=True)
        return next(kept_files(self.storage, self.artifacts, self.study, lambda given: given == name), None)

    def own_parameters(self, trial: FrozenTrial) -> Path:
        """The file of a trial's own saved parameters. Raises StoreError where there is none."""
        found = kept_files(self.storage, self.artifacts, trial, lambda given: given.endswith(".safetensors"))
        path = next(found, None)
        if path is None:
            raise StoreError(
                f"trial {trial.number} of study {self.name!r} has no parameters in {self.artifacts}: name their folder"
                " with --artifacts, or train it again: `mtlsearch export -o best.json` without --checkpoint, then"
                " `mtlsearch train best.json -o best.safetensors`"
            )
        return path

    def change(self, **info: Any) -> None:
        """Change parts of the study's description that are not of its fingerprint."""
        self.info = {**self.info, **info}
        self.study.set_user_attr("mtlsearch", self.info)

    # The life of a trial.

    def ask(
        self, space: Space, total: int, owner: Owner | None = None, ahead: int = 0
    ) -> tuple[optuna.Trial, Config] | None:
        """Reserve a trial below `total` for `owner`, and suggest its config; None where all are reserved.

        `ahead` says how many asks more are about to follow.
        """
        trial = self.storage.ask(self.study, total, {"owner": owner or this_process()}, ahead)
        if trial is None:
            return None
        self.running[trial.number] = InTraining(trial)
        return trial, self._suggested(trial, space)

    def _suggested(self, trial: optuna.Trial, space: Space) -> Config:
        params = {name: suggest(trial, name, d) for name, d in space.distributions.items()}
        config = space.config(params, self.info["default"])
        trial.set_user_attr("task_weights", dict(config.task_weights))
        return config

    def adopt(self, numbers: Iterable[int], owner: Owner | None = None) -> None:
        """Make this process, as `owner`, own trials that a dead one had in training, all in one commit."""
        for number in numbers:
            trial = self.trial(number)
            if trial.state is TrialState.RUNNING:
                self.storage.adopt(trial._trial_id, {"owner": owner or this_process()})
        self.storage.flush()

    def ask_again(self, number: int, space: Space, seconds: float = 0.0) -> Config | None:
        """The config of an adopted trial, which goes on after `seconds` of training; None where it has ended."""
        return self._suggested(self.running[number].trial, space) if self.go_on(number, seconds) else None

    def go_on(self, number: int, seconds: float) -> bool:
        """Let an adopted trial be in training, after `seconds` of it; False where it has ended."""
        stored = self.trial(number)
        if stored.state is not TrialState.RUNNING:
            return False
        trial = optuna.Trial(self.study, stored._trial_id)
        self.running[number] = InTraining(trial, time.monotonic() - seconds)
        return True

    def seconds(self, number: int) -> float:
        """The seconds for which a trial is in training; 0 where it is not."""
        running = self.running.get(number)
        return 0.0 if running is None else time.monotonic() - running.begun

    def enter(self, number: int, entry_epoch: int, conditions: Mapping[str, Any], worker: str | None = None) -> None:
        """Note the epoch at which a trial entered the shared batches, its conditions, and the worker that trains it."""
        told = {} if worker is None else {"worker": worker}
        self.running[number].attrs |= {"entry_epoch": entry_epoch, "trained_on": dict(conditions), **told}
        if self.heart is None:
            self.heart = Heart(self._in_training)

    def _in_training(self) -> list[optuna.Trial]:
        return [running.trial for running in list(self.running.values())]

    def note(self, number: int, conditions: Mapping[str, Any]) -> None:
        """Add to the conditions of a trial's training."""
        self.running[number].attrs["trained_on"] |= conditions

    def report(self, result: "EpochResult") -> None:
        """Store the score of an epoch, unless a run that was cut off has stored it."""
        stored = self.trial(result.number)
        if result.reason is not None or result.epoch < epochs_reported(stored):
            return
        trial = self.running[result.number].trial
        with self.losing(result.number):
            if has_several(self.study):
                before, now = task_curves(stored), self._values(result.validation)
                trial.set_user_attr(CURVES, {task: [*before.get(task, ()), value] for task, value in now.items()})
            else:
                self.storage.set_trial_intermediate_value(trial._trial_id, result.epoch, float(result.score))

    def should_prune(self, result: "EpochResult") -> bool:
        """Whether the trial should end after this epoch; it has survived the epochs before its last stored one."""
        stored = self.trial(result.number)
        if result.epoch < epochs_reported(stored) - 1:
            return False
        return self.study.pruner.prune(self.study, stored)

    def _values(self, validation: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The value of each scored task, oriented so that higher is better."""
        tasks, left_out = self.info["tasks"], self.info.get("left_out", {})
        signs = {task: 1 if about["higher_is_better"] else -1 for task, about in tasks.items() if task not in left_out}
        return {task: sign * validation[task][tasks[task]["metric"]] for task, sign in signs.items()}

    def tell(self, result: "EpochResult", state: TrialState, save: Save) -> bool:
        """End a trial; False where another process had taken it over.

        Its parameters are saved first, by `save(path, config)`, where it becomes the best of its group; those of a
        cross-validated one are trained when the search has ended.
        """
        running = self.running[result.number]
        seconds = round(time.monotonic() - running.begun, 3)
        score = result.best_score if state is TrialState.COMPLETE else None
        with self.losing(result.number):
            values: float | list[float] | None = score
            own: dict[str, Any] = {}
            if has_several(self.study) and score is not None:
                values, own = [*self._values(result.best_validation).values()], {"score": score}
            attrs = {**outcome(result), **own, **running.attrs, "seconds": seconds}
            self.storage.set_user_attrs(running.trial._trial_id, attrs)
            for task, short in result.best_shortfalls.items():
                running.trial.set_constraint(task, short)
            short = shortfall(result.best_shortfalls)
            is_best = values is not None and self._is_best(self._stored(running.trial), values, short)
            if score is not None and result.folds is None and is_best:
                self._save_best(running.trial, score, save)
            _tell_with_warning(self.study, running.trial, values, state)  # `Study.tell` without its deep copy
        return self.running.pop(result.number, None) is not None

    @contextmanager
    def telling(self, told: list[int]) -> Iterator[None]:
        """Inside, trials are told, and their numbers added to `told`; their ends are committed together.

        Afterwards `told` is without trials that another process had taken over.
        """
        with self.storage.together() as lost:
            yield
        if lost:
            told[:] = [number for number in told if self.trial(number)._trial_id not in lost]
            self.checked, self.places, self.seen = {}, {}, 0

    @contextmanager
    def losing(self, number: int) -> Iterator[None]:
        """Inside, a trial that another process took over, because this one seemed dead, leaves `running`."""
        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            self.running.pop(number, None)

    def refresh(self) -> list[int]:
        """Take in what other processes wrote; the numbers of the trials that they took over from this one."""
        self.storage.refresh(self.study._study_id)
        lost = [number for number in self.running if self.trial(number).state.is_finished()]
        for number in lost:
            del self.running[number]
        return lost

    def interrupt(self, numbers: Collection[int] | None = None, *, leave: bool = False) -> None:
        """End the trials in training as interrupted, or those of `numbers`.

        Or `leave` them running, to go on from their kept states.
        """
        if self.heart is not None:
            self.heart.stop()
            self.heart = None
        for number in [number for number in self.running if numbers is None or number in numbers]:
            trial = self.running.pop(number).trial
            if leave:
                with suppress(optuna.exceptions.UpdateFinishedTrialError):
                    owner = self._stored(trial).user_attrs.get("owner") or this_process()
                    trial.set_user_attr("owner", leaving(owner))
            else:
                self._withdraw(trial._trial_id)
        self.storage.give_back()
        self.storage.flush()

    def take_over(self) -> int:
        """End the running trials of dead processes as interrupted; how many there were.

        Those whose states are kept are left, to go on from there.
        """
        dead = self.dead()
        kept = found_states(self.artifacts, self.name) if dead else []
        lost = [t for t in dead if not any(file.belongs_to(t.user_attrs.get("owner")) for file in kept)]
        return sum(self._withdraw(trial._trial_id) for trial in lost)

    def dead(self) -> list[FrozenTrial]:
        """The running trials whose processes are dead, or train them no more."""
        others = (trial for trial in self.trials(TrialState.RUNNING) if trial.number not in self.running)
        return [trial for trial in others if not self.watch.lives(trial)]

    def _withdraw(self, trial_id: int) -> bool:
        """End a trial as interrupted; False where another process has ended it."""
        if self.policy.asks_again:
            return self.storage.interrupt(trial_id) is not None
        return self.storage.withdraw(trial_id)

    def _stored(self, trial: optuna.Trial) -> FrozenTrial:
        return self.storage.get_trial(trial._trial_id)

    def _is_best(self, trial: FrozenTrial, values: float | Sequence[float], short: float) -> bool:
        """Whether a trial that ends with these values becomes the best of its group; of several, one of its front."""
        group = self.policy.group(trial)
        if group is None:
            return False
        if not isinstance(values, float | int):
            rivals = (other for other in self.trials(TrialState.COMPLETE) if self.policy.group(other) == group)
            return is_on_front(values, short, rivals)
        ended = self.storage.ended_since(self.study._study_id, self.seen)
        self.seen += len(ended)
        for other in filter(lambda other: other.state is TrialState.COMPLETE, map(self._checked, ended)):
            its = self.policy.group(other)
            self.places[its] = min(rank_of(other), self.places.get(its, rank_of(other)))
        return group not in self.places or rank(values, trial.number, short) < self.places[group]

    def _save_best(self, trial: optuna.Trial, score: float, save: Save) -> None:
        config = exported(self, self._stored(trial), score)
        save_artifact(self.artifacts, file_name(self.name, trial.number), trial, lambda path: save(path, config))


def exported(record: Record, trial: FrozenTrial, score: float | None = None) -> dict[str, Any]:
    """The config of a trial as it is exported; `score` is that of a trial which is about to end."""
    info, attrs = record.info, trial.user_attrs
    ended = trial.datetime_complete or datetime.now()
    document = config_document(
        info,
        name=record.name,
        trial=trial.number,
        score=score_of(trial) if score is None and trial.values is not None else score,
        config=trial_config(info, trial),
        validation=attrs["validation"],
        training={
            "epochs_trained": attrs["epochs"],
            "best_epoch": attrs["best_epoch"],
            "entry_epoch": attrs["entry_epoch"],
            "seed": attrs.get("seed", info["seed"]),
            **({"folds": len(attrs["folds"]["scores"])} if "folds" in attrs else {}),
            **({"resplit": attrs["division"]} if "division" in attrs else {}),
            **attrs.get("trained_on", {}),
        },
        time=ended.astimezone(UTC).isoformat(timespec="seconds"),
        storage=mask_password(str(record.storage.url)),
    )
    folds = {"folds": attrs["folds"]} if "folds" in attrs else {}
    return {**document, **folds, **(on_all(attrs["best_epoch"]) if "folds" in info["fingerprint"] else {})}
