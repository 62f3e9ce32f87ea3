"""Inputs that stay on disk: the same numbers as resident ones, read once for all trials, a batch at a time."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from commands import done, refused
from problems import CLASSES, NOWHERE, config, disjoint, inputs, joint, joint_source, picture_source
from torch import Tensor

from mtlsearch import Data, Study, load_study, objective
from mtlsearch.data.examples.on_disk import SAMPLES, OnDisk
from mtlsearch.data.splits import divide
from mtlsearch.errors import DataError
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.training.ahead import AHEAD, read_ahead
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.population.lane import Lane, plain_step
from mtlsearch.training.population.layout import member_bytes
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Captured, Compiled, Eager, Fused, Steps, has_compiler
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Interrupted, Training

Source = Callable[[Path], Data]
Members = Sequence[tuple[dict[str, Any], int | None]]  # values of a config, and a seed of its own
LANES: Members = [({"hidden": 5}, None), ({"hidden": 12, "norm": "batch"}, None), ({"depth": 2}, None)]


class Counted:
    """Rows in memory that count the rows of each read."""

    def __init__(self, array: Tensor | np.ndarray) -> None:
        self.array = np.asarray(array)
        self.shape, self.dtype = self.array.shape, self.array.dtype
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Any:
        assert (np.diff(rows) > 0).all(), "rows must rise strictly"
        self.asked.append(len(rows))
        return self.array[rows]


def changed_inputs(source: Source, change: Callable[[Tensor], Any]) -> Source:
    """The same data with changed inputs in both parts; always the same object, so that tasks are joint."""
    data = source(NOWHERE)
    pairs = [(change(part.inputs), dict(part.labels)) for part in (data.train, data.test)]
    made = Data(*pairs, validation=data.validation, inputs=data.kind)
    return lambda directory: made


def with_inputs(study: Study, change: Callable[[Tensor], Any]) -> Study:
    sources = dict.fromkeys(task.data for task in study.tasks)
    made = {source: changed_inputs(source, change) for source in sources}
    return replace(study, tasks=[replace(task, data=made[task.data]) for task in study.tasks])


def mapped(folder: Path) -> Callable[[Tensor], np.ndarray]:
    """Writes inputs into a file of `folder`, and opens it where it lies."""

    def opened(x: Tensor) -> np.ndarray:
        path = folder / f"{len(list(folder.iterdir()))}.npy"
        np.save(path, x.numpy())
        return np.load(path, mmap_mode="r")

    return opened


def trained(
    study: Study, members: Members, make: Callable[[Training], Any], epochs: int = 3
) -> tuple[list[EpochResult], list[dict[str, Tensor]]]:
    """Every epoch's result of members that are trained together, and their best parameters."""
    trainer = make(Training(load_data(study, NOWHERE), seed=3))
    for number, (values, seed) in enumerate(members):
        trainer.add(number, config(study, **values), seed=seed)
    results = [result for _ in range(epochs) for result in trainer.advance()]
    results.sort(key=lambda result: (result.number, result.epoch))
    return results, [trainer.state(number) for number in range(len(members))]


def population(steps: type[Steps] = Eager) -> Callable[[Training], PopulationTrainer]:
    return lambda training: PopulationTrainer(training, 6, steps(), pytest.fail)


def assert_same(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    for state, due in zip(one[1], other[1], strict=True):
        assert state.keys() == due.keys()
        assert all(torch.equal(state[name], due[name]) for name in due)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mtlsearch-reader")]


@pytest.mark.parametrize("study", [disjoint(), joint(0.3), disjoint(batch_size=100)])
def test_training_from_disk_is_training_from_memory_to_the_bit(study: Study, tmp_path: Path) -> None:
    on_disk = with_inputs(study, mapped(tmp_path))
    members: Members = [({"hidden": 6, "norm": "batch"}, None)]
    assert_same(trained(on_disk, members, SoloTrainer), trained(study, members, SoloTrainer))
    assert readers() == []


@pytest.mark.parametrize("steps", [Eager, Fused])
@pytest.mark.parametrize("study", [disjoint(), joint(0.3)])
def test_population_from_disk_is_the_population_from_memory_to_the_bit(
    study: Study, steps: type[Steps], tmp_path: Path
) -> None:
    on_disk = with_inputs(study, mapped(tmp_path))
    make = population(steps)
    assert_same(trained(on_disk, LANES, make), trained(study, LANES, make))
    assert readers() == []


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")
def test_compiled_steps_read_from_disk_too(tmp_path: Path) -> None:
    study = disjoint(space={})  # without norms there is less to compile
    on_disk = with_inputs(study, mapped(tmp_path))
    _, (compiled,) = trained(on_disk, LANES[:1], population(Compiled), 1)
    _, (eager,) = trained(study, LANES[:1], population(), 1)
    for name, tensor in eager.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("steps", [Eager(), Captured(Eager())], ids=["eager", "captured"])
def test_population_from_disk_is_the_population_from_memory_on_cuda(steps: Steps, tmp_path: Path) -> None:
    def results(study: Study) -> list[EpochResult]:
        loaded = load_data(study, NOWHERE, "cuda")
        assert loaded.device.type == "cuda"
        trainer = PopulationTrainer(Training(loaded, seed=3), 3, steps, pytest.fail)
        for number, (values, _) in enumerate(LANES):
            trainer.add(number, config(study, **values))
        return [result for _ in range(3) for result in trainer.advance()]

    for got, due in zip(results(with_inputs(disjoint(), mapped(tmp_path))), results(disjoint()), strict=True):
        assert got.score == pytest.approx(due.score, abs=1e-3)


def test_resident_training_and_validation_on_disk_go_together(tmp_path: Path) -> None:
    """Each part may be on disk or in memory."""
    data, opened = joint_source(0.3)(NOWHERE), mapped(tmp_path)

    def source(change: Callable[[Tensor], Any]) -> Source:
        train, held_out = ((part.inputs, dict(part.labels)) for part in (data.train, data.test))
        made = Data(train, held_out, validation=(change(held_out[0]), held_out[1]))
        return lambda directory: made

    def study(change: Callable[[Tensor], Any]) -> Study:
        made = source(change)
        return replace(joint(), tasks=[replace(task, data=made) for task in joint().tasks])

    make = population()
    assert_same(trained(study(opened), LANES, make), trained(study(lambda x: x), LANES, make))


def counted_study(**changes: Any) -> tuple[Study, list[Counted]]:
    """The disjoint study, and its counted inputs: train and test of the first task, then of the second."""
    found: list[Counted] = []

    def counted(x: Tensor) -> Counted:
        found.append(Counted(x))
        return found[-1]

    return with_inputs(disjoint(**changes), counted), found


def epoch_reads(members: Members) -> int:
    """The number of reads of the first task's training inputs in one epoch, validation included."""
    study, (rows, *_) = counted_study()
    trainer = population()(Training(load_data(study, NOWHERE)))
    for number, (values, seed) in enumerate(members):
        trainer.add(number, config(study, **values), seed=seed)
    trainer.advance()  # reads what is read only once
    rows.asked.clear()
    trainer.advance()
    return len(rows.asked)


def test_a_batch_is_read_once_for_the_whole_population() -> None:
    steps = steps_per_epoch(load_data(counted_study()[0], NOWHERE))
    alone = epoch_reads(LANES[:1])
    assert alone == steps + 1, "each step's batch, and the validation part in one chunk"
    assert epoch_reads(LANES) == epoch_reads([*LANES, *LANES]) == alone


def test_each_seed_reads_its_own_batches_and_equals_the_resident_training(tmp_path: Path) -> None:
    members: Members = [({"hidden": 5}, 11), ({"depth": 2}, 12), ({"depth": 2}, 11), ({"hidden": 9}, 12)]
    assert epoch_reads(members) == 2 * epoch_reads(LANES)
    on_disk, make = with_inputs(disjoint(), mapped(tmp_path)), population()
    assert_same(trained(on_disk, members, make), trained(disjoint(), members, make))


def test_inputs_are_never_read_as_a_whole() -> None:
    study, found = counted_study()
    loaded = load_data(study, NOWHERE)
    describe(loaded)
    member_bytes(loaded)
    rows = found[0]
    assert sum(rows.asked) <= len(rows) * 3, "samples for the digest of a short file, and single examples"
    assert isinstance(loaded.splits[0].train.inputs, OnDisk)
    rows.asked.clear()
    population()(Training(loaded)).add(0, study.default_config())
    assert sum(rows.asked) < 10


def test_the_digest_reads_samples_of_long_data() -> None:
    rows = Counted(torch.zeros(2_000_000, 6, dtype=torch.uint8))
    Data((rows, torch.arange(2_000_000) % CLASSES), (inputs(9, 0), torch.arange(9) % CLASSES)).sha256("a")
    assert len(rows.asked) == SAMPLES
    assert sum(rows.asked) * 6 <= SAMPLES * 4096


class FailsOnce:
    """Steps that run out of memory at one of their calls, in lanes of four slots."""

    name, by_kernels = "eager", False

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def of(self, program: Any, slots: int) -> Any:
        def step(lane: Lane, tick: int) -> None:
            self.calls += 1
            if slots >= 4 and self.calls >= self.at:
                raise torch.OutOfMemoryError("out of memory")
            plain_step(lane, tick)

        return step


def test_out_of_memory_in_one_lane_begins_the_epoch_again_for_all(tmp_path: Path) -> None:
    """Two lanes step together; at the end each member is what it is alone, from memory."""
    on_disk, notices = with_inputs(disjoint(), mapped(tmp_path)), []
    members = [*LANES, ({"depth": 2, "hidden": 4}, None)]
    training = Training(load_data(on_disk, NOWHERE), seed=3, dtype=torch.float64)
    trainer = PopulationTrainer(training, 4, FailsOnce(at=26), notices.append)
    for number, (values, _) in enumerate(members):
        trainer.add(number, config(on_disk, **values))
    assert len(list(trainer.lanes)) == 2
    results = [result for _ in range(3) for result in trainer.advance()]
    assert len(notices) == 2, "each lane of four goes on as two of two"
    assert readers() == []
    resident = Training(load_data(disjoint(), NOWHERE), seed=3, dtype=torch.float64)
    for number, (values, _) in enumerate(members):
        solo = SoloTrainer(resident)
        solo.add(number, config(on_disk, **values))
        due = [solo.advance()[0] for _ in range(3)]
        own = [result for result in results if result.number == number]
        assert [r.score for r in own] == pytest.approx([r.score for r in due], abs=1e-9)
        for name, tensor in solo.state(number).items():
            torch.testing.assert_close(trainer.state(number)[name], tensor, rtol=0, atol=1e-8)


@pytest.mark.parametrize("make", [SoloTrainer, population()])
def test_a_stop_in_the_middle_of_an_epoch_ends_the_reader(make: Any) -> None:
    study, (rows, *_) = counted_study()
    training = Training(load_data(study, NOWHERE))
    trainer = make(training)
    trainer.add(0, study.default_config())
    trainer.advance()
    rows.asked.clear()
    training.stop.set()
    with pytest.raises(Interrupted):
        trainer.advance()
    assert readers() == []
    assert len(rows.asked) <= 2 * AHEAD


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_a_step_ends_the_reader(error: type[BaseException]) -> None:
    class Fails(Eager):
        def of(self, program: Any, slots: int) -> Any:
            def step(lane: Lane, tick: int) -> None:
                assert readers()
                raise error

            return step

    study, _ = counted_study()
    trainer = PopulationTrainer(Training(load_data(study, NOWHERE)), 1, Fails())
    trainer.add(0, study.default_config())
    with pytest.raises(error):
        trainer.advance()
    assert readers() == []


def test_reads_come_in_order_and_only_a_few_ahead() -> None:
    read: list[int] = []

    def one(number: int) -> int:
        read.append(number)
        return number

    with read_ahead(one, 40) as numbers:
        for expected, number in enumerate(numbers):
            assert number == expected
            assert len(read) <= number + AHEAD + 1
    assert read == list(range(40))
    with read_ahead(one, 0) as none:
        assert list(none) == []


def test_rows_that_fail_or_do_not_fit_give_an_error_of_one_line() -> None:
    class Cut(Counted):
        def __getitem__(self, rows: Any) -> Any:
            raise OSError(5, "Input/output error")

    class Flat(Counted):
        def __getitem__(self, rows: Any) -> Any:
            return self.array[rows].reshape(-1)

    labels = torch.arange(30) % CLASSES
    with pytest.raises(DataError, match=r"^inputs of Cut cannot be read: OSError: \[Errno 5\] Input/output"):
        Data((Cut(inputs(30, 0)), labels), (inputs(30, 0), labels)).sha256("a")
    flat = Data((Flat(inputs(30, 0)), labels), (inputs(30, 0), labels))
    with pytest.raises(DataError, match=r"^Flat must give float32 of the shape \(30, 6\) for 30 rows, but gave"):
        flat.sha256("a")
    with pytest.raises(DataError, match=r"^train inputs must be an array of numbers, but: can't convert"):
        Data((Counted(np.array(["cat"] * 30)), labels), (inputs(30, 0), labels))


def test_what_lies_in_memory_stays_resident(tmp_path: Path) -> None:
    import pandas as pd

    x, y = inputs(20, 0), torch.arange(20) % CLASSES
    opened = mapped(tmp_path)(x)
    for given in (x, x.numpy(), pd.DataFrame(x.numpy()), opened + 1, np.array(opened)):
        assert isinstance(Data((given, y), (x, y)).train.inputs, Tensor)
    for given in (opened, opened[::-1], Counted(x)):
        assert isinstance(Data((given, y), (x, y)).train.inputs, OnDisk)


def test_inputs_on_disk_are_indexed_as_a_tensor_is(tmp_path: Path) -> None:
    x = inputs(50, 0)
    kept = OnDisk(mapped(tmp_path)(x))
    assert (len(kept), kept.shape, kept.dtype) == (50, x.shape, x.dtype)
    index = torch.tensor([7, 3, 3, 49, 0])
    assert torch.equal(kept.index_select(0, index), x[index])
    assert torch.equal(kept[4], x[4])
    assert torch.equal(kept[-3:], x[-3:])
    part = kept.taken(torch.tensor([9, 8, 30]))
    assert torch.equal(part[:], x[[9, 8, 30]])
    assert torch.equal(part.taken(torch.tensor([2, 0]))[:], x[[30, 9]])


@pytest.mark.parametrize("view", [lambda m: m[::3], lambda m: m[:, ::2], lambda m: m[5:25]])
def test_views_of_a_mapped_file_are_read_as_they_are(view: Any, tmp_path: Path) -> None:
    opened = view(mapped(tmp_path)(inputs(50, 0)))
    assert torch.equal(OnDisk(opened)[:], torch.from_numpy(np.array(opened)))


def test_pages_are_released_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtlsearch.data.examples.on_disk.MAPPED_BYTES", 0)
    x = inputs(50, 0)
    kept = OnDisk(mapped(tmp_path)(x))
    assert torch.equal(kept[:], x)
    assert torch.equal(kept[:], x)
    np.save(tmp_path / "own.npy", x.numpy())
    own = np.load(tmp_path / "own.npy", mmap_mode="c")
    own[3] = 7.0  # in this process's memory alone
    changed = OnDisk(own)
    assert (changed[:][3] == 7).all()
    assert (changed[:][3] == 7).all()


def test_the_division_is_that_of_resident_data(tmp_path: Path) -> None:
    source = picture_source()
    data, on_disk = source(NOWHERE), changed_inputs(source, mapped(tmp_path))(NOWHERE)
    labels = data.column(data.train, "a")
    for part, due in zip(divide(on_disk, labels, 5), divide(data, labels, 5), strict=True):
        assert torch.equal(part.inputs[:], due.inputs)
        assert torch.equal(part.labels["label"], due.labels["label"])


def digest(path: Path, labels: Tensor) -> str:
    test = inputs(9, 0), torch.arange(9) % CLASSES
    return Data((np.load(path, mmap_mode="r"), labels), test).sha256("a")


def test_a_copied_or_touched_file_is_the_same_data_and_another_content_is_not(tmp_path: Path) -> None:
    x, labels = inputs(3000, 0).repeat(1, 20).numpy(), torch.arange(3000) % CLASSES

    def saved(name: str, array: np.ndarray) -> Path:
        np.save(tmp_path / name, array)
        return tmp_path / f"{name}.npy"

    first = saved("first", x)
    before = digest(first, labels)
    os.utime(first, (0, 0))
    assert digest(first, labels) == before
    assert digest(saved("copy", x), labels) == before
    for row in (0, 2999):
        other = x.copy()
        other[row, 5] += 1
        assert digest(saved("other", other), labels) != before
    assert digest(saved("shorter", x[:-1]), labels[:-1]) != before
    assert digest(saved("wider", x.astype(np.float64)), labels) != before
    swapped = labels.clone()
    swapped[1234] = (swapped[1234] + 1) % CLASSES
    assert digest(first, swapped) != before


def test_a_file_that_changes_during_training_is_an_error(tmp_path: Path) -> None:
    on_disk = with_inputs(disjoint(), mapped(tmp_path))
    trainer = SoloTrainer(Training(load_data(on_disk, NOWHERE)))
    trainer.add(0, on_disk.default_config())
    trainer.advance()
    path = tmp_path / "0.npy"
    os.utime(path, (5, 5))
    trainer.advance()  # another time alone says nothing
    whole = np.load(path, mmap_mode="r+")
    whole[:] += 1
    whole.flush()
    os.utime(path, (9, 9))
    with pytest.raises(DataError, match="inputs on disk have changed since training began"):
        trainer.advance()
    path.unlink()
    assert readers() == []


STUDY_FILE = """
import numpy as np
from mtlsearch import Classification, Data, SharedTrunk, Study, integer, real

def source(directory):
    labels = dict(np.load(directory / "labels.npz"))
    pictures = np.load(directory / "pictures.npy", mmap_mode="r")
    return Data((pictures, labels), (pictures[:64], {name: y[:64] for name, y in labels.items()}), validation=64)

def model(config):
    return SharedTrunk(16, {"a": 2, "b": 2}, hidden=config["hidden"])

study = Study(
    tasks=[Classification("a", source), Classification("b", source)],
    model=model,
    space={"hidden": integer(4, 16), "learning_rate": real(1e-3, 1e-1, log=True)},
    default={"hidden": 8, "learning_rate": 1e-2},
    epochs=2,
    batch_size=32,
)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study file whose pictures stay on disk."""
    monkeypatch.chdir(tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (256, 4, 4), dtype=np.uint8)
    np.save("pictures.npy", pictures)
    np.savez("labels.npz", a=pictures[:, 0, 0] // 128, b=pictures[:, 1, 1] // 128)
    Path("own.py").write_text(STUDY_FILE)
    return tmp_path


def test_every_command_works_on_a_study_whose_data_stay_on_disk(here: Path) -> None:
    short = ("--data", ".", "--threads", "1", "--quiet")
    done("run", "own.py", "--trials", "3", "--population", "3", "--no-confirm", *short)
    done("confirm", "own.py", "--seeds", "2", "--top", "1", *short)
    done("export", "own", "--search", "-o", "best.json")
    checked = done("verify", "best.json", "--study", "own.py", "--data", ".", "--json").json
    assert (checked["agrees"], checked["rule"]) == (True, "bitwise")
    assert set(done("train", "own.py", *short, "--json").json["test"]) == {"a", "b"}
    np.save("pictures.npy", np.load("pictures.npy") // 2)
    told = refused("run", "own.py", "--trials", "4", "--population", "3", "--no-confirm", *short)
    assert "data" in told


def test_objective_reads_from_disk(here: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective(load_study("own.py"), data="."), n_trials=1)
    assert 0 <= study.best_value <= 1


MEMORY = """
import sys
import numpy as np, torch
from pathlib import Path
from mtlsearch import Classification, Data, SharedTrunk, Study
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training import evaluation
from mtlsearch.training.trainer import Training

torch.set_num_threads(1)
evaluation.READ_BYTES = 1 << 20
FEATURES, ROWS = 1 << 14, int(sys.argv[2])

def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

def source(directory):
    pictures = np.memmap(sys.argv[1], np.uint8, "r", shape=(ROWS, FEATURES))
    labels = np.arange(ROWS) % 2
    return Data((pictures, labels), (pictures[:64], labels[:64]), validation=0.25)

study = Study(tasks=[Classification("a", source)], model=lambda c: SharedTrunk(FEATURES, {"a": 2}, hidden=2),
              space={}, default={"learning_rate": 1e-3}, batch_size=64)
trainer = PopulationTrainer(Training(load_data(study, Path())), 2, Eager())
for number in range(2):
    trainer.add(number, study.default_config())
before = kib("VmRSS:")
trainer.advance()
print((kib("VmHWM:") - before) >> 10)
"""


def test_host_memory_stays_flat_while_a_large_file_is_read(tmp_path: Path) -> None:
    """A sparse file of 256 MiB is trained and validated on; at its peak the process holds a few batches more."""
    rows = 256 << 6
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(rows << 14)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "sparse"), str(rows)]
    # Else glibc keeps some of what has been freed, a different amount in each run.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 96, "MiB"


def test_a_single_tasks_study_keeps_its_inputs_on_disk(tmp_path: Path) -> None:
    only = load_data(with_inputs(disjoint(), mapped(tmp_path)), NOWHERE).only("b")
    assert list(only.on_disk) == [0]
    trainer = SoloTrainer(Training(only))
    trainer.add(0, only.study.default_config())
    assert trainer.advance()[0].reason is None


def test_rows_that_are_not_aligned_in_their_file_are_read(tmp_path: Path) -> None:
    x = inputs(50, 0)
    (tmp_path / "raw").write_bytes(b"odd" + x.numpy().tobytes())
    opened = np.memmap(tmp_path / "raw", np.float32, "r", offset=3, shape=(50, 6))
    assert torch.equal(OnDisk(opened)[:], x)
