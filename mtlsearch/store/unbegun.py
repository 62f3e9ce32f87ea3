"""Removing a study that was made for a run which could not begin."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from optuna.trial import TrialState

from mtlsearch.activity import Interrupted
from mtlsearch.errors import StoreError
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.record import Record


@contextmanager
def removed_if_unbegun(records: Sequence[Record]) -> Iterator[None]:
    """Inside, studies that belong together are searched; an error before any result removes those made here.

    Otherwise they would refuse the next run, which may have another definition. An interruption is no error.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        with suppress(StoreError, KeyError):  # the store itself may be what fails, and the first error says more
            new = [record for record in records if record.is_new]
            if new and not any(map(_has_begun, records)):
                for record in new:
                    record.storage.delete_study(record.study._study_id)
        raise


def _has_begun(record: Record) -> bool:
    record.refresh()
    return any(is_counted(t) or t.state is TrialState.RUNNING or t.intermediate_values for t in record.trials())
