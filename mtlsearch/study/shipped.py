"""The shipped studies: where their files are, and their names. Nothing here runs one, or needs torch."""

from pathlib import Path


def shipped_studies() -> dict[str, Path]:
    """The files of the shipped studies by name."""
    package = Path(__file__).parent.parent
    # In a checkout the studies lie beside the package, in a wheel inside it.
    folder = next(path for path in (package / "studies", package.parent / "studies") if path.is_dir())
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("[!_]*.py"))}


def study_name(source: str) -> str:
    """The name that a study from `source` has in the store: its shipped name, or the file's stem."""
    return source if source in shipped_studies() else Path(source).stem
