"""Cost of cross-validation: epochs of all trials on K folds, beside epochs on one division.

    python benchmarks/folds.py [--folds 5] [--rounds 5]

Both train the same configs in one process and take turns: of the study `digits`, and of the one that `mtlsearch init`
writes for scikit-learn's table of wines, whose configs spread over many lanes. The table shows the processor time of an
epoch of all trials, the least over the rounds, and the ratio divided by K: 1 where K folds take K times as long, less
where members of all folds fill lanes together.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from common import conclude, parser, table

from mtlsearch.study.loaded import load_data
from mtlsearch.study.study_file import load_study
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.population.layout import folds_share_lanes
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Fused
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training
from studies import wine


def population(slots: int) -> Callable[[Training], Trainer]:
    """Makes populations of so many trials, each a member of every fold where those share lanes."""
    return lambda training: PopulationTrainer(training, slots * max(1, len(training.folds)), Fused())


def seconds(make: Callable[[Training], Trainer], trainings: list[Training], rounds: int) -> list[float]:
    """The least processor time of an epoch of all trials, for each training in turn."""
    study = trainings[0].loaded.study
    shares = [make is not SoloTrainer and folds_share_lanes(training.loaded) for training in trainings]
    trainers = [search_trainer(make, training, own) for training, own in zip(trainings, shares, strict=True)]
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
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, source in (("wine", wine(Path(folder))), ("digits", "digits"))[: 1 if options.quick else 2]:
            study = replace(load_study(source), epochs=100)
            trainings = [Training(load_data(each, Path())) for each in (study, replace(study, folds=many))]
            ways = {f"population of {n}": population(n) for n in (slots, max(2, slots // 4))}
            for way, make in {**ways, "one trial at a time": SoloTrainer}.items():
                one, folds = seconds(make, trainings, rounds)
                shared = "shared" if way in ways and folds_share_lanes(trainings[1].loaded) else "one a fold"
                rows.append([f"{name}, {way}", shared, f"{one:.3f}", f"{folds:.3f}", f"{folds / one / many:.2f}"])
    head = ["", "lanes", "one division, s", f"{many} folds, s", f"ratio / {many}"]
    body = (
        f"{table(head, rows)}\n\n- Processor time of an epoch of all trials, one thread, the least of {rounds} rounds."
    )
    conclude(options, "Cost of cross-validation", body)


if __name__ == "__main__":
    main()
