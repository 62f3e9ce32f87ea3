"""Every error that a user can mend, drawn once.

MtlsearchError            one line on stderr, exit status 1
├── UsageError            a wrong option or argument, exit status 2
├── StudyError            a study file, or a definition in it
├── DataError             data that are missing, broken or unusable
├── ModelError            a model that does not fit its tasks, or a broken file of parameters
├── ConfigError           an exported config that cannot be used
├── StoreError            the store, or a study in it
└── WorkerError           a worker that cannot be started, or dies again and again

Anything else that is raised is a defect of mtlsearch and keeps its traceback.
"""

from collections import Counter
from collections.abc import Sequence


class MtlsearchError(Exception):
    """An error whose message states the rule, what was got, and what to do next."""

    exit_status = 1


class UsageError(MtlsearchError):
    """A command was called in a way that cannot work."""

    exit_status = 2


class StudyError(MtlsearchError):
    """A study cannot be found, imported or used as it is defined."""


class DataError(MtlsearchError):
    """Data are missing, broken or unusable for their task."""


class ModelError(MtlsearchError):
    """A model does not fit its tasks, or its file of parameters cannot be used."""


class ConfigError(MtlsearchError):
    """An exported config cannot be read or does not fit its study."""


class StoreError(MtlsearchError):
    """The store cannot be opened, read or written, or a study in it does not fit."""


class WorkerError(MtlsearchError):
    """A worker cannot be started, differs from the driver, or dies again and again."""


def check_distinct(names: Sequence[str], rule: str, kind: type[MtlsearchError]) -> None:
    """Raise an error of `kind` that states the rule where a name occurs twice."""
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(sorted(names)).items() if count > 1)
        raise kind(f"{rule}, but {twice!r} is there twice")


def one_line(error: BaseException) -> str:
    """The first line of what an error says, its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def kind_and_line(error: BaseException) -> str:
    """An error's kind, and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
