"""A training reaches a worker whole: code by value, each storage once, mapped files by their path."""

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import STUDY_FILE
from problems import joint, loaded

from mtlsearch import Classification, Data, Regression, SharedTrunk, Study, Table, real
from mtlsearch.errors import DataError
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.study_file import load_study
from mtlsearch.training.remote.parcel import Packed, pack, unpack
from mtlsearch.training.remote.shared_file import SharedFile
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

CPU = torch.device("cpu")


def sent(packed: Packed) -> Packed:
    """What a worker opens, through a file that both see."""
    file = SharedFile(packed)
    parcel = pickle.loads(pickle.dumps(file.parcel))
    opened: Packed = parcel.open()
    file.close()  # what a worker has opened stays
    return opened


def first_epoch(training: Training) -> object:
    trainer = SoloTrainer(training)
    trainer.add(0, training.loaded.study.default_config())
    return trainer.advance()


def test_training_that_was_sent_gives_the_same_epoch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    training = Training(load_data(load_study(str(tmp_path / "mine.py")), tmp_path), seed=3, method="rlw")
    again = unpack(sent(pack(training)), CPU)
    assert (again.seed, again.method, again.loaded.units) == (3, "rlw", training.loaded.units)
    assert first_epoch(again) == first_epoch(training)


def test_tensors_that_share_memory_are_sent_once_and_share_it_there() -> None:
    study = loaded(joint())
    packed = pack(Training(study))
    held = {part.inputs.untyped_storage().data_ptr() for s in study.splits for part in (s.train, s.validation)}
    assert len(packed.memories) >= len(held)
    assert len({memory.data_ptr() for memory in packed.memories}) == len(packed.memories)
    sources = b"joint_source" in packed.structure
    assert not sources, "a source travels, whose data are loaded already"


def test_a_model_that_asks_its_source_for_the_width_travels(tmp_path: Path) -> None:
    """As the study file that `init` writes for a table does."""
    pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60) % 7, "sum": np.arange(60.0) ** 2}).to_csv(tmp_path / "t.csv")
    table = Table("t.csv", numbers=["x", "y"], targets={"sum": "number"})
    study = Study(
        [Regression("sum", table)],
        model=lambda config: SharedTrunk(table.features, {"sum": 1}, hidden=8),
        space={"learning_rate": real(1e-4, 1e-1, log=True)},
        default={"learning_rate": 1e-2},
    )
    training = Training(load_data(study, tmp_path))
    again = unpack(sent(pack(training)), CPU)
    assert first_epoch(again) == first_epoch(training)
    with pytest.raises(AssertionError, match="loads none"):
        again.loaded.study.tasks[0].data(tmp_path)


def test_worker_that_changes_its_data_changes_nobody_elses() -> None:
    training = Training(loaded(joint()))
    file = SharedFile(pack(training))
    one, other = (unpack(file.parcel.open(), CPU).loaded.splits[0].train.labels for _ in range(2))
    name = next(iter(one))
    before = other[name].clone()
    one[name].zero_()
    assert torch.equal(other[name], before)
    file.close()


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[LoadedStudy, Path]:
    """A study whose inputs stay in a file."""
    path = tmp_path / "inputs.npy"
    np.save(path, np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32))
    x = np.load(path, mmap_mode="r")
    labels = (x[:, 0] > 0).astype(np.int64)
    study = Study(
        [Classification("a", lambda directory: Data((x, labels), (x, labels), validation=64))],
        model=lambda config: SharedTrunk(64, {"a": 2}, hidden=8),
        space={"learning_rate": real(1e-4, 1e-1, log=True)},
        default={"learning_rate": 1e-2},
    )
    return load_data(study, tmp_path), path


def test_mapped_file_is_opened_again_where_it_lies(mapped: tuple[LoadedStudy, Path]) -> None:
    training = Training(mapped[0])
    packed = pack(training)
    assert first_epoch(unpack(sent(packed), CPU)) == first_epoch(training)
    assert sum(map(len, packed.memories)) < 256 * 64, "the file's content was sent"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: np.save(path, np.zeros((256, 64), np.float32)), "holds other data"),
        (lambda path: path.unlink(), "cannot read"),
    ],
    ids=["other content", "missing"],
)
def test_mapped_file_that_differs_there_is_refused(
    mapped: tuple[LoadedStudy, Path], change: Callable[[Path], object], told: str
) -> None:
    packed = pack(Training(mapped[0]))
    path = mapped[1]
    path.rename(path.with_suffix(".old"))  # the driver keeps what it has mapped
    if told == "cannot read":
        path.touch()
    change(path)
    with pytest.raises(DataError, match=told):
        unpack(packed, CPU)


def test_study_defined_in_a_script_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions of `__main__` are none that a worker could import."""
    training = Training(loaded(joint()))
    model = training.loaded.study.model

    def own(config: object) -> object:
        return model(config)  # type: ignore[arg-type]

    own.__module__ = "__main__"
    monkeypatch.delattr(sys.modules["__main__"], "own", raising=False)
    study = replace(training.loaded.study, model=own)  # type: ignore[arg-type]
    again = unpack(pack(replace(training, loaded=replace(training.loaded, study=study))), CPU)
    assert first_epoch(again) == first_epoch(training)
