"""The house: rooms of bounded size, imports that run one way, no circles."""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import mtlsearch

PACKAGE = Path(mtlsearch.__file__).parent
MOST_MODULES = 16
MOST_AT_ROOT = 12

# From the highest room to the lowest; a room imports from its own row and the rows below it.
ROWS = (
    ("__main__",),
    ("cli",),
    ("service", "api"),
    ("tuning",),
    ("report",),
    ("evidence",),
    ("training", "store"),
    ("study", "inference"),
    ("tasks",),
    ("nn", "data"),
    ("kernels",),
    (
        "activity",
        "collection",
        "download",
        "errors",
        "files",
        "limits",
        "offline_page",
        "processes",
        "terminal",
        "wording",
    ),
)
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package; a package is the module of its `__init__`."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "studies":  # an installed wheel holds the shipped studies
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def statements(path: Path) -> Iterator[ast.ImportFrom | ast.Import]:
    """The imports of a module, at its head and inside functions; what is for type checkers alone is none."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield node
        waiting += ast.iter_child_nodes(node)


def imports(path: Path) -> set[str]:
    """The modules of mtlsearch that a module imports."""
    found = set()
    for node in statements(path):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        else:
            assert not node.level, f"{path} imports relatively"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in named:
            parts = name.split(".")[1:] if name.split(".")[0] == "mtlsearch" else []
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            if parts:
                found.add(".".join(parts))
    return found


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


GRAPH = {module: imports(path) for module, path in MODULES.items() if module}


def test_every_room_has_its_row() -> None:
    assert {room(module) for module in GRAPH} == set(ROW_OF)


def test_imports_run_down_the_rows() -> None:
    upwards = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if ROW_OF[room(other)] < ROW_OF[room(module)]
    ]
    assert sorted(upwards) == []


def test_no_circle_between_modules() -> None:
    # A module depends on the packages that hold it only by their docstrings.
    graph = {module: {o for o in others if not module.startswith(f"{o}.")} for module, others in GRAPH.items()}
    order = tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(order) >= set(graph)


def test_no_circle_between_packages() -> None:
    graph: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        package = module.rpartition(".")[0] if MODULES[module].stem != "__init__" else module
        for other in others:
            holder = other.rpartition(".")[0] if MODULES[other].stem != "__init__" else other
            if package and holder and holder != package and module != "cli":
                graph.setdefault(package, set()).add(holder)
    assert len(tuple(TopologicalSorter(graph).static_order())) > 10


def test_no_room_is_crowded() -> None:
    counts = Counter(path.parent for module, path in MODULES.items() if path.stem != "__init__")
    assert counts.pop(PACKAGE) <= MOST_AT_ROOT
    crowded = {str(folder.relative_to(PACKAGE)): n for folder, n in counts.items() if n > MOST_MODULES}
    assert crowded == {}


def test_a_package_opens_with_a_docstring_and_imports_nothing() -> None:
    packages = {module: path for module, path in MODULES.items() if module and path.stem == "__init__"}
    assert len(packages) > 10
    for module, path in packages.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module
        # The entry point `mtlsearch.cli:main` is the one name that a package hands on.
        assert bool(list(statements(path))) == (module == "cli"), module


def test_no_package_hides_a_public_name() -> None:
    assert not {room(module) for module in MODULES} & set(mtlsearch.__all__)


def test_the_tests_mirror_the_rooms() -> None:
    folders = {path.parent.relative_to(Path(__file__).parent) for path in Path(__file__).parent.rglob("test_*.py")}
    packages = {Path(*module.split(".")) for module, path in MODULES.items() if path.stem == "__init__"}
    assert folders - packages - {Path()} == set()
