"""Bounds on what users ask for. Values beyond them are slips: they would take all memory, or never end."""

import os
from collections.abc import Mapping

from mtlsearch.errors import StudyError
from mtlsearch.wording import shortened

MOST_TRIALS = 10**6
MOST_EPOCHS = 10**6
MOST_BATCH = 2**24  # examples
MOST_MEMBERS = 4096  # trials in training at once
MOST_SEEDS = 1000  # of a confirmation, and configs that it trains again
LARGEST_SEED = 2**63 - 1
MOST_UNITS = 2**17  # of a hidden layer, or channels of a map
MOST_FOLDS = 100
MOST_SEARCHES = 100
MOST_WORKERS = 10_000
MOST_LAYERS = 1000
MOST_CLASSES = 10**6  # and other outputs of a task
LONGEST_TASK = 200  # letters of a task's name: with what is added to it, Optuna's columns hold it
MOST_COLUMNS = 50_000  # of a table
MOST_IDS = 10**8  # of a vocabulary
MOST_TOKENS = 10_000  # of a text
ONE_PROCESS = "MTLSEARCH_ONE_PROCESS"  # set for a run on a machine that others share: it starts no workers by itself
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # for this process


def check_most(most: int, **sizes: int) -> None:
    """Raise StudyError for a size beyond `most`."""
    for name, size in sizes.items():
        if size > most:
            raise StudyError(f"{name} must be {most} or less, but got {shortened(size, 60)}")


def check_heads(heads: Mapping[str, int]) -> None:
    """Raise StudyError for a task of too many outputs."""
    for task, size in heads.items():
        check_most(MOST_CLASSES, **{f"the outputs of task {task!r}": size})
