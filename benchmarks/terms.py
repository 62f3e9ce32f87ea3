"""Loss terms: what tuned weights gain over equal ones and over the plain sum, and how fast terms train at once.

    python benchmarks/terms.py [--studies poisson klein-gordon] [--repeats 10] [--first 0] [--trials 48]
                               [--seeds 3] [--no-speeds]

Each repeat searches a shipped study with another seed, in a store of its own, and lets `run` confirm the best config
with fresh seeds, beside its twin of equal weights and the plain sum of the losses. The numbers are means over those
seeds of the relative L2 error on test. `--first` goes on with a later repeat, where a run was cut short: a repeat is a
function of its seed alone, and is printed as soon as it is done. The speed is that of the default config alone and in a
population of 16, in this process: medians of five epochs after the first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import conclude, parser, rounded, table

from mtlsearch import load_study
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Fused, Steps, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

MEMBERS, EPOCHS = 16, 5
ARMS = ("metrics", "equal_metrics", "plain_sum_metrics")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--studies", nargs="+", default=["poisson", "klein-gordon"])
    made.add_argument("--repeats", type=int, default=10, help="0 for the speed alone")
    made.add_argument("--first", type=int, default=0, help="the first repeat to run, where others have been run before")
    made.add_argument("--no-speeds", action="store_true", help="the errors alone")
    made.add_argument("--trials", type=int, default=48)
    made.add_argument("--epochs", type=int, help="of a trial, default the study's")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--pruner", default="none", help="of the searches; the errors fall late, so none is the default")
    made.add_argument("--threads", type=int, default=1)
    options = made.parse_args()
    if options.quick:
        options.repeats, options.trials, options.seeds, options.epochs = 1, 2, 2, 2
        options.studies = options.studies[:1]
    torch.set_num_threads(options.threads)
    for study in options.studies:
        budget = f"{options.trials} trials of {options.epochs or load_study(study).epochs} epochs"
        if options.repeats > options.first:
            conclude(options, f"Loss terms: {study}, {budget}, pruner {options.pruner}", repeated(options, study))
        if not options.no_speeds:
            conclude(options, f"Loss terms at once: {study}, {options.threads} threads", speeds(study, options.quick))


def repeated(options: argparse.Namespace, study: str) -> str:
    """A row for each repeat: the error of each arm, and what the verdict says."""
    rows, wins, gains = [], 0, []
    for seed in range(options.first, options.repeats):
        begun = time.perf_counter()
        verdict = verdict_of(options, study, seed)
        (task,) = verdict["metrics"]
        tuned, equal, plain = (verdict[arm][task]["mean"] for arm in ARMS)
        wins += verdict["kind"] == "tuned"
        gains.append(plain / tuned)
        found = [f"{error:.4g}" for error in (tuned, equal, plain)]
        took = rounded(time.perf_counter() - begun)
        rows.append([f"repeat {seed}", *found, rounded(plain / tuned), verdict["kind"], took])
        print(*rows[-1], file=sys.stderr, flush=True)
    head = ["", "tuned", "equal", "plain sum", "plain sum ÷ tuned", "verdict", "seconds"]
    told = f"Tuned weights beat equal ones in {wins} of {len(rows)}; the median of the ratio is"
    return f"{table(head, rows)}\n\n{told} {rounded(median(gains))}."


def verdict_of(options: argparse.Namespace, study: str, seed: int) -> dict[str, Any]:
    """The verdict of one search with its confirmation."""
    numbers = {"trials": options.trials, "seeds": options.seeds, "top": 1, "seed": seed, "threads": options.threads}
    if options.epochs:
        numbers["epochs"] = options.epochs
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mtlsearch", "run", study, "--json", "--quiet", "--pruner", options.pruner]
        command += ["--storage", f"sqlite:///{Path(folder) / 'store.db'}"]
        command += [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    verdict: dict[str, Any] = json.loads(done.stdout)["verdict"]
    return verdict


def speeds(study: str, quick: bool) -> str:
    """Trial-epochs a second, alone and at once."""
    training = Training(load_data(load_study(study), Path()))
    kinds: dict[str, Steps] = {"fused": Fused()}
    if has_compiler() and not quick:
        kinds["compiled"] = Compiled()
    epochs = 1 if quick else EPOCHS
    alone = rate(training, None, epochs)
    rows = [["solo", rounded(alone), "1"]]
    for name, steps in kinds.items():
        found = rate(training, steps, epochs)
        rows.append([f"population of {MEMBERS}, {name}", rounded(found), rounded(found / alone)])
    return table(["", "trial-epochs per second", "÷ solo"], rows)


def rate(training: Training, steps: Steps | None, epochs: int) -> float:
    """The trial-epochs a second of the default config, alone where there are no `steps` of a population."""
    members = 1 if steps is None else MEMBERS
    trainer = SoloTrainer(training) if steps is None else PopulationTrainer(training, members, steps)
    for number in range(members):
        trainer.add(number, training.loaded.study.default_config())
    trainer.advance()
    seconds = []
    for _ in range(epochs):
        begun = time.perf_counter()
        trainer.advance()
        seconds.append(time.perf_counter() - begun)
    return members / median(seconds)


if __name__ == "__main__":
    main()
