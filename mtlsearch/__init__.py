"""mtlsearch finds the task weights and hyperparameters of a multi-task PyTorch model, with evidence.

Names are loaded when they are first used, so that `import mtlsearch` and `mtlsearch --help` answer at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlsearch.api import Result as Result
    from mtlsearch.api import search as search
    from mtlsearch.backbone import Backbone as Backbone
    from mtlsearch.cache import cached as cached
    from mtlsearch.conv import ConvTrunk as ConvTrunk
    from mtlsearch.data import Data as Data
    from mtlsearch.datasets import TorchvisionImages as TorchvisionImages
    from mtlsearch.dense import DenseTrunk as DenseTrunk
    from mtlsearch.dropout import Dropout as Dropout
    from mtlsearch.errors import MtlsearchError as MtlsearchError
    from mtlsearch.loop import objective as objective
    from mtlsearch.medmnist import MedMNIST as MedMNIST
    from mtlsearch.models import load_model as load_model
    from mtlsearch.nn import SeparateTrunks as SeparateTrunks
    from mtlsearch.nn import SharedTrunk as SharedTrunk
    from mtlsearch.norms import LayerNorm as LayerNorm
    from mtlsearch.nyuv2 import NYUv2 as NYUv2
    from mtlsearch.pictures import PictureFolder as PictureFolder
    from mtlsearch.pixels import Depth as Depth
    from mtlsearch.pixels import Normals as Normals
    from mtlsearch.pixels import Segmentation as Segmentation
    from mtlsearch.scenes import RenderedScenes as RenderedScenes
    from mtlsearch.space import Config as Config
    from mtlsearch.space import choice as choice
    from mtlsearch.space import integer as integer
    from mtlsearch.space import real as real
    from mtlsearch.study import Study as Study
    from mtlsearch.study_file import load_study as load_study
    from mtlsearch.tabular import Table as Table
    from mtlsearch.tagging import TokenTagging as TokenTagging
    from mtlsearch.tasks import Classification as Classification
    from mtlsearch.tasks import CustomTask as CustomTask
    from mtlsearch.tasks import MultiLabel as MultiLabel
    from mtlsearch.tasks import Regression as Regression
    from mtlsearch.text import Corpus as Corpus
    from mtlsearch.text_files import TaggedFiles as TaggedFiles
    from mtlsearch.text_files import TextFiles as TextFiles
    from mtlsearch.text_trunk import TextTrunk as TextTrunk

_HOMES = {
    "Backbone": "backbone",
    "Classification": "tasks",
    "Config": "space",
    "ConvTrunk": "conv",
    "Corpus": "text",
    "CustomTask": "tasks",
    "Data": "data",
    "DenseTrunk": "dense",
    "Depth": "pixels",
    "Dropout": "dropout",
    "LayerNorm": "norms",
    "MedMNIST": "medmnist",
    "MtlsearchError": "errors",
    "MultiLabel": "tasks",
    "NYUv2": "nyuv2",
    "Normals": "pixels",
    "PictureFolder": "pictures",
    "Regression": "tasks",
    "RenderedScenes": "scenes",
    "Result": "api",
    "Segmentation": "pixels",
    "SeparateTrunks": "nn",
    "SharedTrunk": "nn",
    "Study": "study",
    "Table": "tabular",
    "TaggedFiles": "text_files",
    "TextFiles": "text_files",
    "TextTrunk": "text_trunk",
    "TokenTagging": "tagging",
    "TorchvisionImages": "datasets",
    "cached": "cache",
    "choice": "space",
    "integer": "space",
    "load_model": "models",
    "load_study": "study_file",
    "objective": "loop",
    "real": "space",
    "search": "api",
}

__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mtlsearch' has no attribute {name!r}")
    return getattr(import_module(f"mtlsearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
