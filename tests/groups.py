"""Tasks in two groups that contradict each other: a narrow trunk has room for what one group needs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mtlsearch import Data, Regression, SharedTrunk, Study, real

FEATURES, NOISE = 8, 0.3


def source_of(seed: int, rows: int = 400) -> Callable[[Path], Data]:
    """Inputs of 8 numbers; a and b follow one direction of them, c and d another."""

    def source(directory: Path) -> Data:
        random = np.random.default_rng(seed)
        ways = np.linalg.qr(random.normal(size=(FEATURES, FEATURES)))[0]
        x = random.normal(size=(2 * rows, FEATURES)).astype(np.float32)
        first, second = np.tanh(2 * x @ ways[:, 0]), np.tanh(2 * x @ ways[:, 1])
        noise = NOISE * random.normal(size=(4, 2 * rows))
        labels = {"a": first + noise[0], "b": -first + noise[1], "c": second + noise[2], "d": -second + noise[3]}
        labels = {task: y.astype(np.float32) for task, y in labels.items()}
        train, test = ((x[part], {t: y[part] for t, y in labels.items()}) for part in (slice(rows), slice(rows, None)))
        return Data(train, test, validation=rows // 3, inputs="numbers")

    return source


def study_of(seed: int, epochs: int = 10) -> Study:
    """The study of one draw of data."""
    source = source_of(seed)
    return Study(
        tasks=[Regression(task, source) for task in "abcd"],
        model=lambda config: SharedTrunk(FEATURES, dict.fromkeys("abcd", 1), hidden=1, depth=1),
        space={"learning_rate": real(1e-3, 1e-1, log=True)},
        default={"learning_rate": 5e-2},
        epochs=epochs,
        batch_size=50,
    )


study = study_of(0)
