"""Warm starts on a shifted task: do `run --from` and `run --narrow` reach a cold search's score in half the trials?

    python benchmarks/warm_starts.py --tables DIR [--names enb jura] [--seeds 10] [--trials 40] [--kept FILE]

A table (NAME.arff.gz) is sorted by its first input and cut in two, so the second half has other inputs than the first.
Each half becomes a study by `mtlsearch init`. For every seed the first half is searched; then the second one, cold,
with the first's best config asked first (--from), and in the region of the first's best trials (--narrow). All are
real trainings, one at a time, with the default sampler and pruner. The score is the best observed one on validation
after half of the trials and after all. --kept FILE keeps what was searched, so that a benchmark that was ended goes on.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from common import conclude, parser, table
from curves import written
from new_data import TARGETS, called, frame_of, made_up
from optuna.trial import TrialState

from mtlsearch.evidence.statistics import t_interval
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.trials import score_of

WARM = {"--from the best config": "--from", "--narrow to the best tenth": "--narrow"}
COLD = "cold"


def halves(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows with the lower and with the higher values of the first input, each in the table's order."""
    order = frame.iloc[:, 0].rank(method="first")
    return frame[order <= len(frame) / 2], frame[order > len(frame) / 2]


def searched(frame: pd.DataFrame, targets: list[str], seed: int, trials: int, epochs: int) -> dict[str, Any]:
    """The best scores of the second half's searches after half of the trials and after all, by way."""
    with tempfile.TemporaryDirectory(prefix="mtlsearch-warm-") as name:
        folder = Path(name)
        store = f"sqlite:///{folder}/store.db"
        first, second = (
            written(f, targets, folder, n) for f, n in zip(halves(frame), ("first", "second"), strict=True)
        )
        base = ("--storage", store, "--trials", trials, "--epochs", epochs, "--seed", seed, "--threads", 1)
        base = (*base, "--population", 1, "--no-confirm", "--quiet")
        called("run", first, "--name", "source", *base)
        called("export", "source", "--storage", store, "-o", folder / "best.json")
        called("run", second, "--name", COLD, *base)
        for way, option in WARM.items():
            called(
                "run", second, "--name", way, option, folder / "best.json" if option == "--from" else "source", *base
            )
        with open_storage(store, create=False) as storage:
            return {way: best_after(find_record(storage, way, folder), trials) for way in (COLD, *WARM)}


def best_after(record: Any, trials: int) -> list[float]:
    """The best score of a study's first half of trials, and of all."""
    complete = record.trials(TrialState.COMPLETE)
    return [max(score_of(t) for t in complete if t.number < count) for count in (trials // 2, trials)]


def told(found: Mapping[str, Mapping[int, Mapping[str, Any]]], trials: int) -> str:
    rows = []
    for name, seeds in found.items():
        for way in (COLD, *WARM):
            means = [f"{sum(100 * each[way][i] for each in seeds.values()) / len(seeds):.2f}" for i in (0, 1)]
            cells = ["–", "–", "–"]
            if way != COLD:
                pairs = [(0, 1), (0, 0), (1, 1)]  # half against all, half against half, all against all
                cells = [interval([100 * (s[way][a] - s[COLD][b]) for s in seeds.values()]) for a, b in pairs]
                reached = sum(s[way][0] >= s[COLD][1] for s in seeds.values())
                cells[0] += f", {reached} of {len(seeds)} reach it"
            rows.append([f"{name}, {len(seeds)} seeds: {way}", *means, *cells])
    half = trials // 2
    head = ["", f"score after {half}, %", f"after {trials}, %", f"after {half} − cold after {trials}, points"]
    return table([*head, f"{half} − {half}", f"{trials} − {trials}"], rows)


def interval(differences: list[float]) -> str:
    found = t_interval(differences)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--tables", type=Path, help="the folder of NAME.arff.gz")
    made.add_argument("--names", nargs="*", default=["enb", "jura"], choices=list(TARGETS))
    made.add_argument("--seeds", type=int, default=10)
    made.add_argument("--trials", type=int, default=40)
    made.add_argument("--epochs", type=int, default=10)
    made.add_argument("--kept", type=Path, help="the file that keeps what was searched")
    options = made.parse_args()
    conclude(options, "Warm starts on a shifted task", measured(options))


def measured(options: argparse.Namespace) -> str:
    if options.quick:
        frames, options.seeds, options.trials, options.epochs = {"made up": (made_up(), 2)}, 2, 8, 2
    else:
        frames = {name: (frame_of(options.tables / f"{name}.arff.gz"), TARGETS[name]) for name in options.names}
    kept: dict[str, Any] = json.loads(options.kept.read_text()) if options.kept and options.kept.exists() else {}
    found: dict[str, dict[int, Any]] = {name: {} for name in frames}
    for seed in range(options.seeds):
        for name, (frame, count) in frames.items():
            key = f"{name}/{options.trials}/{options.epochs}/{seed}"
            if key not in kept:
                kept[key] = searched(frame, list(frame.columns[-count:]), seed, options.trials, options.epochs)
                print(key, kept[key], flush=True)
                if options.kept:
                    options.kept.write_text(json.dumps(kept))
            found[name][seed] = kept[key]
    return told(found, options.trials)


if __name__ == "__main__":
    main()
