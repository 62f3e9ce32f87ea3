"""Every trial of a study as one row of a table."""

from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from mtlsearch.store.record import Record

if TYPE_CHECKING:
    import pandas as pd


def trials_frame(record: Record) -> "pd.DataFrame":
    """Every trial, one row each: number, state, score, params, task weights, metrics, times."""
    import pandas as pd

    rows = [_row(trial) for trial in record.trials()]
    # Columns are the union over the trials, in the order in which they first appear.
    return pd.DataFrame(rows, columns=list(dict.fromkeys(column for row in rows for column in row)))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attrs = trial.user_attrs
    weights = {f"task_weight.{task}": weight for task, weight in attrs.get("task_weights", {}).items()}
    metrics = {
        f"validation.{task}.{metric}": value
        for task, values in attrs.get("validation", {}).items()
        for metric, value in values.items()
    }
    told = {
        key: attrs.get(key)
        for key in ("best_epoch", "epochs", "entry_epoch", "seconds", "reason", "retry_of")
    }
    return {
        "number": trial.number,
        "state": "interrupted" if attrs.get("interrupted") else trial.state.name.lower(),
        "score": trial.value,
        **weights,
        **metrics,
        **{f"params.{name}": value for name, value in trial.params.items()},
        **told,
        "started": trial.datetime_start,
        "completed": trial.datetime_complete,
    }
