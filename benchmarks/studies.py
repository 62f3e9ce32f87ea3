"""Whole searches of the text and the table study, beside each task trained alone.

    python benchmarks/studies.py [tweets] [wine] [--trials N] [--seeds N] [--top N] [--threads N] [--data DIR]

Each search does in this process what `mtlsearch run` does, confirmation included: fresh seeds for the best configs, for
their twins at equal weights, and for each task alone with the winner's hyperparameters. `tweets` reads the data
directory. `wine` is scikit-learn's table of 178 wines. Its study has two targets, the grower (3 classes) and the
alcohol, and is the file that `mtlsearch init` writes, unchanged.

The table shows each task's test metrics with 95 % intervals over seeds (Student); the whole verdict follows. --quick
leaves out `tweets`, which needs data and minutes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

from common import conclude, cores, parser, rounded, table

from mtlsearch.cli.main import main as mtlsearch
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.sentences import shown
from mtlsearch.evidence.statistics import Estimate
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import run_search

SHOWN = {"tuned": "metrics", "equal weights": "equal_metrics", "alone": "single_metrics"}


@dataclass(frozen=True)
class Budget:
    """Trials of a search, epochs of a trial (None: the study's), and seeds and configs of the confirmation."""

    trials: int
    epochs: int | None
    seeds: int
    top: int


BUDGETS = {"tweets": Budget(12, None, 3, 1), "wine": Budget(60, None, 10, 1)}
QUICK = Budget(2, 1, 2, 1)


def wine(folder: Path) -> str:
    """The path of the study that `mtlsearch init` writes for the table of wines."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame.rename(columns={"target": "grower"})
    source, study = folder / "wine.csv", folder / "wine.py"
    frame.to_csv(source, index=False)
    with redirect_stdout(StringIO()):
        asked = ["init", "--csv", str(source), "--targets", "grower,alcohol", "--out", str(study)]
        mtlsearch(asked, standalone_mode=False)
    return str(study)


def searched(study: str, budget: Budget, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The best config of a whole search, with its verdict."""
    with Progress(budget.trials, quiet=False) as progress:
        return run_search(
            RunOptions(
                study=study,
                trials=budget.trials,
                storage=f"sqlite:///{folder}/search.db",
                data=options.data or Path(),
                device="cpu",
                seed=0,
                epochs=budget.epochs,
                threads=options.threads,
                seeds=budget.seeds,
                top=budget.top,
                single=True,
            ),
            progress,
            Event(),
        )


def rows(name: str, config: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row for each task: its metric with tuned weights, with equal weights, and alone."""
    verdict = config["verdict"]
    for task, about in config["tasks"].items():
        metric = TaskMetric(about["metric"])
        found = (shown(Estimate(**verdict[key][task]), metric.scale, metric.unit) for key in SHOWN.values())
        weight = f"{verdict['weights'][task]:.2f}"
        yield [f"{name}: {task}", about["metric"], weight, *found]


def notes(name: str, budget: Budget, config: Mapping[str, Any], took: float) -> str:
    """The budget, the time and the verdict's lines."""
    verdict = config["verdict"]
    kept = ("weights:", *(f"{task}:" for task in config["tasks"]))  # these stand in the table
    said = [line for line in verdict["lines"] if not line.startswith(kept)]
    spent = f"{budget.trials} trials, then {budget.seeds} fresh seeds of the best, its twin and each task alone"
    return "\n".join(f"- {name}: {line}." for line in (f"{spent}; {rounded(took)} s", *said))


def main() -> None:
    made = parser(__doc__)
    made.add_argument("studies", nargs="*", choices=[[], *BUDGETS], help="default: all")
    made.add_argument("--trials", type=int)
    made.add_argument("--seeds", type=int)
    made.add_argument("--top", type=int)
    made.add_argument("--threads", type=int, default=cores())
    made.add_argument("--data", type=Path, default=os.environ.get("MTLSEARCH_DATA"))
    options = made.parse_args()
    names = options.studies or [name for name in BUDGETS if not (options.quick and name == "tweets")]
    lines: list[list[str]] = []
    said: list[str] = []
    for name in names:
        budget = QUICK if options.quick else BUDGETS[name]
        given = {what: getattr(options, what) for what in ("trials", "seeds", "top")}
        budget = Budget(**{**vars(budget), **{what: n for what, n in given.items() if n is not None}})
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="mtlsearch-studies-") as scratch:
            folder = Path(scratch)
            study = wine(folder) if name == "wine" else name
            config = searched(study, budget, options, folder)
        lines += rows(name, config)
        said.append(notes(name, budget, config, time.perf_counter() - begun))
    head = ["", "metric", "weight", *(f"{what}, test [95 %]" for what in SHOWN)]
    threads = f"- {options.threads} CPU threads; the intervals are over seeds, on one split."
    body = "\n\n".join([table(head, lines), "\n".join([*said, threads])])
    conclude(options, f"Sharing or not: {' and '.join(names)}", body)


if __name__ == "__main__":
    main()
