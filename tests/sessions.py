"""Sessions as tests make them: a quiet watcher, one CPU thread, solo unless another trainer is given."""

import torch

from mtlsearch.store.record import Record
from mtlsearch.training.device import Conditions
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.session import MakeTrainer, Session

ONE_THREAD = Conditions(torch.device("cpu"), 1)


def session(
    record: Record,
    training: Training,
    make_trainer: MakeTrainer = SoloTrainer,
    deadline: float | None = None,
) -> Session:
    return Session(record, training, make_trainer, Progress(quiet=True), ONE_THREAD, deadline)
