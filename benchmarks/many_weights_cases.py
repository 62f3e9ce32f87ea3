"""The cases of `many_weights`: molecules with 12 or 617 assays, and simulated tasks that differ in noise and labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtlsearch import Data, MultiLabel, SharedTrunk, Study, real
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config

HIDDEN, BATCH, RATE = 64, 256, 3e-3
CASES = ("tox21", "toxcast", "simulated-27", "simulated-40")
ROWS, FEATURES = 2400, 24
SHARES = (0.8, 0.9)  # ends of train and validation


class Source:
    """Inputs, and yes-or-no labels [N] of each task, NaN where missing."""

    def __init__(self, inputs: np.ndarray, labels: Mapping[str, np.ndarray], shares: Sequence[float]) -> None:
        self.inputs, self.labels, self.shares = inputs.astype(np.float32), labels, shares

    def __call__(self, directory: Path) -> Data:
        ends = [int(len(self.inputs) * share) for share in self.shares]
        parts = [slice(0, ends[0]), slice(*ends), slice(ends[1], None)]
        train, validation, test = (
            (self.inputs[rows], {name: y[rows, np.newaxis].astype(np.float32) for name, y in self.labels.items()})
            for rows in parts
        )
        return Data(train, test, validation=validation, inputs="numbers")


def molecules(folder: Path, name: str) -> Source:
    with np.load(folder / "molecules" / f"{name}.npz") as found:
        inputs, labels, tasks = found["X"], found["Y"], [str(task) for task in found["tasks"]]
    order = np.random.default_rng(0).permutation(len(inputs))
    return Source(inputs[order], {task: labels[order, i] for i, task in enumerate(tasks)}, SHARES)


def simulated(tasks: int) -> Source:
    """Tasks on shared hidden units, of three strengths of noise, with 8 to 100 % of their labels."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    hidden = np.tanh(inputs @ random.normal(size=(FEATURES, 10)) / 3)
    labels = {}
    for task in range(tasks):
        signal = hidden @ random.normal(size=10) + 2 * hidden[:, random.integers(10)] * hidden[:, random.integers(10)]
        noise = random.choice([0.3, 1.0, 4.0]) * random.normal(size=ROWS) * signal.std()
        yes = (signal + noise > np.quantile(signal, random.uniform(0.4, 0.8))).astype(np.float32)
        yes[random.random(ROWS) >= np.exp(random.uniform(np.log(0.08), 0))] = np.nan
        labels[f"task {task}"] = yes
    return Source(inputs, labels, (0.58, 0.79))


def loaded_case(case: str, folder: Path, epochs: int) -> LoadedStudy:
    """The study of a case, with a searched learning rate and equal weights."""
    source = simulated(int(case.split("-")[1])) if "-" in case else molecules(folder, case)
    names, features = list(source.labels), source.inputs.shape[1]
    hidden = HIDDEN if "-" not in case else HIDDEN // 2

    def model(config: Config) -> SharedTrunk:
        return SharedTrunk(features, dict.fromkeys(names, 1), hidden=hidden, dropout=0.2)

    study = Study(
        [MultiLabel(name, source) for name in names],
        model=model,
        space={"learning_rate": real(3e-4, 2e-2, log=True)},
        default={"learning_rate": RATE},
        epochs=epochs,
        batch_size=BATCH,
        unscorable="skip",
        weights="equal",
    )
    return load_data(study, Path())
