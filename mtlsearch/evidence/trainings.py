"""The record of a confirmation: an Optuna study of its own, `NAME/confirmation`, with one trial per training.

The key of a training is its content, not its number: hyperparameters, task weights, seed, and the task where that is
trained alone. So configs with the same hyperparameters share their twin, a config of equal weights is its own twin,
and a later or larger confirmation uses the trainings that are there. Nothing here needs torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.errors import StoreError
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.ownership import this_process
from mtlsearch.store.record import InTraining, Policy, Record, name_score
from mtlsearch.study.space import Config

if TYPE_CHECKING:
    from mtlsearch.study.results import Metrics
    from mtlsearch.study.study import Study

Kind = Literal["config", "twin", "single"]
Found = Mapping[str, FrozenTrial]


@dataclass(frozen=True)
class Repeat:
    """One training of a confirmation: the config of trial `of`, its twin, or its hyperparameters on one `task`."""

    kind: Kind
    of: int
    config: Config
    seed: int
    task: str | None = None

    @property
    def key(self) -> str:
        """The content of the training: two trainings with one key are the same."""
        return _key(self.config, self.seed, self.task)

    def attrs(self) -> dict[str, Any]:
        """The user attributes of the training's trial."""
        about = {"kind": self.kind, "of": self.of, "seed": self.seed}
        alone = {} if self.task is None else {"task": self.task}
        return {**about, **alone, "task_weights": dict(self.config.task_weights)}

    def __str__(self) -> str:
        if self.task is not None:
            return f"task {self.task} alone, hyperparameters of trial {self.of}"
        return f"trial {self.of}" if self.kind == "config" else f"twin of trial {self.of}"


class Confirmation(Record):
    """The record of a confirmation: one trial per training, known by its key."""

    @classmethod
    def of(cls, record: Record, study: optuna.Study) -> "Confirmation":
        """The confirmation of a search that `study` holds.

        The plan says what is left to train, so no params are asked again. Of a config's seeds the parameters of the
        best on validation are kept; of a task alone none are.
        """
        policy = Policy(
            asks_again=False,
            group=lambda trial: None if "task" in trial.user_attrs else group_of(trial, record),
        )
        return cls(record.storage, study, record.info, record.artifacts, policy)

    @property
    def conclusion(self) -> Mapping[str, Any] | None:
        """The stored conclusion, None before the confirmation has ended."""
        concluded: Mapping[str, Any] | None = self.study.user_attrs.get("conclusion")
        return concluded

    def begin(self, repeat: Repeat, study: "Study") -> int | None:
        """Store a training as running; its number, None where another process has begun it meanwhile."""
        space = replace(study.search_space, fixed_quantiles={})
        attrs = {**repeat.attrs(), "owner": this_process()}
        template = create_trial(
            state=TrialState.RUNNING,
            params=space.params(repeat.config),
            distributions=space.distributions,
            user_attrs=attrs,
        )
        trial_id = self.storage.create_unless(
            self.study._study_id, template, lambda trials: repeat.key in self._begun(trials)
        )
        if trial_id is None:
            return None
        trial = optuna.Trial(self.study, trial_id)
        self.running[trial.number] = InTraining(trial)
        return trial.number

    def left(self, repeats: Sequence[Repeat]) -> list[Repeat]:
        """The repeats that have not ended and are not in training, here or in another process."""
        self.storage.refresh(self.study._study_id)
        known = self._begun(self.trials())
        return [repeat for repeat in repeats if repeat.key not in known]

    def _begun(self, trials: Sequence[FrozenTrial]) -> set[str]:
        """The keys of the trainings that have ended or are in training."""
        return {key_of(trial, self) for trial in trials if is_counted(trial) or trial.state is TrialState.RUNNING}

    def scored(self, number: int, test: "Metrics") -> None:
        """Store the test metrics of a training before it ends, so that one commit takes both."""
        trial = self.running[number].trial
        trial.set_user_attr("test", test)
        for task, values in test.items():
            for metric, value in values.items():
                trial.set_user_attr(f"{task} {metric} test", value)  # the dashboard plots plain numbers only

    def test_scorings(self) -> int:
        """How often the test split was scored."""
        return sum("test" in trial.user_attrs for trial in self.trials())


def linked_study(record: Record, name: str, what: str, about: Mapping[str, Any]) -> optuna.Study:
    """The Optuna study `name` that belongs to a record's, made with the attributes `about` where there is none.

    Raises StoreError where another study, which is not a `what`, has the name.
    """
    study = optuna.create_study(storage=record.storage, study_name=name, direction="maximize", load_if_exists=True)
    if "of" not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise StoreError(f"study {name!r} in the store is not a {what}: rename or delete it first")
        name_score(study, record.info["score"])
        # `of` comes last: a process that dies before leaves a study that is begun again.
        for key, value in {**about, "of": record.name}.items():
            study.set_user_attr(key, value)
    return study


def open_confirmation(record: Record) -> Confirmation:
    """The confirmation of a study, made where there is none. Raises StoreError where its name is another's."""
    name = f"{record.name}/confirmation"
    about = {"role": "confirmation", "fingerprint": record.info["fingerprint"]}
    study = linked_study(record, name, "confirmation", about)
    if study.user_attrs["fingerprint"] != record.info["fingerprint"]:
        raise StoreError(
            f"study {name!r} is in the store with another definition: delete it in `mtlsearch dashboard`, or"
            " give this study a name of its own with --name"
        )
    if record.study.user_attrs.get("confirmation") != name:
        record.study.set_user_attr("confirmation", name)
    return Confirmation.of(record, study)


def find_confirmation(record: Record) -> Confirmation | None:
    """The record of a study's confirmation, None where there is none."""
    name = record.study.user_attrs.get("confirmation")
    if name is None:
        return None
    try:
        study = optuna.load_study(storage=record.storage, study_name=name)
    except KeyError:  # somebody deleted it, for example in the dashboard
        return None
    return Confirmation.of(record, study)


def key_of(trial: FrozenTrial, record: Record) -> str:
    """The key of a stored training."""
    attrs = trial.user_attrs
    return _key(trial_config(record.info, trial), attrs["seed"], attrs.get("task"))


def group_of(trial: FrozenTrial, record: Record) -> str:
    """The key without the seed: the same for all trainings of one config."""
    return _key(trial_config(record.info, trial), None, trial.user_attrs.get("task"))


def ended(confirmation: Record) -> dict[str, FrozenTrial]:
    """The trainings with an outcome of their own by key; of two with one key, the first."""
    found: dict[str, FrozenTrial] = {}
    for trial in filter(is_counted, confirmation.trials()):
        found.setdefault(key_of(trial, confirmation), trial)
    return found


def _key(config: Config, seed: int | None, task: str | None) -> str:
    weights = {name: round(weight, 9) for name, weight in config.task_weights.items()}
    return json.dumps([task, seed, dict(config.hyperparameters), weights], sort_keys=True)
