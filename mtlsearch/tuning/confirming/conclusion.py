"""The conclusion of a confirmation: the verdict on its trainings, and what could make a task better alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from mtlsearch.errors import ModelError, StoreError
from mtlsearch.evidence.answer import Plan, conclusion, task_metrics
from mtlsearch.evidence.effects import Blame
from mtlsearch.evidence.trainings import Confirmation, ended
from mtlsearch.evidence.verdict import Verdict
from mtlsearch.store.model_file import read_model
from mtlsearch.store.trials import best_of, trial_epochs
from mtlsearch.study.divisions import overlaps
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.training.gradient_shares import gradient_shares

if TYPE_CHECKING:
    from mtlsearch.tuning.session import Session


def conclude(
    session: "Session",
    confirmation: Confirmation,
    plan: Plan,
    searches: Mapping[str, "Session"],
    asked: int | None = None,
) -> None:
    """Store the verdict on trainings that have all ended; `asked` is the trial that was asked for."""
    record, loaded = session.record, session.training.loaded
    divided = overlaps(loaded.splits) if plan.divisions else None
    found, metrics = ended(confirmation), task_metrics(record, test_examples(loaded), divided)
    budgets = {task: trial_epochs(each.record.trials()) for task, each in searches.items()}
    notes = [budget_line(trial_epochs(record.trials()), budgets)] if budgets else []
    if asked is not None:
        notes.append(f"trial {asked} was asked for; `mtlsearch confirm {record.name}` confirms the best of the search")
    if record.variant:
        notes.append(f"at {record.variant}, which the search did not have; `best` still gives the answer of the search")
    score = loaded.study.scoring
    first = plan.judge(found, metrics, score)
    blame = find_blame(session, confirmation, plan, first)
    verdict = plan.judge(found, metrics, score, blame, notes)
    concluded = conclusion(record, plan, found, verdict, confirmation.test_scorings())
    about = {"trial_epochs_alone": budgets, **({} if asked is None else {"asked": asked})}
    confirmation.study.set_user_attr("conclusion", {**concluded, **about})


def budget_line(shared: int, alone: Mapping[str, int]) -> str:
    """The budgets of both kinds of search, as the verdict states them."""
    each = ", ".join(f"{task} alone {epochs:,}" for task, epochs in alone.items())
    return f"trial-epochs of the searches: shared {shared:,}, {each}"


def find_blame(session: "Session", confirmation: Confirmation, plan: Plan, verdict: Verdict) -> Blame:
    """The circumstances that could make a task better alone, at the weights that the verdict keeps."""
    study, of = session.study, list(plan.configs)[verdict.winner]
    tuned = verdict.recommendation.weights == "tuned"
    repeats = plan.repeats_of("config" if tuned else "twin", of)
    kept = best_of(ended(confirmation)[repeat.key] for repeat in repeats)
    edge = study.weight_space.at_edge(plan.configs[of].task_weights) if tuned and len(study.weighted) > 1 else []
    shares: dict[str, float] = {}
    if kept is not None and len(study.weighted) > 1:
        try:
            state, _ = read_model(confirmation.own_parameters(kept))
            shares = gradient_shares(session.training, repeats[0].config, state)
        except (StoreError, ModelError):  # another run keeps its parameters elsewhere
            session.watcher.notice("the parameters of the winner are not here: no share of the trunk's gradient")
    return Blame(next(iter(edge), None), study.weight_range, shares)


def test_examples(loaded: LoadedStudy) -> dict[str, int]:
    """The number of labels that each task has in the test split."""
    labels = {task: splits.test.labels[task] for splits in loaded.splits for task in splits.tasks}
    return {task: _labels(labels[task]) for task in loaded.study.task_names}


def _labels(labels: torch.Tensor) -> int:
    missing = labels.isnan() if labels.is_floating_point() else labels < 0
    return int((~missing).sum())
