"""The cost of a confirmation, told before it begins: its trainings, their trial-epochs and the expected time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mtlsearch.evidence.answer import Plan, expected_seconds
from mtlsearch.evidence.trainings import Confirmation, Repeat, ended
from mtlsearch.store.trials import trial_epochs
from mtlsearch.tuning.confirming.divisions import division_lines
from mtlsearch.wording import duration, listed

if TYPE_CHECKING:
    from mtlsearch.tuning.session import Session


def tell_cost(
    session: "Session",
    confirmation: Confirmation,
    plan: Plan,
    searches: Mapping[str, "Session"],
    hint: str,
    asked: int | None = None,
) -> None:
    """Say beforehand what is to be trained, in trial-epochs and expected time."""
    study, found, repeats = session.study, ended(confirmation), plan.shared()
    # Until the winner is known, more arms are counted for the first config; they cost the same. So do the configs of
    # searches that are still to come.
    known = all(repeat.key in found for repeat in repeats)
    winner = plan.winner(found) if known else next(iter(plan.configs))
    repeats += _more(plan, winner)
    left = confirmation.left(repeats)
    to_come = sum(len(plan.seeds) for each in searches.values() if each.affords_a_trial())
    before = len(repeats) - len(left)
    session.watcher.begun(len(repeats), before, study.epochs)
    search_epochs = sum(epochs_left(each, session.record.counted()) for each in searches.values())
    if not (left or search_epochs):
        return
    epochs = (len(left) + to_come) * study.epochs + search_epochs
    # A trial-epoch of a search with folds trains on each of them.
    seconds = expected_seconds(session.record, (epochs - search_epochs) / (study.folds or 1) + search_epochs)
    time_told = "" if seconds is None else f", about {duration(seconds)}"
    many = len(plan.configs)
    configs = f"the best {many} configs with their twins" if many > 1 else "the best config with its twin"
    configs = configs if asked is None else f"trial {asked} with its twin"
    more = f" and {listed(plan.scored)} alone" if plan.scored else ""
    done = f" ({before} are done)" if before else ""
    own = f" after a search of its own in {search_epochs:,} trial-epochs" if search_epochs else ""
    for line in division_lines(session.training.loaded, len(plan.divisions)):
        session.watcher.notice(line)
    each = f"on {len(plan.divisions)} new divisions" if plan.divisions else f"{len(plan.seeds)} seeds each"
    session.watcher.notice(
        f"confirming {configs} of equal weights{more}{own}, {each}:"
        f" {len(left) + to_come} trainings{done}, up to {epochs:,} trial-epochs{time_told}{hint}"
    )


def _more(plan: Plan, winner: int) -> list[Repeat]:
    """The trainings of the winner's other arms, and of the tasks alone."""
    singles = [repeat for task in plan.scored for each in plan.alone(winner, task) for repeat in each]
    return [*plan.arms(winner), *singles]


def tell_left(session: "Session", confirmation: Confirmation, plan: Plan, winner: int) -> None:
    """Show the trainings again, after searches whose trials were shown."""
    repeats = [*plan.shared(), *_more(plan, winner)]
    session.watcher.begun(len(repeats), len(repeats) - len(confirmation.left(repeats)), session.study.epochs)


def epochs_left(search: "Session", trials: int) -> int:
    """The trial-epochs that a search of its own may still take, 0 where it has all its trials or no room for one."""
    record = search.record
    if search.budget is None or not search.affords_a_trial() or record.counted() >= trials:
        return 0
    return search.budget - trial_epochs(record.trials())


def repeats_told(plan: Plan) -> str:
    """`with 5 seeds`, or `on 5 new divisions`."""
    return f"on {len(plan.divisions)} new divisions" if plan.divisions else f"with {len(plan.seeds)} seeds"
