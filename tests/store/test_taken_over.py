"""A process that slept so long that it seemed dead: its trials were taken over, and it goes on without them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import known_weights as known
import optuna
import pytest
from optuna.trial import TrialState
from sessions import session

from mtlsearch.evidence.trainings import ended, open_confirmation
from mtlsearch.store.database.opening import Storage, is_counted, open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import Record
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.confirm import confirm
from mtlsearch.tuning.loop import search
from mtlsearch.tuning.options.groups import AgainOptions

TRIALS = 3


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as opened:
        yield opened


def taken_over(storage: Storage, name: str) -> None:
    """Interrupt the running trials, as another host does that takes this process for dead."""
    storage.flush()  # as it is after half a second
    url = storage.url.render_as_string(hide_password=False)
    with open_storage(url, create=True) as other:
        study = optuna.load_study(storage=other, study_name=name)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            assert other.interrupt(trial._trial_id) is not None


class Sleeper(SoloTrainer):
    """Loses its first trial at one moment: in an epoch, or between an epoch's end and the telling."""

    def __init__(self, training: Training, storage: Storage, name: str, moment: str) -> None:
        super().__init__(training)
        self.storage, self.name, self.moment = storage, name, moment

    def _sleep(self, moment: str) -> None:
        if moment == self.moment:
            self.moment = ""
            taken_over(self.storage, self.name)

    def advance(self) -> list[EpochResult]:
        results = super().advance()
        self._sleep("epoch")
        return results

    def conditions(self, number: int) -> dict[str, Any]:
        self._sleep("telling")
        return super().conditions(number)

    def state(self, number: int) -> dict[str, Any]:
        self._sleep("state")
        return super().state(number)


def opened(storage: Storage, folder: Path) -> tuple[Record, Training]:
    loaded = load_data(known.study, Path("nowhere"))
    record = open_record(storage, "known", describe(loaded), 0, folder)
    record.study.sampler = optuna.samplers.RandomSampler(seed=0)
    record.study.pruner = optuna.pruners.NopPruner()
    return record, Training(loaded, 0)


@pytest.mark.parametrize("moment", ["epoch", "telling", "state"])
def test_search_goes_on_without_a_trial_that_was_taken_over(storage: Storage, tmp_path: Path, moment: str) -> None:
    record, training = opened(storage, tmp_path)
    trainer = Sleeper(training, storage, "known", moment)
    search(session(record, training, lambda training: trainer), TRIALS)
    trials = record.trials()
    assert trainer.moment == ""
    assert sum(map(is_counted, trials)) == TRIALS
    assert [t.user_attrs.get("interrupted", False) for t in trials].count(True) == 1
    (again,) = (t for t in trials if "retry_of" in t.user_attrs)
    assert again.state is TrialState.COMPLETE
    assert again.params == trials[0].params


@pytest.mark.parametrize("moment", ["epoch", "state"])
def test_confirmation_trains_again_what_was_taken_over(storage: Storage, tmp_path: Path, moment: str) -> None:
    record, training = opened(storage, tmp_path)
    search(session(record, training), TRIALS)
    made: list[Sleeper] = []

    def make(training: Training) -> Sleeper:
        made.append(Sleeper(training, storage, "known/confirmation", "" if made else moment))
        return made[-1]

    amount = AgainOptions(seeds=2, top=1, single=False)
    assert confirm(session(record, training, make), amount)
    confirmation = open_confirmation(record)
    assert made[0].moment == ""
    assert len(ended(confirmation)) == 4
    assert "conclusion" in confirmation.study.user_attrs
    assert sum("interrupted" in t.user_attrs for t in confirmation.trials()) == 1
