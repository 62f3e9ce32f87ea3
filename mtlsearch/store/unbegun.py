"""Removing a study that was made for a run which could not begin."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from optuna.trial import TrialState

from mtlsearch.activity import Interrupted
from mtlsearch.errors import StoreError
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.record import Record


@contextmanager
def removed_if_unbegun(record: Record) -> Iterator[None]:
    """Inside, a study is searched; if this process made it, an error before any result removes it again.

    Otherwise it would refuse the next run, which may have another definition. An interruption is no error.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        if record.is_new:
            with suppress(StoreError, KeyError):  # the store itself may be what fails, and the first error says more
                _remove_if_unbegun(record)
        raise


def _remove_if_unbegun(record: Record) -> None:
    record.refresh()
    if not any(is_counted(t) or t.state is TrialState.RUNNING or t.intermediate_values for t in record.trials()):
        record.storage.delete_study(record.study._study_id)
