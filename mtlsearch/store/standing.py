"""How far a study has come, by a few statements of SQL: a server asks this each second while others write.

Reading the study as a `Record` gives more, and costs more: it takes in every trial.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState

_STUDIES, _ATTRS = models.StudyModel.__table__, models.StudyUserAttributeModel.__table__
_TRIALS, _VALUES = models.TrialModel.__table__, models.TrialValueModel.__table__
_USER, _SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
MOST_POINTS = 60  # of a curve


@dataclass(frozen=True)
class Standing:
    """A study as it stands: trials with an outcome of their own, the best score after each, and the verdict."""

    counted: int
    curve: Sequence[tuple[int, float]]  # the trial's number, and the best score up to it; at most MOST_POINTS
    verdict: str | None

    @property
    def best(self) -> float | None:
        """The best score, None where no trial is complete."""
        return self.curve[-1][1] if self.curve else None


def standing(connection: sa.Connection, name: str) -> Standing | None:
    """The standing of the study of that name, None where there is none."""
    study = connection.scalar(sa.select(_STUDIES.c.study_id).where(_STUDIES.c.study_name == name))
    if study is None:
        return None
    ended = sa.select(sa.func.count()).where(_TRIALS.c.study_id == study, _TRIALS.c.state.in_(_ENDED))
    cut_off = ended.join_from(_TRIALS, _USER, _USER.c.trial_id == _TRIALS.c.trial_id).where(
        _USER.c.key == "interrupted", _USER.c.value_json == "true"
    )
    counted = (connection.scalar(ended) or 0) - (connection.scalar(cut_off) or 0)
    verdict = connection.scalar(
        sa.select(_ATTRS.c.value_json).where(_ATTRS.c.study_id == study, _ATTRS.c.key == "verdict")
    )
    return Standing(counted, _curve(connection, study), _text(verdict))


def _curve(connection: sa.Connection, study: int) -> list[tuple[int, float]]:
    """The best score by trial number; a trial that misses what it must reach does not count."""
    missed = sa.exists().where(
        _SYSTEM.c.trial_id == _TRIALS.c.trial_id,
        _SYSTEM.c.key.startswith("constraints:", autoescape=True),
        sa.cast(_SYSTEM.c.value_json, sa.Float) > 0,
    )
    rows = connection.execute(
        sa.select(_TRIALS.c.number, _VALUES.c.value)
        .join_from(_TRIALS, _VALUES, _VALUES.c.trial_id == _TRIALS.c.trial_id)
        .where(_TRIALS.c.study_id == study, _TRIALS.c.state == TrialState.COMPLETE)
        .where(_VALUES.c.objective == 0, _VALUES.c.value.is_not(None), ~missed)
        .order_by(_TRIALS.c.number)
    )
    found: list[tuple[int, float]] = []
    best = float("-inf")
    for number, value in rows:
        best = max(best, value)
        found.append((number, best))
    if len(found) <= MOST_POINTS:
        return found
    return [found[round(at * (len(found) - 1) / (MOST_POINTS - 1))] for at in range(MOST_POINTS)]


def _text(value: Any) -> str | None:
    """A stored attribute, where it is a text."""
    try:
        found = json.loads(value) if value is not None else None
    except ValueError:
        return None
    return found if isinstance(found, str) else None
