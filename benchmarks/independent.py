"""Equal weights and single tasks, trained again in plain PyTorch, beside the numbers of a confirmation.

    mtlsearch run mnist-fashion && mtlsearch export mnist-fashion -o best.json
    python benchmarks/independent.py --config best.json --data DIR [--seeds 5] [--jobs 2]

`plain.py` imports nothing of mtlsearch. It trains the confirmed hyperparameters with equal weights, and each task
alone, with seeds of its own on the same split, --jobs at once. The table shows both means on test with 95 % intervals
over seeds (Student), and the difference with its interval (Welch). They agree where that interval holds 0, or where
the difference is below the verdict's margin of 0.2 points.
"""

import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import plain
import torch
from common import TINY, add_data_option, conclude, data_folder, parser, table
from scipy.stats import t

MARGIN = 0.2  # points
DEFAULT: dict[str, Any] = {
    "hidden": 128, "dropout": 0.5, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 1e-6, "norm": "none"
}  # fmt: skip
TOLD = "{:.2f} ± {:.2f}"
SETS: plain.Sets = {}  # of a process that trains


def begin(threads: int, folder: Path, held_out: int, split_seed: int) -> None:
    """Make a process ready to train."""
    torch.set_num_threads(threads)
    SETS.update(plain.read(folder, held_out, split_seed))


def trained(tasks: Sequence[str], config: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Test accuracies of `tasks` trained together."""
    return plain.train({task: SETS[task] for task in tasks}, config, epochs, seed)


def half_width(values: Sequence[float]) -> float:
    """Half of Student's 95 % interval of the mean."""
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def welch(ours: dict[str, float], seeds: int, theirs: Sequence[float]) -> tuple[float, float]:
    """The difference plain − mtlsearch in points, and half of its 95 % interval."""
    scale = float(t.ppf(0.975, seeds - 1)) / seeds**0.5
    spread = (ours["high"] - ours["low"]) / 2 / scale  # mtlsearch's standard deviation over seeds
    a, b = spread**2 / seeds, stdev(theirs) ** 2 / len(theirs)
    if a + b == 0:  # every seed gave the same counts
        return 100 * (fmean(theirs) - ours["mean"]), 0.0
    free = (a + b) ** 2 / (a**2 / (seeds - 1) + b**2 / (len(theirs) - 1))
    return 100 * (fmean(theirs) - ours["mean"]), 100 * float(t.ppf(0.975, free)) * (a + b) ** 0.5


def rows_of(
    name: str, trained: list[dict[str, float]], measured: dict[str, Any] | None, seeds: int
) -> list[list[object]]:
    """A row for each task: plain PyTorch, mtlsearch, the difference."""
    rows: list[list[object]] = []
    for task in trained[0]:
        theirs = [run[task] for run in trained]
        row: list[object] = [f"{task}, {name}", TOLD.format(100 * fmean(theirs), 100 * half_width(theirs))]
        if measured is None:
            rows.append([*row, "–", "–", "–"])
            continue
        ours = measured[task]
        difference, half = welch(ours, seeds, theirs)
        agrees = abs(difference) <= max(half, MARGIN)
        mean = TOLD.format(100 * ours["mean"], 50 * (ours["high"] - ours["low"]))
        rows.append([*row, mean, f"{difference:+.2f} ± {half:.2f}", "yes" if agrees else "NO"])
    return rows


def main() -> None:
    made = parser(__doc__)
    add_data_option(made)
    made.add_argument("--config", type=Path, help="an exported config with its verdict; default: the study's default")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--threads", type=int, default=1, help="of each job")
    made.add_argument("--jobs", type=int, default=1, help="processes that train at once")
    options = made.parse_args()
    exported = json.loads(options.config.read_text()) if options.config else None
    config = exported["hyperparameters"] if exported else DEFAULT
    verdict = exported.get("verdict", {}) if exported else {}
    epochs = 1 if options.quick else exported["training"]["epochs"] if exported else 10
    if exported and verdict.get("seeds", 0) < 2:
        made.error(f"{options.config} has no verdict over two seeds or more: mtlsearch confirm, then export")
    seeds = range(1000, 1000 + (2 if options.quick else options.seeds))
    together = [tuple(plain.SETS), *((task,) for task in plain.SETS)]
    with tempfile.TemporaryDirectory(prefix="mtlsearch-independent-") as scratch:
        split_seed = exported["training"]["split_seed"] if exported else 0
        ready = (
            options.threads,
            data_folder(options, Path(scratch)),
            TINY if options.quick else 10_000,
            split_seed,
        )
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=spawning, initializer=begin, initargs=ready) as pool:
            runs = [[pool.submit(trained, tasks, config, epochs, seed) for seed in seeds] for tasks in together]
            shared, *alone = [[run.result() for run in of_seeds] for of_seeds in runs]
    rows = rows_of("equal weights", shared, verdict.get("equal_metrics"), verdict.get("seeds", 0))
    for of_task in alone:
        rows += rows_of("alone", of_task, verdict.get("single_metrics"), verdict.get("seeds", 0))
    head = ["accuracy on test, %", "plain PyTorch", "mtlsearch", "difference", "agree"]
    told = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in config.items()
    )
    body = table(head, rows) + f"\n\n- {len(seeds)} seeds, {epochs} epochs, on the split of the confirmation; {told}."
    conclude(options, "Equal weights and single tasks, held to plain PyTorch", body)


if __name__ == "__main__":
    main()
