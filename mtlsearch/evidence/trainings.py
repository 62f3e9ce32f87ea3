"""The record of a confirmation: an Optuna study of its own, `NAME/confirmation`, with one trial per training.

The key of a training is its content, not its number: hyperparameters, task weights, seed, and the task where that is
trained alone. So configs with the same hyperparameters share their twin, a config of equal weights is its own twin,
and a later or larger confirmation uses the trainings that are there. Nothing here needs torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.errors import StoreError
from mtlsearch.processes import Owner, this_process
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.database.damage import damage, fault_of_conclusion, is_damaged
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.definition import compared
from mtlsearch.store.finding import name_values
from mtlsearch.store.record import InTraining, Policy, Record
from mtlsearch.study.space import Config
from mtlsearch.terminal import notice

if TYPE_CHECKING:
    from mtlsearch.study.results import Metrics
    from mtlsearch.study.study import Study

# A config of the search, its twin, the plain sum of the losses, the config without an auxiliary task; a scored task
# alone with hyperparameters of the search ("single"), or with those of a search of its own ("alone").
# In a study of groupings, a group of tasks: to measure an affinity, or as part of a whole grouping.
Kind = Literal["config", "twin", "plain sum", "without", "single", "alone", "affinity", "grouping"]
Found = Mapping[str, FrozenTrial]


@dataclass(frozen=True)
class Repeat:
    """One training of a confirmation, of trial `of`: its config, another arm of it, or one `task` alone.

    `left_out` is the auxiliary task of the arm "without". `division` is the seed of a new division of the data, None
    for the study's own.
    """

    kind: Kind
    of: int
    config: Config
    seed: int
    task: str | None = None
    left_out: str | None = None
    division: int | None = None

    @property
    def only(self) -> tuple[str, ...] | None:
        """The tasks that are trained, None for all."""
        return None if self.task is None else (self.task,)

    @property
    def scores_test(self) -> bool:
        """Whether the training is scored on test: one by which something is chosen is not."""
        return True

    @property
    def key(self) -> str:
        """The content of the training: two trainings with one key are the same."""
        return _key(self.config, self.seed, self._subject, self.division)

    @property
    def _subject(self) -> "str | list[str] | None":
        return self.task

    @property
    def group(self) -> str:
        """The key without seed and new division: the same for all trainings of one config."""
        return _group(self.config, self._subject, self.division)

    def attrs(self) -> dict[str, Any]:
        """The user attributes of the training's trial."""
        about = {"kind": self.kind, "of": self.of, "seed": self.seed}
        alone = {} if self.task is None else {"task": self.task}
        divided = {} if self.division is None else {"division": self.division}
        return {**about, **alone, **divided, "task_weights": dict(self.config.task_weights)}

    def __str__(self) -> str:
        return {
            "config": f"trial {self.of}",
            "twin": f"twin of trial {self.of}",
            "plain sum": f"plain sum of the losses, trial {self.of}",
            "without": f"trial {self.of} without {self.left_out}",
            "single": f"task {self.task} alone, hyperparameters of trial {self.of}",
            "alone": f"task {self.task} alone, trial {self.of} of its own search",
        }[self.kind]


@dataclass(frozen=True)
class GroupRepeat(Repeat):
    """One training of a group of tasks, to measure an affinity on validation, or as part of a whole grouping."""

    tasks: tuple[str, ...] = ()

    @property
    def only(self) -> tuple[str, ...]:
        return self.tasks

    @property
    def scores_test(self) -> bool:
        return self.kind == "grouping"

    @property
    def _subject(self) -> list[str]:
        return list(self.tasks)

    def attrs(self) -> dict[str, Any]:
        return {**super().attrs(), "tasks": list(self.tasks)}

    def __str__(self) -> str:
        return " with ".join(self.tasks) if len(self.tasks) > 1 else f"{self.tasks[0]} alone"


class Confirmation(Record):
    """The record of a confirmation: one trial per training, known by its key."""

    @classmethod
    def of(cls, record: Record, study: optuna.Study) -> "Confirmation":
        """The confirmation of a search that `study` holds.

        The plan says what is left to train, so no params are asked again. Of a config's seeds the parameters of the
        best on validation are kept.
        """
        policy = Policy(asks_again=False, group=lambda trial: group_of(trial, record))
        return cls(record.storage, study, record.info, record.artifacts, policy)

    @property
    def conclusion(self) -> Mapping[str, Any] | None:
        """The stored conclusion, None before the confirmation has ended."""
        concluded: Mapping[str, Any] | None = self.study.user_attrs.get("conclusion")
        wrong = None if concluded is None else fault_of_conclusion(concluded)
        if wrong is not None:
            notice(f"the conclusion of {self.name} is left out: {damage(wrong)}")
            return None
        return concluded

    def begin(self, repeat: Repeat, study: "Study", owner: Owner | None = None) -> int | None:
        """Store a training of `owner` as running; its number, None where another process has begun it meanwhile."""
        # Task weights are attributes alone: a twin's may lie outside what the search could ask.
        template = create_trial(
            state=TrialState.RUNNING,
            params={name: repeat.config[name] for name in study.space},
            distributions=dict(study.space),
            user_attrs={**repeat.attrs(), "owner": owner or this_process()},
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
        name_values(study, [record.info["score"]])
        # `of` comes last: a process that dies before leaves a study that is begun again.
        for key, value in {**about, "of": record.name}.items():
            study.set_user_attr(key, value)
    return study


def open_confirmation(record: Record) -> Confirmation:
    """The confirmation of a study, made where there is none. Raises StoreError where its name is another's."""
    name = f"{record.name}/confirmation{record.variant and f'/{record.variant}'}"
    about = {"role": "confirmation", "fingerprint": record.info["fingerprint"]}
    study = linked_study(record, name, "confirmation", about)
    _check_linked(study, record.info["fingerprint"])
    if not record.variant and record.study.user_attrs.get("confirmation") != name:
        record.study.set_user_attr("confirmation", name)
    return Confirmation.of(record, study)


def open_grouping(record: Record) -> Confirmation:
    """The trainings of a study's groups of tasks, made where there are none. It keeps no parameters."""
    about = {"role": "grouping", "fingerprint": record.info["fingerprint"]}
    study = linked_study(record, f"{record.name}/grouping", "grouping", about)
    _check_linked(study, record.info["fingerprint"])
    policy = Policy(asks_again=False, group=lambda trial: None)
    return Confirmation(record.storage, study, record.info, record.artifacts, policy)


def open_alone(record: Record, task: str, fingerprint: Mapping[str, Any], searched: Mapping[str, Any]) -> Record:
    """The record of the search of one task alone, made where there is none. Raises StoreError, as above.

    `searched` are the sampler and the pruner of a search that is begun; one that goes on keeps its own.
    It keeps no parameters: its best config is trained again with the fresh seeds of the confirmation.
    """
    name = f"{record.name}/alone/{task}"
    about = {"role": "alone", "task": task, "fingerprint": fingerprint, **searched}
    study = linked_study(record, name, "search of a task alone", about)
    _check_linked(study, fingerprint)
    policy = Policy(asks_again=True, group=lambda trial: None)
    info = {**record.info, "tasks": {task: record.info["tasks"][task]}, "fingerprint": fingerprint}
    return Record(record.storage, study, info, record.artifacts, policy)


def search_name(record: Record, number: int) -> str:
    """The name of a study's search `number`; the first search is the study itself."""
    return record.name if number == 1 else f"{record.name}/search/{number}"


def open_search(record: Record, number: int, seed: int) -> Record:
    """The record of another search of a study, with a seed of its own, made where there is none.

    It keeps no parameters, and neither does its confirmation: the answer is that of the first search. Raises
    StoreError, as above.
    """
    name, fingerprint = search_name(record, number), record.info["fingerprint"]
    about = {"role": "search", "number": number, "seed": seed, "fingerprint": fingerprint}
    study = linked_study(record, name, "repeated search", about)
    _check_linked(study, fingerprint)
    if study.user_attrs["seed"] != seed:
        raise StoreError(
            f"study {name!r} in the store repeats a search of another seed: give this study a name of its own with"
            " --name, or delete that one with `optuna delete-study --study-name NAME --storage URL`"
        )
    policy = Policy(asks_again=True, group=lambda trial: None)
    return Record(record.storage, study, {**record.info, "seed": seed}, record.artifacts, policy)


def _check_linked(study: optuna.Study, fingerprint: Mapping[str, Any]) -> None:
    """Raise StoreError where a linked study belongs to another definition."""
    if any(compared(study.user_attrs["fingerprint"], fingerprint)):
        raise StoreError(
            f"study {study.study_name!r} is in the store with another definition: give this study a name of its own"
            " with --name, or delete that one with `optuna delete-study --study-name NAME --storage URL`"
        )


def find_confirmation(record: Record) -> Confirmation | None:
    """The record of a study's confirmation, None where there is none."""
    name = record.study.user_attrs.get("confirmation")
    if record.variant:
        name = f"{record.name}/confirmation/{record.variant}"
    if not isinstance(name, str):
        return None
    try:
        study = optuna.load_study(storage=record.storage, study_name=name)
    except KeyError:  # somebody deleted it, for example in optuna-dashboard
        return None
    return Confirmation.of(record, study)


def found_verdict(record: Record) -> Mapping[str, Any] | None:
    """The verdict of a study's confirmation, None before that has ended."""
    confirmation = find_confirmation(record)
    concluded = None if confirmation is None else confirmation.conclusion
    return None if concluded is None else concluded["verdict"]


def key_of(trial: FrozenTrial, record: Record) -> str:
    """The key of a stored training."""
    attrs = trial.user_attrs
    return _key(trial_config(record.info, trial), attrs["seed"], _subject_of(attrs), attrs.get("division"))


def group_of(trial: FrozenTrial, record: Record) -> str:
    """The key without seed and division, as that of a `Repeat`."""
    attrs = trial.user_attrs
    return _group(trial_config(record.info, trial), _subject_of(attrs), attrs.get("division"))


def _subject_of(attrs: Mapping[str, Any]) -> str | list[str] | None:
    found: str | list[str] | None = attrs.get("tasks", attrs.get("task"))
    return found


def ended(confirmation: Record) -> dict[str, FrozenTrial]:
    """The trainings with an outcome of their own by key; of two with one key, the first."""
    found: dict[str, FrozenTrial] = {}
    for trial in (each for each in confirmation.trials() if is_counted(each) and not is_damaged(each)):
        found.setdefault(key_of(trial, confirmation), trial)
    return found


def runs_alone(confirmation: Record, concluded: Mapping[str, Any]) -> dict[str, dict[int, FrozenTrial]]:
    """The trainings of each task alone that a conclusion takes, by task and seed.

    Conclusions that were stored before tasks had searches of their own take those with the winner's hyperparameters.
    """
    groups: Mapping[str, str] | None = concluded.get("alone")
    found: dict[str, dict[int, FrozenTrial]] = {}
    for trial in ended(confirmation).values():
        task, of = trial.user_attrs.get("task"), trial.user_attrs.get("of")
        if task is None:
            continue
        taken = of == concluded["of"] if groups is None else group_of(trial, confirmation) == groups.get(task)
        if taken and trial.user_attrs["seed"] in concluded["seeds"]:
            found.setdefault(task, {})[trial.user_attrs["seed"]] = trial
    return found


def _group(config: Config, task: str | list[str] | None, division: int | None) -> str:
    return _key(config, None, task, None if division is None else "new")


def _key(config: Config, seed: int | None, task: str | list[str] | None, division: int | str | None) -> str:
    # A task alone has the weight 1, whether or not the config names the others.
    weights = {name: round(weight, 9) for name, weight in config.task_weights.items()} if task is None else {}
    # Earlier versions knew one division only: their keys hold none.
    divided = [] if division is None else [division]
    return json.dumps([task, seed, dict(config.hyperparameters), weights, *divided], sort_keys=True)
