"""A step of the default config, taken before a study is written: what cannot take it cannot be searched."""

from mtlsearch.activity import doing
from mtlsearch.errors import ModelError, MtlsearchError, kind_and_line
from mtlsearch.training.batches import epoch_batches, epoch_reads
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training
from mtlsearch.wording import message_line

LONGEST_REASON = 300  # letters


def take_first_step(training: Training) -> None:
    """Train a model of the default config on the first batch, and forget it.

    Raises ModelError where the step fails, out of memory say. A loss that is not finite is no such failure: a trial has
    it for an outcome.
    """
    loaded, seed = training.loaded, training.seed
    try:
        with doing("trying the first step"), epoch_reads(loaded, seed, 0) as reads:
            member = SoloMember(training.in_columns, 0, loaded.study.default_config(), entry_epoch=0, seed=seed)
            member.model.train()
            member.step(epoch_batches(loaded, seed, 0), 0, read=next(reads))
    except MtlsearchError:
        raise
    except Exception as error:
        reason = message_line(kind_and_line(error), LONGEST_REASON)
        raise ModelError(f"the first training step of the default config fails: {reason}") from error
