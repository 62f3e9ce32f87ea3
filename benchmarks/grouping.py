"""Grouping of tasks on problems whose answer is known: how often does `mtlsearch group` find it?

    python benchmarks/grouping.py [--repeats 10] [--quick] [--dry-run]

"two groups": tasks a and b follow one direction of the inputs, c and d another, and the trunk has one unit; so any
group that crosses hurts. "no groups": all four tasks follow one direction, so that sharing harms nobody, and one trunk
is the right answer. Each repeat draws data and seeds anew and does what `mtlsearch group --seeds 5` does.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import common
import numpy as np
import torch

from mtlsearch import Data, Regression, SharedTrunk, Study, real
from mtlsearch.tuning.grouping import command
from mtlsearch.tuning.options.training import GroupOptions
from mtlsearch.tuning.progress import Progress

FEATURES, NOISE, TASKS = 8, 0.3, "abcd"
RIGHT = {"two groups": [["a", "b"], ["c", "d"]], "no groups": [["a", "b", "c", "d"]]}


def study_of(case: str, seed: int, epochs: int, rows: int = 400) -> Study:
    """The study of one draw of data."""

    def source(directory: Path) -> Data:
        random = np.random.default_rng(seed)
        ways = np.linalg.qr(random.normal(size=(FEATURES, FEATURES)))[0]
        x = random.normal(size=(2 * rows, FEATURES)).astype(np.float32)
        first = np.tanh(2 * x @ ways[:, 0])
        second = np.tanh(2 * x @ ways[:, 1]) if case == "two groups" else first
        clean = dict(zip(TASKS, (first, -first, second, -second), strict=True))
        labels = {t: (y + NOISE * random.normal(size=2 * rows)).astype(np.float32) for t, y in clean.items()}
        parts = [(x[part], {t: y[part] for t, y in labels.items()}) for part in (slice(rows), slice(rows, None))]
        return Data(*parts, validation=rows // 3, inputs="numbers")

    return Study(
        tasks=[Regression(task, source) for task in TASKS],
        model=lambda config: SharedTrunk(FEATURES, dict.fromkeys(TASKS, 1), hidden=1, depth=1),
        space={"learning_rate": real(1e-3, 1e-1, log=True)},
        default={"learning_rate": 5e-2},
        epochs=epochs,
        batch_size=50,
    )


def grouped(study: Study, seeds: int) -> Mapping[str, Any]:
    """The answer of `group`, in a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        options = GroupOptions(
            study=None, name="drawn", storage=f"sqlite:///{folder}/store.db", device="cpu", threads=1, resplit=0,
            seeds=seeds, quiet=True,
        )  # fmt: skip
        command.defined = lambda *given: ("drawn", replace(study, source=__file__), None)  # type: ignore[assignment]
        return command.group_command(options, Progress(quiet=True), Event())


def row(case: str, found: Sequence[Mapping[str, Any]]) -> list[object]:
    right = sum(each["recommended"] == RIGHT[case] for each in found)
    best = [next(g for g in each["groupings"] if g["recommended"]) for each in found]
    gains = [100 * each["difference"]["mean"] for each in best if each["difference"]]
    wins = sum(len(each["recommended"]) > 1 for each in found)
    return [case, f"{right} of {len(found)}", f"{wins} of {len(found)}", common.spread(gains) if gains else "–"]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats, epochs, seeds = (1, 4, 2) if options.quick else (options.repeats, 10, 5)
    rows = [row(case, [grouped(study_of(case, n, epochs), seeds) for n in range(repeats)]) for case in RIGHT]
    head = ["problem", "right grouping found", "more trunks than one announced", "gain on test over one trunk, points"]
    common.conclude(options, "Which tasks belong together", common.table(head, rows))


if __name__ == "__main__":
    main()
