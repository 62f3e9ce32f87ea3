"""The installed package: the wheel's contents, its metadata, and that every import is a declared dependency."""

import ast
import re
import subprocess
import sys
import tomllib
from email.parser import Parser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

import mtlsearch

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build(kind: str, source: Path, folder: Path) -> Path:
    """The wheel or sdist that hatchling builds from `source`, by the backend that pip would call."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


def modules(folder: str) -> set[str]:
    return {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.py")}


def test_wheel_holds_the_package_the_studies_and_the_schema(wheel: ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"mtlsearch/{name}" for name in modules("mtlsearch")} <= names
    assert {f"mtlsearch/studies/{name}" for name in modules("studies")} <= names
    assert len(modules("mtlsearch")) > 100
    data = {"store/config.schema.json", "report/page.js", "page.css", "inference/explain.css"}
    data |= {f"service/web/templates/{name}" for name in ("start.html.j2", "card.html.j2", "service.css", "service.js")}
    data |= {"base.html.j2", "report/page.html.j2", "inference/page.html.j2"}
    assert {f"mtlsearch/{name}" for name in data} <= names


def test_wheel_holds_nothing_else(wheel: ZipFile) -> None:
    folders = {name.split("/")[0] for name in wheel.namelist()}
    assert folders == {"mtlsearch", f"mtlsearch-{mtlsearch.__version__}.dist-info"}
    inside = {name.split("/")[1] for name in wheel.namelist() if name.count("/") > 1}
    rooms = {path.parent.name for path in (ROOT / "mtlsearch").glob("*/__init__.py")}
    assert inside == rooms | {"studies", "licenses"}
    assert [name for name in wheel.namelist() if "__pycache__" in name or name.endswith(".pyc")] == []


def test_wheel_tells_version_licence_and_command(wheel: ZipFile) -> None:
    info = f"mtlsearch-{mtlsearch.__version__}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["Name"] == "mtlsearch"
    assert metadata["Version"] == mtlsearch.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "mtlsearch = mtlsearch.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_licence_is_the_whole_apache_text_and_inside_the_wheel(wheel: ZipFile) -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", licence)
    assert "END OF TERMS AND CONDITIONS" in licence
    info = f"mtlsearch-{mtlsearch.__version__}.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE").decode() == licence


def test_wheel_from_the_source_archive_is_the_same(wheel: ZipFile, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "sdist").mkdir()
    (tmp_path / "wheel").mkdir()
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.2 has none
        archive.extractall(tmp_path / "source", **safe)
    again = ZipFile(build("wheel", next((tmp_path / "source").iterdir()), tmp_path / "wheel"))
    assert sorted(again.namelist()) == sorted(wheel.namelist())


@cache
def distributions() -> dict[str, list[str]]:
    """The installed distributions by the top-level package that they bring; looking takes seconds."""
    return dict(packages_distributions())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    """The names of the distributions that `requirements` ask for."""
    return {normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in requirements}


def imported(folder: str) -> set[str]:
    """The top-level packages that the modules of `folder` import, wherever in them."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"mtlsearch"}


@pytest.mark.parametrize("folder", ["mtlsearch", "studies"])
def test_every_import_is_of_a_declared_dependency(folder: str) -> None:
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines]
    due = declared(PROJECT["dependencies"] + extras)
    missing = {
        package
        # In a notebook alone, which brings it; and where torch brings it, on Linux.
        for package in imported(folder) - {"IPython", "triton"}
        if not {normal(name) for name in distributions().get(package, [package])} & due
    }
    assert missing == set()


def test_every_dependency_is_imported_somewhere_and_has_its_reason() -> None:
    used = {
        normal(name)
        for package in imported("mtlsearch") | imported("studies")
        for name in distributions().get(package, [package])
    }
    assert declared(PROJECT["dependencies"]) - used == set()
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bare = [line for line in PROJECT["dependencies"] if not re.search(rf'"{re.escape(line)}",\s+# \w', text)]
    assert bare == []
