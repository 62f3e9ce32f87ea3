"""Runs whose trials train in workers, and what such a run leaves beside one that trains in its own process."""

from pathlib import Path
from typing import Any

from commands import STUDY_FILE, done, stored

COMPARED = ("task_weights", "validation", "best_epoch", "epochs", "entry_epoch", "reason", "retry_of", "trained_on")
TWO_FILE = STUDY_FILE.replace('"kind": choice("fine", "broken"), ', '"kind": choice("fine", "odd"), ')


def arguments(store: Path, trials: int, *more: object, epochs: int = 4) -> list[str]:
    """A run of a small study of this folder, 4 trials at once."""
    file = store.parent / "mine.py"
    file.write_text(TWO_FILE)
    line = (
        f"run {file} --trials {trials} --epochs {epochs} --population 4 --threads 1 --no-confirm --quiet --seed 5"
        f" --storage sqlite:///{store}"
    )
    return [*line.split(), *map(str, more)]


def outcomes(store: Path, *, by_number: bool = True) -> list[tuple[Any, ...]]:
    """All that a search leaves of its trials but times, processes and workers."""
    trials = stored(store, "mine")
    assert by_number == (sorted(t.number for t in trials) == [t.number for t in trials])
    return [
        (t.number, t.state, t.value, t.params, t.intermediate_values, *map(t.user_attrs.get, COMPARED)) for t in trials
    ]


def here(folder: Path, trials: int, *more: object, epochs: int = 4) -> list[tuple[Any, ...]]:
    """The outcomes of a run that trains in this process."""
    done(*arguments(folder / "here.db", trials, *more, epochs=epochs))
    return outcomes(folder / "here.db")
