"""Augmented training inputs: the same for a member in a population and alone, anew each time, in training only."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import done, refused
from population_asserts import EPOCHS, assert_population_equals_solo
from problems import NOWHERE, config, disjoint
from torch import Tensor
from torchvision.transforms import v2

from mtlsearch import Classification, ConvTrunk, Data, Study, real
from mtlsearch.data.augment import augmented, described
from mtlsearch.errors import DataError
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.training.batches import epoch_reads, steps_per_epoch
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager, Fused
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

SIDE, BATCH = 6, 8
TRANSFORMS = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomResizedCrop(SIDE, scale=(0.5, 1.0), antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5], [0.25]),
    ]
)
FOLDER_STUDY = """
from pathlib import Path
from torchvision.transforms import v2
from mtlsearch import Classification, ConvTrunk, PictureFolder, Study, real

pictures = PictureFolder(
    Path(__file__).resolve().parent / "pictures",
    size=8,
    augment=v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.2)]),
)
study = Study(
    tasks=[Classification("kind", pictures)],
    model=lambda config: ConvTrunk({"kind": 2}, in_channels=3, channels=2, dropout=config["dropout"]),
    space={"dropout": real(0.0, 0.5)},
    default={"dropout": 0.1, "learning_rate": 1e-2},
    epochs=2,
    batch_size=8,
)
"""


def pictures(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def study(augment: Callable[[Tensor], Tensor] | None, opened: Callable[[Tensor], object] = lambda x: x) -> Study:
    """A joint and a disjoint task, of which the joint ones' pictures are augmented: 25 steps an epoch."""
    x = pictures(25 * BATCH + 40)
    labels = {"a": torch.arange(len(x)) % 3, "b": torch.arange(len(x)) % 2}
    first = Data((opened(x), labels), (x, labels), validation=40, augment=augment)
    plain = Data((x, labels["b"]), (x, labels["b"]), validation=40)

    def joint(directory: Path) -> Data:
        return first

    return Study(
        tasks=[
            Classification("a", joint),
            Classification("b", joint),
            Classification("c", lambda directory: plain),
        ],
        model=lambda config: ConvTrunk({"a": 3, "b": 2, "c": 2}, channels=2, dropout=config["dropout"]),
        space={"dropout": real(0.0, 0.5)},
        default={"dropout": 0.2, "learning_rate": 1e-2},
        epochs=EPOCHS,
        batch_size=BATCH,
    )


def read(made: Study, seed: int = 3, epoch: int = 0) -> list[Tensor]:
    """The augmented inputs of every step of an epoch."""
    with epoch_reads(load_data(made, NOWHERE), seed, epoch) as reads:
        return [dict(step)[0].clone() for step in reads]


def test_members_of_a_population_equal_solo() -> None:
    made = study(TRANSFORMS)
    members = [config(made), config(made, {"a": 0.6, "b": 0.3, "c": 0.1}, dropout=0.4, optimizer="sgd")]
    assert_population_equals_solo(made, members, steps=Fused())


def test_a_batch_is_augmented_once_for_the_whole_population() -> None:
    calls: list[int] = []

    def counted(picture: Tensor) -> Tensor:
        calls.append(1)
        return picture

    training = Training(load_data(study(counted), NOWHERE), seed=3)
    trainer = PopulationTrainer(training, 4, Eager(), pytest.fail)
    for number in range(4):
        trainer.add(number, config(training.loaded.study, dropout=number / 10))
    trainer.advance()
    calls.clear()
    trainer.advance()
    assert len(calls) == steps_per_epoch(training.loaded) * BATCH


def test_what_is_drawn_is_a_function_of_seed_epoch_and_step_and_differs_from_picture_to_picture() -> None:
    made = study(TRANSFORMS)
    state = torch.random.get_rng_state()
    first = read(made)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(map(torch.equal, first, read(made)))
    assert not any(map(torch.equal, first, read(made, seed=4)))
    assert not any(map(torch.equal, first, read(made, epoch=1)))
    noisy = augmented(lambda x: x + torch.rand(()), torch.zeros(BATCH, 2), seed=0)
    assert len(noisy[:, 0].unique()) == BATCH


def test_pictures_on_disk_are_augmented_as_those_in_memory(tmp_path: Path) -> None:
    def mapped(x: Tensor) -> np.ndarray:
        np.save(tmp_path / "x.npy", x.numpy())
        return np.load(tmp_path / "x.npy", mmap_mode="r")

    assert all(map(torch.equal, read(study(TRANSFORMS, mapped)), read(study(TRANSFORMS))))


def test_validation_and_test_pictures_stay_as_they_are() -> None:
    def gone(picture: Tensor) -> Tensor:
        return torch.zeros_like(picture)

    def values(made: Study, split: str) -> dict[str, dict[str, float]]:
        trainer = SoloTrainer(Training(load_data(made, NOWHERE), seed=3))
        trainer.add(0, config(made))
        return trainer.members[0].evaluate(split)

    for split in ("validation", "test"):
        assert values(study(gone), split) == values(study(None), split)
    assert not any(batch.any() for batch in read(study(gone)))


def test_a_task_by_itself_is_augmented_too() -> None:
    loaded = load_data(study(TRANSFORMS), NOWHERE)
    assert loaded.only("a").augments == {0: TRANSFORMS}
    assert loaded.only("c").augments == {}


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (v2.Resize(4), "augment must keep the shape of an input, (1, 6, 6), but gave (1, 4, 4)"),
        (v2.Normalize([0.5], [0.5]), "augment fails on an input (1, 6, 6): "),
        (lambda x: None, "augment fails on an input (1, 6, 6): TypeError"),
    ],
)
def test_a_bad_augmentation_is_refused_before_training(augment: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(DataError) as error:
        load_data(study(augment), NOWHERE)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_another_augmentation_is_another_study_and_none_is_described_as_before() -> None:
    def of(augment: Callable[[Tensor], Tensor] | None) -> object:
        return describe(load_data(study(augment), NOWHERE))["fingerprint"].get("augment")

    assert of(None) is None
    assert of(v2.RandomHorizontalFlip(0.5)) != of(v2.RandomHorizontalFlip(0.1))
    assert of(TRANSFORMS) == of(v2.Compose(TRANSFORMS.transforms))
    assert described(lambda x: x).endswith("<lambda>")
    assert " at 0x" not in described(object())


def test_a_study_without_augmentation_reads_nothing() -> None:
    loaded = load_data(disjoint(), NOWHERE)
    with epoch_reads(loaded, 0, 0) as reads:
        assert not any(reads)


def test_pictures_of_a_folder_are_augmented_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "pictures" / ("dark" if i % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        shade = random.integers(0, 128, (8, 8, 3)) + 127 * (i % 2 == 0)
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FOLDER_STUDY)
    run = (
        "run",
        "mine.py",
        "--trials",
        "3",
        "--population",
        "3",
        "--no-confirm",
        "--quiet",
        "--threads",
        "1",
    )
    done(*run)
    done("export", "mine", "-o", "best.json")
    assert done("verify", "best.json", "--study", "mine.py", "--json").json["agrees"]
    Path("mine.py").write_text(FOLDER_STUDY.replace("ColorJitter(0.2)", "ColorJitter(0.3)"))
    assert "augment" in refused(*run)
