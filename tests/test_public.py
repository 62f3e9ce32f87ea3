"""The public names: explicit, sorted, each importable, and light to import."""

import subprocess
import sys
from importlib import import_module

import pytest

import mtlsearch
from mtlsearch import errors

DOCUMENTED = {
    "Backbone", "Classification", "Config", "ConvTrunk", "CustomTask", "Data", "DenseTrunk", "Depth",
    "Dropout", "LayerNorm", "MedMNIST", "MtlsearchError", "MultiLabel", "NYUv2", "Normals",
    "PictureFolder", "Regression",
    "RenderedScenes", "Segmentation", "SeparateTrunks", "SharedTrunk", "Study", "Table",
    "TaskModules", "TorchvisionImages",
    "Corpus", "TaggedFiles", "TextFiles", "TextTrunk", "TokenTagging",
    "__version__", "cached", "choice", "integer", "load_model", "load_study", "objective", "real",
}  # fmt: skip


def test_public_names_are_sorted_and_hold_the_documented_ones() -> None:
    assert mtlsearch.__all__ == sorted(set(mtlsearch.__all__))
    assert set(mtlsearch.__all__) >= DOCUMENTED
    assert dir(mtlsearch) == mtlsearch.__all__


@pytest.mark.parametrize("name", mtlsearch.__all__)
def test_each_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(mtlsearch, name)
    if name != "__version__":
        assert getattr(import_module(value.__module__), name) is value
        assert value.__module__.startswith("mtlsearch.")
        assert value.__doc__


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'mtlsearch' has no attribute 'nothing'$"):
        _ = mtlsearch.nothing


@pytest.mark.parametrize(
    "module", ["mtlsearch", "mtlsearch.errors", "mtlsearch.cli.main", "mtlsearch.tuning.options.reading"]
)
def test_importing_is_light(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'optuna', 'pandas', 'numpy', 'plotly', 'sklearn', 'sqlalchemy', 'torchvision'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_is_drawn_in_the_tree_and_has_its_exit_status() -> None:
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.MtlsearchError)
    }
    assert errors.__doc__ is not None
    assert [name for name in kinds if name not in errors.__doc__] == []
    assert {name for name, kind in kinds.items() if kind.exit_status == 2} == {"UsageError"}
    assert {kind.exit_status for kind in kinds.values()} == {1, 2}
