"""Deleting a study from the store, with what belongs to it: its confirmation, its other searches, its parameters."""

from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from mtlsearch.store.artifacts import kept_files
from mtlsearch.store.database.opening import Storage
from mtlsearch.store.states import found_states


def delete_study(storage: Storage, name: str, artifacts: Path) -> int:
    """Delete the study of that name and those whose names begin with it and a slash; how many trials they had.

    Their files go first, so that a deletion which is cut off can be given again.
    """
    names = [each.study_name for each in storage.get_all_studies()]
    trials = 0
    for each in [n for n in names if n == name or n.startswith(f"{name}/")]:
        study = optuna.load_study(storage=storage, study_name=each)
        found = study.get_trials(deepcopy=False)
        owners: list[optuna.Study | FrozenTrial] = [study, *found]
        for owner in owners:
            for path in list(kept_files(storage, artifacts, owner, lambda given: True)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        for state in found_states(artifacts, each):
            with suppress(OSError):
                state.path.unlink(missing_ok=True)
        storage.delete_study(study._study_id)
        trials += len(found)
    return trials
