"""A real user's first day: real data, from the file as it was found to an answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import load_cases

from mtlsearch import Data, MultiLabel, SharedTrunk, Study, real
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.trainer import Training


def tox21(directory: Path, dtype: Any) -> Study:
    """Twelve assays of molecules as one task, on fingerprints of this type."""
    parts = load_cases().molecules(directory, "tox21")
    train, validation, test = ((x.astype(dtype), {"toxic": np.stack(list(y.values()), 1)}) for x, y in parts.values())

    def source(_: Path) -> Data:
        return Data(train, test, validation=validation)

    return Study(
        tasks=[MultiLabel("toxic", source)],
        model=lambda config: SharedTrunk(1024, {"toxic": 12}, hidden=64, dropout=0.3),
        space={"learning_rate": real(1e-4, 1e-2, log=True)},
        default={"learning_rate": 5e-3},
        epochs=3,
        batch_size=128,
    )


@pytest.mark.slow
def test_fingerprints_of_uint8_score_what_those_of_float32_score(data_directory: Path) -> None:
    if not (data_directory / "molecules").is_dir():
        pytest.skip("the folder molecules is absent from MTLSEARCH_DATA")

    def scores(dtype: Any) -> list[float]:
        study = tox21(data_directory, dtype)
        trainer = PopulationTrainer(Training(load_data(study, data_directory)), 2, Eager())
        for number in range(2):
            trainer.add(number, study.default_config(), seed=number)
        return [result.score for _ in range(3) for result in trainer.advance()]

    found = scores(np.uint8)
    assert found == scores(np.float32)
    assert min(found[-2:]) > 0.75  # 0.5 is chance
