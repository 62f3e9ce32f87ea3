"""A step of the default config, taken before a study is written: what cannot take it cannot be searched."""

import math

from mtlsearch.activity import doing
from mtlsearch.errors import ModelError, MtlsearchError, StudyError, kind_and_line
from mtlsearch.training.batches import epoch_batches, epoch_reads
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training
from mtlsearch.wording import few, message_line

LONGEST_REASON = 300  # letters


def take_first_step(training: Training) -> dict[str, float]:
    """Train a model of the default config on the first batch, and forget it; the loss of each task before that step.

    Raises ModelError where the step fails, out of memory say.
    """
    loaded, seed = training.loaded, training.seed
    try:
        with doing("trying the first step"), epoch_reads(loaded, seed, 0) as reads:
            member = SoloMember(training, 0, loaded.study.default_config(), entry_epoch=0, seed=seed)
            member.model.train()
            losses = member.step(epoch_batches(loaded, seed, 0), 0, read=next(reads)).tolist()
    except MtlsearchError:
        raise
    except Exception as error:
        reason = message_line(kind_and_line(error), LONGEST_REASON)
        raise ModelError(f"the first training step of the default config fails: {reason}") from error
    return dict(zip(loaded.study.task_names, losses, strict=True))


def check_first_step(training: Training) -> None:
    """Raise ModelError where the first step fails, and StudyError where a loss is not finite in it."""
    bad = {task: loss for task, loss in take_first_step(training).items() if not math.isfinite(loss)}
    if bad:
        raise StudyError(
            f"the loss of {few(list(bad))} must be finite, but in the first step of the default config it is"
            f" {next(iter(bad.values()))}: correct the model, the loss or the labels"
        )
