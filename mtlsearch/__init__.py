"""mtlsearch finds the task weights and hyperparameters of a multi-task PyTorch model, with evidence.

Names are loaded when they are first used, so that `import mtlsearch` and `mtlsearch --help` answer at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlsearch.data import Data as Data
    from mtlsearch.datasets import TorchvisionImages as TorchvisionImages
    from mtlsearch.errors import MtlsearchError as MtlsearchError
    from mtlsearch.models import load_model as load_model
    from mtlsearch.nn import Dropout as Dropout
    from mtlsearch.nn import LayerNorm as LayerNorm
    from mtlsearch.nn import SeparateTrunks as SeparateTrunks
    from mtlsearch.nn import SharedTrunk as SharedTrunk
    from mtlsearch.search import objective as objective
    from mtlsearch.space import Config as Config
    from mtlsearch.space import choice as choice
    from mtlsearch.space import integer as integer
    from mtlsearch.space import real as real
    from mtlsearch.study import Study as Study
    from mtlsearch.study import load_study as load_study
    from mtlsearch.tasks import Classification as Classification
    from mtlsearch.tasks import CustomTask as CustomTask
    from mtlsearch.tasks import MultiLabel as MultiLabel
    from mtlsearch.tasks import Regression as Regression

_HOMES = {
    "Classification": "tasks",
    "Config": "space",
    "CustomTask": "tasks",
    "Data": "data",
    "Dropout": "nn",
    "LayerNorm": "nn",
    "MtlsearchError": "errors",
    "MultiLabel": "tasks",
    "Regression": "tasks",
    "SeparateTrunks": "nn",
    "SharedTrunk": "nn",
    "Study": "study",
    "TorchvisionImages": "datasets",
    "choice": "space",
    "integer": "space",
    "load_model": "models",
    "load_study": "study",
    "objective": "search",
    "real": "space",
}

__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mtlsearch' has no attribute {name!r}")
    return getattr(import_module(f"mtlsearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
