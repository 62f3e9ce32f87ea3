"""Cost of cross-validation: epochs of all trials on K folds, beside epochs on one division.

    python benchmarks/folds.py [--folds 5] [--rounds 5]

Both train the same configs of the study `digits` in one process and take turns: a population of 16, and one trial at a
time. The table shows the processor time of an epoch of all trials, the least over the rounds, and the ratio divided by
K: 1 where K folds take K times as long.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from common import conclude, parser, table

from mtlsearch.study.study_file import load_study
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Fused
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training


def seconds(make: Callable[[Training], Trainer], trainings: list[Training], rounds: int) -> list[float]:
    """The least processor time of an epoch of all trials, for each training in turn."""
    study, trainers = trainings[0].loaded.study, [search_trainer(make, training) for training in trainings]
    for trainer in trainers:
        for number, config in enumerate(study.search_space.drawn(trainer.room(), study.default)):
            trainer.add(number, config)
    found: list[list[float]] = [[] for _ in trainers]
    for _ in range(rounds + 1):  # the first epoch pays for memory
        for own, trainer in zip(found, trainers, strict=True):
            begun = time.process_time()
            trainer.advance()
            own.append(time.process_time() - begun)
    return [min(own[1:]) for own in found]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--folds", type=int, default=5)
    made.add_argument("--rounds", type=int, default=5)
    options = made.parse_args()
    torch.set_num_threads(1)
    slots, rounds, many = (2, 1, 2) if options.quick else (16, options.rounds, options.folds)
    study = replace(load_study("digits"), epochs=100)
    studies = (study, replace(study, folds=many))
    trainings = [Training(each.load(Path())) for each in studies]
    ways: dict[str, Callable[[Training], Trainer]] = {
        f"population of {slots}": lambda training: PopulationTrainer(training, slots, Fused()),
        "one trial at a time": SoloTrainer,
    }
    rows = []
    for name, make in ways.items():
        one, folds = seconds(make, trainings, rounds)
        rows.append([name, f"{one:.3f}", f"{folds:.3f}", f"{folds / one / many:.2f}"])
    head = ["", "one division, s", f"{many} folds, s", f"ratio / {many}"]
    body = (
        f"{table(head, rows)}\n\n- Processor time of an epoch of all trials, one thread, the least of {rounds} rounds."
    )
    conclude(options, "Cost of cross-validation", body)


if __name__ == "__main__":
    main()
