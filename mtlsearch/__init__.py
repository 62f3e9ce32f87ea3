"""mtlsearch finds the task weights and hyperparameters of a multi-task PyTorch model, with evidence.

Names are loaded when they are first used, so that `import mtlsearch` and `mtlsearch --help` answer at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlsearch.api import Result as Result
    from mtlsearch.api import search as search
    from mtlsearch.data.cached import cached as cached
    from mtlsearch.data.data import Data as Data
    from mtlsearch.data.medmnist import MedMNIST as MedMNIST
    from mtlsearch.data.nyuv2 import NYUv2 as NYUv2
    from mtlsearch.data.pictures import PictureFolder as PictureFolder
    from mtlsearch.data.scenes import RenderedScenes as RenderedScenes
    from mtlsearch.data.table import Table as Table
    from mtlsearch.data.text import Corpus as Corpus
    from mtlsearch.data.text_files import TaggedFiles as TaggedFiles
    from mtlsearch.data.text_files import TextFiles as TextFiles
    from mtlsearch.data.torchvision_images import TorchvisionImages as TorchvisionImages
    from mtlsearch.errors import MtlsearchError as MtlsearchError
    from mtlsearch.nn.batched.dropout import Dropout as Dropout
    from mtlsearch.nn.conv import ConvTrunk as ConvTrunk
    from mtlsearch.nn.dense import DenseTrunk as DenseTrunk
    from mtlsearch.nn.norms import LayerNorm as LayerNorm
    from mtlsearch.nn.pretrained.adapters import adapted as adapted
    from mtlsearch.nn.pretrained.backbone import Backbone as Backbone
    from mtlsearch.nn.pretrained.frozen import frozen as frozen
    from mtlsearch.nn.sharing import LinearHeads as LinearHeads
    from mtlsearch.nn.task_modules import TaskModules as TaskModules
    from mtlsearch.nn.text import TextTrunk as TextTrunk
    from mtlsearch.nn.transformer import TransformerTrunk as TransformerTrunk
    from mtlsearch.nn.trunks import SeparateTrunks as SeparateTrunks
    from mtlsearch.nn.trunks import SharedTrunk as SharedTrunk
    from mtlsearch.service.remote.client import connect as connect
    from mtlsearch.store.model_file import load_model as load_model
    from mtlsearch.study.score import Score as Score
    from mtlsearch.study.space import Config as Config
    from mtlsearch.study.space import choice as choice
    from mtlsearch.study.space import integer as integer
    from mtlsearch.study.space import real as real
    from mtlsearch.study.study import Study as Study
    from mtlsearch.study.study_file import load_study as load_study
    from mtlsearch.tasks.classification import Classification as Classification
    from mtlsearch.tasks.custom import CustomTask as CustomTask
    from mtlsearch.tasks.dense import Depth as Depth
    from mtlsearch.tasks.dense import Normals as Normals
    from mtlsearch.tasks.dense import Segmentation as Segmentation
    from mtlsearch.tasks.evaluation import Evaluation as Evaluation
    from mtlsearch.tasks.multilabel import MultiLabel as MultiLabel
    from mtlsearch.tasks.regression import Regression as Regression
    from mtlsearch.tasks.tagging import TokenTagging as TokenTagging
    from mtlsearch.tasks.term import Term as Term
    from mtlsearch.tuning.objective import objective as objective

_HOMES = {
    "Backbone": "nn.pretrained.backbone",
    "Classification": "tasks.classification",
    "Config": "study.space",
    "ConvTrunk": "nn.conv",
    "Corpus": "data.text",
    "CustomTask": "tasks.custom",
    "Data": "data.data",
    "DenseTrunk": "nn.dense",
    "Depth": "tasks.dense",
    "Dropout": "nn.batched.dropout",
    "Evaluation": "tasks.evaluation",
    "LayerNorm": "nn.norms",
    "LinearHeads": "nn.sharing",
    "MedMNIST": "data.medmnist",
    "MtlsearchError": "errors",
    "MultiLabel": "tasks.multilabel",
    "NYUv2": "data.nyuv2",
    "Normals": "tasks.dense",
    "PictureFolder": "data.pictures",
    "Regression": "tasks.regression",
    "RenderedScenes": "data.scenes",
    "Result": "api",
    "Score": "study.score",
    "Segmentation": "tasks.dense",
    "SeparateTrunks": "nn.trunks",
    "SharedTrunk": "nn.trunks",
    "Study": "study.study",
    "Table": "data.table",
    "TaggedFiles": "data.text_files",
    "TaskModules": "nn.task_modules",
    "Term": "tasks.term",
    "TextFiles": "data.text_files",
    "TextTrunk": "nn.text",
    "TokenTagging": "tasks.tagging",
    "TorchvisionImages": "data.torchvision_images",
    "TransformerTrunk": "nn.transformer",
    "adapted": "nn.pretrained.adapters",
    "cached": "data.cached",
    "choice": "study.space",
    "connect": "service.remote.client",
    "frozen": "nn.pretrained.frozen",
    "integer": "study.space",
    "load_model": "store.model_file",
    "load_study": "study.study_file",
    "objective": "tuning.objective",
    "real": "study.space",
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
