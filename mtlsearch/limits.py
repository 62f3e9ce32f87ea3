"""Bounds on what users ask for. Values beyond them are slips: they would take all memory, or never end."""

import os

MOST_EPOCHS = 10**6
MOST_BATCH = 2**24  # examples
MOST_MEMBERS = 4096  # trials in training at once
MOST_FOLDS = 100
MOST_UNITS = 2**17  # of a hidden layer
MOST_LAYERS = 1000
MOST_CLASSES = 10**6
MOST_COLUMNS = 50_000  # of a table
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # for this process
