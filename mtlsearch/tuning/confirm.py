"""Confirmation: the best configs, their twins and single tasks, trained again with fresh seeds.

`confirm` is the command's work: it plans, tells the cost, trains what has not ended yet and stores the
verdict. The winner is chosen on validation; each training is scored on test once, at its best epoch. What is
trained and what it says is in `evidence`, what is stored in `confirmation`.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import json_to_distribution
from optuna.trial import TrialState

from mtlsearch.errors import ModelError
from mtlsearch.evidence.answer import Plan, candidates, conclusion, expected_seconds, task_metrics
from mtlsearch.evidence.trainings import Confirmation, Repeat, ended, open_confirmation
from mtlsearch.store.model_file import save_model
from mtlsearch.store.record import Record
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import fixed_value
from mtlsearch.study.study import SCORES, LoadedStudy, Study
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.solo import evaluate_state
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.loop import WAIT_SECONDS, barrier
from mtlsearch.tuning.progress import Progress
from mtlsearch.wording import described, duration

MOST_SINGLES = 8
MakeTrainer = Callable[[Training], Trainer]


@dataclass(frozen=True)
class Confirming:
    """How much is trained again: the `top` best configs with `seeds` fresh seeds each.

    `single`: each task of the winner by itself too; None means where there are at most 8 tasks.
    """

    seeds: int = 5
    top: int = 2
    single: bool | None = None

    @property
    def trainings(self) -> int:
        """Of all tasks: each config and its twin with each seed."""
        return 2 * self.top * self.seeds


def confirm(
    record: Record,
    training: Training,
    make_trainer: MakeTrainer,
    amount: Confirming,
    progress: Progress,
    trained_on: Mapping[str, Any],
    deadline: float | None = None,
    hint: str = "",
) -> bool:
    """Confirm the best configs of a study; False where `deadline` on the monotonic clock came first.

    Raises StudyError where every seed of every config failed, Interrupted after a stop; the same call goes on.
    """
    if not candidates(record, amount.top):
        return False
    confirmation = open_confirmation(record)
    confirmation.take_over()
    loaded = training.loaded
    singles = alone(loaded, amount.single, progress)
    plan = make_plan(record, amount, bool(singles))
    tell_cost(record, confirmation, plan, loaded.study, progress, hint)
    work = Work(confirmation, training, make_trainer, progress, trained_on, deadline)
    if not work.train(training, plan.shared()):
        return False
    winner = plan.winner(ended(confirmation))
    for task, single in singles.items():
        if not work.train(replace(training, loaded=single), plan.alone(winner, task)):
            return False
    conclude(record, confirmation, plan, loaded)
    scorings = confirmation.test_scorings()
    progress.notice(f"confirmed with {len(plan.seeds)} seeds; the test split was scored {scorings} times")
    return True


def make_plan(record: Record, amount: Confirming, single: bool) -> Plan:
    """The plan for the study as it stands, with seeds that the search has not used."""
    seed = int(record.info["seed"])
    fresh = dict.fromkeys(derived_seed(seed, "confirm", i) for i in range(amount.seeds + 8))
    fresh.pop(seed, None)
    return Plan(candidates(record, amount.top), list(fresh)[: amount.seeds], single)


def alone(loaded: LoadedStudy, single: bool | None, progress: Progress) -> dict[str, LoadedStudy]:
    """Each task's study by itself; none where there is one task, or many, or the model needs all at once."""
    tasks = loaded.study.task_names
    if len(tasks) == 1 or single is False or (single is None and len(tasks) > MOST_SINGLES):
        return {}
    try:
        return {task: loaded.only(task) for task in tasks}
    except ModelError as error:
        progress.notice(f"no single-task training: {error}")
        return {}


def tell_cost(
    record: Record, confirmation: Confirmation, plan: Plan, study: Study, progress: Progress, hint: str
) -> None:
    """Say beforehand what is to be trained, in trial-epochs and expected time."""
    repeats = plan.shared()
    if plan.single:
        # Until the winner is known, single tasks are counted for the first config; they cost the same.
        found = ended(confirmation)
        known = all(repeat.key in found for repeat in repeats)
        winner = plan.winner(found) if known else next(iter(plan.configs))
        repeats += [repeat for task in study.task_names for repeat in plan.alone(winner, task)]
    left = confirmation.left(repeats)
    progress.total, before = len(repeats), len(repeats) - len(left)
    progress.begun(before, study.epochs)
    if not left:
        return
    epochs = len(left) * study.epochs
    seconds = expected_seconds(record, epochs)
    time_told = "" if seconds is None else f", about {duration(seconds)}"
    many = len(plan.configs)
    configs = f"best {many} configs with their twins" if many > 1 else "best config with its twin"
    singles = f" and {len(study.tasks)} single tasks" if plan.single else ""
    done = f" ({before} are done)" if before else ""
    progress.notice(
        f"confirming the {configs} of equal weights{singles},"
        f" {len(plan.seeds)} seeds each: {len(left)} trainings{done}, up to {epochs:,} trial-epochs{time_told}{hint}"
    )


@dataclass(frozen=True)
class Work:
    """What trains repeats, and for whom."""

    confirmation: Confirmation
    training: Training  # of all tasks
    make_trainer: MakeTrainer
    progress: Progress
    trained_on: Mapping[str, Any]
    deadline: float | None

    def train(self, training: Training, repeats: Sequence[Repeat]) -> bool:
        """Train what is left of `repeats`; False where the deadline came first. Raises Interrupted."""
        book, study = self.confirmation, training.loaded.study
        # A lane holds trainings of one seed, which share its batches: more slots would stay empty.
        training = replace(training, slots=max(Counter(repeat.seed for repeat in repeats).values()))
        trainer = self.make_trainer(training) if book.left(repeats) else None
        members: dict[int, Repeat] = {}
        try:
            while self.deadline is None or time.monotonic() < self.deadline:
                while trainer is not None and trainer.room() and (left := book.left(repeats)):
                    number = book.begin(left[0], study)
                    members[number] = left[0]
                    # A config and its twin of one seed come together, so that they share its batches.
                    entry = trainer.add(number, left[0].config, entry_epoch=0, seed=left[0].seed)
                    book.enter(number, entry, self.trained_on)
                    self.progress.asked(number, left[0].config)
                if trainer is None or not book.running:
                    if not self._others_train(repeats):
                        return True
                    if trainer is None and book.left(repeats):
                        trainer = self.make_trainer(training)
                    continue
                for result in barrier(book, trainer):
                    book.report(result)
                    self.progress.reported(result)
                    if result.number not in book.running:  # another process has just taken it over
                        trainer.drop(result.number)
                    elif result.finished:
                        self._end(trainer, training, result, members[result.number])
            return self._all_ended(repeats)
        finally:
            book.interrupt()

    def _all_ended(self, repeats: Sequence[Repeat]) -> bool:
        self.confirmation.storage.refresh(self.confirmation.study._study_id)
        found = ended(self.confirmation)
        return all(repeat.key in found for repeat in repeats)

    def _others_train(self, repeats: Sequence[Repeat]) -> bool:
        """Whether some have not ended: waits a moment for other processes, takes over what the dead left."""
        book = self.confirmation
        if self._all_ended(repeats):
            return False
        if not book.take_over() and not book.left(repeats):
            self.progress.waiting(len(book.trials(TrialState.RUNNING)))
            time.sleep(WAIT_SECONDS)
        return True

    def _end(self, trainer: Trainer, training: Training, result: EpochResult, repeat: Repeat) -> None:
        """Score a member on test, once, and store how it ended."""
        book, number, loaded = self.confirmation, result.number, training.loaded
        failed, told = result.reason is not None, result.reason
        if not failed:
            state = trainer.state(number)
            test = evaluate_state(loaded, repeat.config, state, "test", training.precision)
            with book.losing(number):
                book.scored(number, test)
            told = f"test {described(test)}"

        def save(path: Path, config: dict[str, Any]) -> None:
            of = {"name": book.study.user_attrs["of"]}
            save_model(path, trainer.state(number), {**config, "study": {**config["study"], **of}})

        if number in book.running:
            book.note(number, trainer.conditions(number))
            book.tell(result, TrialState.FAIL if failed else TrialState.COMPLETE, save)
        trainer.drop(number)
        self.progress.training.pop(number, None)
        self.progress.done += 1
        done = f"{self.progress.done} of {self.progress.total}"
        self.progress.say(f"confirmation {done}: {repeat}, seed {repeat.seed}: {told}")


def conclude(record: Record, confirmation: Confirmation, plan: Plan, loaded: LoadedStudy) -> None:
    """Store the verdict on trainings that have all ended, where the dashboard shows it too."""
    found = ended(confirmation)
    metrics = task_metrics(record, test_examples(loaded))
    verdict = plan.judge(found, metrics, loaded.study.score)
    concluded = conclusion(record, plan, found, verdict, confirmation.test_scorings())
    confirmation.study.set_user_attr("conclusion", concluded)


def as_recorded(study: Study, info: Mapping[str, Any]) -> Study:
    """The study as the command line of its search had changed it: budget, score, fixed dimensions."""
    for name, dimension in info["fingerprint"]["space"].items():
        then, now = json_to_distribution(json.dumps(dimension)), study.search_space.distributions.get(name)
        if now is not None and then.single() and not now.single():
            study = study.fixed(name, str(fixed_value(then)))
    score = info["score"] if info["score"] in SCORES else study.score
    return replace(study, **info["budget"], score=score)


def test_examples(loaded: LoadedStudy) -> dict[str, int]:
    """How many labels each task has in the test split."""
    labels = {task: splits.test.labels[task] for splits in loaded.splits for task in splits.tasks}
    return {task: _labels(labels[task]) for task in loaded.study.task_names}


def _labels(labels: torch.Tensor) -> int:
    missing = labels.isnan() if labels.is_floating_point() else labels < 0
    return int((~missing).sum())
