"""Verdicts on small tables, on one division of the data and on new ones.

    python benchmarks/new_data.py [--tables DIR] [--names edm enb jura andro] [--pools 40] [--threads 1]

DIR holds multi-target regression tables as Mulan has them, NAME.arff.gz. Each becomes a study by `mtlsearch init`, is
searched once, and its best config is confirmed twice: with five seeds on its one division, and on five new divisions
(`confirm --resplit 5`). The first table has both side by side.

The second one asks whether those intervals hold on new data. From the rows of a table, pools of 150 are drawn. On each,
two arms train on five divisions of it: the first task alone, and shared with the others at equal weights. The mean
difference over all pools is the truth on new data of this kind, as far as a finite table has it. The table shows how
many of the pools' intervals hold it: those of five seeds on one division, and those of five new divisions.
--quick takes a made-up table.
"""

import argparse
import gzip
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import conclude, parser, table
from shares import percent, told

from mtlsearch import Data, Regression, SharedTrunk, Study
from mtlsearch.cli.main import main as mtlsearch
from mtlsearch.data.data import Source
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.sentences import shown
from mtlsearch.evidence.statistics import Estimate, t_interval
from mtlsearch.evidence.trainings import find_confirmation
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.study.divisions import overlaps
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.training.solo import SoloTrainer, evaluate_state
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.retrain import train_config

TARGETS = {"andro": 6, "atp1d": 6, "edm": 2, "enb": 2, "jura": 3, "wq": 14}  # the last columns
SEEDS, POOL = 5, 150


@dataclass(frozen=True)
class Budget:
    trials: int
    epochs: int
    pools: int


def frame_of(path: Path) -> pd.DataFrame:
    """The table in an ARFF file of numbers, gzipped."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        head, _, body = re.split(r"(?im)^(@data)\s*$", file.read(), maxsplit=1)
    names = re.findall(r"(?im)^@attribute\s+('[^']+'|\S+)", head)
    rows = [line.split(",") for line in body.splitlines() if line.strip() and not line.startswith("%")]
    frame = pd.DataFrame(rows, columns=[re.sub(r"\W+", "_", name.strip("'")) for name in names])
    return frame.apply(pd.to_numeric, errors="coerce")


def made_up() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    y = x @ rng.normal(size=(4, 2)) + rng.normal(size=(200, 2))
    return pd.DataFrame(np.concatenate([x, y], 1), columns=["x0", "x1", "x2", "x3", "y0", "y1"])


# One division, and new ones, side by side.


def called(*words: object) -> None:
    """Call a command without what it prints."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        mtlsearch([str(word) for word in words], standalone_mode=False)


def verdicts(frame: pd.DataFrame, targets: Sequence[str], budget: Budget, threads: int, folder: Path) -> list[Any]:
    """The verdict on one division and that on new ones, of one search."""
    source, study, store = folder / "table.csv", folder / "table.py", f"sqlite:///{folder}/store.db"
    frame.to_csv(source, index=False)
    called("init", "--csv", source, "--targets", ",".join(targets), "--out", study)
    more = ("--storage", store, "--threads", threads)
    called("run", study, "--trials", budget.trials, "--epochs", budget.epochs, "--no-confirm", "--quiet", *more)
    found = []
    for resplit in (0, SEEDS):
        called("confirm", study, "--seeds", SEEDS, "--resplit", resplit, "--top", 1, "--quiet", *more)
        with open_storage(store, create=False) as storage:
            confirmation = find_confirmation(find_record(storage, "table", folder))
            assert confirmation is not None
            assert confirmation.conclusion is not None
            found.append(confirmation.conclusion["verdict"])
    return found


def side_by_side(name: str, one: Any, new: Any) -> Iterator[list[str]]:
    """A row for each task, on one division and on new ones: its metric at equal weights, and the effect of sharing."""
    metric = TaskMetric("r2")
    for task in one["weights"]:
        cells = []
        for verdict in (one, new):
            effect = next(e for e in verdict["effects"] if (e["about"], e["task"]) == ("sharing", task))
            value = shown(Estimate(**effect["difference"]), metric.scale)
            cells += [
                shown(Estimate(**verdict["equal_metrics"][task]), metric.scale, metric.unit),
                value,
                effect["kind"],
            ]
        yield [f"{name}: {task}", *cells]


# Whether the intervals hold.


def study_of(x: torch.Tensor, y: torch.Tensor, tasks: Sequence[str], epochs: int) -> LoadedStudy:
    """A study of these rows; a fifth each is held out for validation and for test."""
    labels = {task: y[:, i] for i, task in enumerate(tasks)}
    part = ["train"] * len(x)
    part[: len(x) // 5], part[len(x) // 5 : 2 * len(x) // 5] = ["test"] * (len(x) // 5), ["validation"] * (len(x) // 5)

    def source(_: Path) -> Data:
        return Data((x, labels), split=part)

    shared: Source = source
    study = Study(
        tasks=[Regression(task, shared) for task in tasks],
        model=lambda config: SharedTrunk(x.shape[1], dict.fromkeys(tasks, 1), hidden=32),
        space={},
        default={"learning_rate": 1e-2},
        epochs=epochs,
        batch_size=16,
    )
    return load_data(study, Path())


def differences(frame: pd.DataFrame, targets: Sequence[str], epochs: int, rng: np.random.Generator) -> Any:
    """Shared minus alone on the first task, in R², of five seeds on one division and of five new divisions; overlap."""
    rows = frame.sample(min(POOL, len(frame) // 2), random_state=int(rng.integers(2**31)))
    x = torch.tensor(rows.drop(columns=list(targets)).to_numpy(), dtype=torch.float32)
    x = ((x - x.mean(0)) / x.std(0).clamp(min=1e-6)).nan_to_num()
    tasks = [f"t{i}" for i in range(len(targets))]
    loaded = study_of(x, torch.tensor(rows[list(targets)].to_numpy(), dtype=torch.float32), tasks, epochs)
    first, seeds = tasks[0], rng.integers(2**31, size=SEEDS).tolist()

    def gain(on: LoadedStudy, seed: int) -> float:
        found = []
        for each in (on, on.only(first)):
            config = each.study.default_config()
            _, state = train_config(Training(each, seed), config, trainer=SoloTrainer(Training(each, seed)))
            found.append(evaluate_state(each, config, state, "test")[first]["r2"])
        return found[0] - found[1]

    one = [gain(loaded, seed) for seed in seeds]
    new = [gain(loaded.redivided(seed), seed) for seed in seeds]
    return one, new, overlaps(loaded.splits)[first]


def coverage_row(name: str, frame: pd.DataFrame, targets: Sequence[str], budget: Budget, seed: int) -> list[str]:
    """How many pools' intervals hold the mean over all pools."""
    rng = np.random.default_rng(seed)
    found = [differences(frame, targets, budget.epochs // 2, rng) for _ in range(budget.pools)]
    one, new, ratio = np.array([f[0] for f in found]), np.array([f[1] for f in found]), found[0][2]
    truth = float(np.concatenate([one.mean(1), new.mean(1)]).mean())
    cells = []
    for interval in (t_interval(one), t_interval(new), t_interval(new, overlap=ratio)):
        hits = int(((interval.low <= truth) & (truth <= interval.high)).sum())
        cells.append(told(percent(hits, budget.pools)))
    return [name, f"{100 * truth:.1f}", *cells]


def tables_of(options: argparse.Namespace) -> dict[str, tuple[pd.DataFrame, list[str]]]:
    if options.quick:
        frame = made_up()
        return {"made up": (frame, list(frame.columns[-2:]))}
    frames = {name: frame_of(options.tables / f"{name}.arff.gz") for name in options.names}
    return {name: (frame, list(frame.columns[-TARGETS[name] :])) for name, frame in frames.items()}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--tables", type=Path, help="the folder of NAME.arff.gz")
    made.add_argument("--names", nargs="*", default=["edm", "enb", "jura", "andro"], choices=list(TARGETS))
    made.add_argument("--pools", type=int, default=40, help="0 leaves the second table out")
    made.add_argument("--threads", type=int, default=1)
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    budget = Budget(2, 2, 2) if options.quick else Budget(20, 20, options.pools)
    rows: list[list[str]] = []
    said: list[str] = []
    covered: list[list[str]] = []
    for name, (frame, targets) in tables_of(options).items():
        with tempfile.TemporaryDirectory() as folder:
            one, new = verdicts(frame, targets, budget, options.threads, Path(folder))
        rows += side_by_side(name, one, new)
        said += [f"- {name}, {len(frame):,} rows, one division: {one['sentence']}", f"- {name}, new: {new['sentence']}"]
        if budget.pools and (len(frame) >= 2 * POOL or options.quick):
            covered.append(coverage_row(name, frame, targets, budget, seed=0))
    of = ["r2 at equal weights", "sharing, points", "rule"]
    head = ["", *(f"{each}, one division" for each in of), *(f"{each}, new divisions" for each in of)]
    pools = ["pools", "true sharing, points", "seeds cover, %", "new divisions, uncorrected, %", "corrected, %"]
    body = [table(head, rows), "\n".join(said), *([table(pools, covered)] if covered else [])]
    conclude(options, "Verdicts on new data: small tables", "\n\n".join(body))


if __name__ == "__main__":
    main()
