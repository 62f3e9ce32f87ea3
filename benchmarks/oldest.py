"""The tests of exactness on the oldest torch that is supported, in a virtual environment of its own.

Each trial of a population must be what it is alone, on that version too. Steps run uncompiled there.

    python benchmarks/oldest.py DIR

DIR takes the environment (about 6 GB) and is kept; a second run uses it again.
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = (
    "tests/nn",
    "tests/training/population/test_population.py",
    "tests/training/population/test_several_seeds.py",
    "tests/training/population/test_networks.py",
    "tests/training/population/test_terms.py",
    "tests/training/test_solo.py",
)
PACKAGES = ("pytest>=8.2", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.100", "transformers>=4.50")


def oldest(package: str) -> str:
    """The oldest version of a package that the project takes, as a requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (needed,) = (each for each in project["dependencies"] if each.startswith(f"{package}>="))
    return needed.replace(">=", "==") + ".*"


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("directory", type=Path)
    directory = made.parse_args().directory
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    pins = [oldest("torch"), oldest("torchvision")]
    subprocess.run([python, "-m", "pip", "install", "-q", *pins, *PACKAGES, str(ROOT)], check=True)
    versions = (
        "import torch, torchvision, sys; print(sys.version.split()[0], torch.__version__, torchvision.__version__)"
    )
    subprocess.run([python, "-c", versions], check=True)
    sys.exit(subprocess.run([python, "-m", "pytest", "-n", "0", "-q", *TESTS], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
