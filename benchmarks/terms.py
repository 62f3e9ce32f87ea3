"""Loss terms: what tuned weights gain over the plain sum and over equal ones, and how fast terms train at once.

    python benchmarks/terms.py repeats poisson --repeats 10 --trials 30
    python benchmarks/terms.py speed klein-gordon

`repeats` searches a shipped study again and again, each time with another seed and in a store of its own, and lets
`run` confirm the best config with fresh seeds, beside its twin of equal weights and the plain sum of the losses.
`speed` times trial-epochs of the default config alone and in a population, in one process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from mtlsearch import load_study
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Fused, Steps, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["repeats", "speed"])
    parser.add_argument("study")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.what == "repeats":
        repeats(given)
    else:
        speed(given)


def repeats(given: argparse.Namespace) -> None:
    """A row for each repeat: the test metric of each arm, and what the verdict says."""
    won, gains = 0, []
    print("| seed | tuned | equal | plain sum | plain sum ÷ tuned | verdict | seconds |")
    print("|---:|---:|---:|---:|---:|---|---:|")
    for seed in range(given.repeats):
        begun = time.perf_counter()
        verdict = verdict_of(given, seed)
        won += verdict["kind"] == "tuned" and verdict["difference"]["low"] > 0
        (task,) = verdict["metrics"]
        tuned, equal, plain = (
            float(verdict[arm][task]["mean"]) if verdict[arm] else float("nan")
            for arm in ("metrics", "equal_metrics", "plain_sum_metrics")
        )
        gains.append(plain / tuned)
        took = time.perf_counter() - begun
        print(
            f"| {seed} | {tuned:.4g} | {equal:.4g} | {plain:.4g} | {plain / tuned:.1f} | {verdict['kind']} | {took:.0f} |",
            flush=True,
        )
    print(f"\ntuned weights beat equal ones in {won} of {given.repeats}; plain sum ÷ tuned, median {median(gains):.1f}")


def verdict_of(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The verdict of one search with its confirmation."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'store.db'}"
        command = [sys.executable, "-m", "mtlsearch", "run", given.study, "--storage", store, "--json", "--quiet"]
        command += ["--trials", str(given.trials), "--seeds", str(given.seeds), "--top", "1", "--seed", str(seed)]
        command += ["--threads", str(given.threads)]
        command += ["--epochs", str(given.epochs)] if given.epochs else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    verdict: dict[str, Any] = json.loads(done.stdout)["verdict"]
    return verdict


def speed(given: argparse.Namespace) -> None:
    """Trial-epochs a second of one trial at a time, and of populations; medians of five epochs after the first."""
    loaded = load_study(given.study).load(Path())
    training = Training(loaded)
    alone = rate(SoloTrainer(training), 1)
    print("| how | trial-epochs per second | ÷ solo |\n|---|---:|---:|")
    print(f"| solo | {alone:.1f} | 1 |", flush=True)
    kinds: dict[str, Steps] = {"fused": Fused(loaded.device)}
    kinds |= {"compiled": Compiled()} if has_compiler() else {}
    for name, steps in kinds.items():
        found = rate(PopulationTrainer(training, 16, steps), 16)
        print(f"| population of 16, {name} | {found:.1f} | {found / alone:.1f} |", flush=True)


def rate(trainer: Trainer, members: int) -> float:
    config = trainer.training.loaded.study.default_config()  # type: ignore[attr-defined]
    for number in range(members):
        trainer.add(number, config)
    trainer.advance()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        trainer.advance()
        seconds.append(time.perf_counter() - begun)
    return members / median(seconds)


def median(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
