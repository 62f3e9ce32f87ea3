"""The kinds of task by the names that stores and exported configs keep."""

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from mtlsearch.tasks.task import Task


def kind_named(name: str) -> type[Task]:
    """The kind of task `name`: one of this folder, or one that a study file has defined.

    An unknown kind is `Task` itself, whose answers are the values of its outputs.
    """
    _import_all()
    return Task.kinds.get(name, Task)


@cache
def _import_all() -> None:
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")
