"""Small synthetic studies: joint, disjoint, every kind of task, missing labels, models that misbehave."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch import (
    Classification,
    Config,
    CustomTask,
    Data,
    MultiLabel,
    Regression,
    SharedTrunk,
    Study,
    choice,
    integer,
    real,
)
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Value

FEATURES, CLASSES = 6, 3
DEFAULT: dict[str, Value] = {
    "hidden": 8,
    "dropout": 0.1,
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "norm": "none",
}
NOWHERE = Path("nowhere")


def compiles(notice: str) -> None:
    """Takes the notices of `Compiled`, and fails where one says that it cannot compile."""
    assert "cannot" not in notice, notice


def inputs(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(seed))


def classes(x: Tensor, seed: int = 0, count: int = CLASSES) -> Tensor:
    """Labels that a linear model can learn."""
    planes = torch.randn(FEATURES, count, generator=torch.Generator().manual_seed(1000 + seed))
    return (x @ planes).argmax(1)


def picture_source(rows: int = 192, seed: int = 0) -> Callable[[Path], Data]:
    """Inputs of uint8, one label column that any task takes."""

    def source(directory: Path) -> Data:
        parts = [inputs(n, seed + i) for i, n in enumerate((rows, rows // 2))]
        pairs = [((x * 40 + 128).clamp(0, 255).to(torch.uint8), classes(x, seed)) for x in parts]
        return Data(*pairs, validation=rows // 4, inputs="pictures")

    return source


def joint_source(missing: float = 0.0, rows: int = 192, seed: int = 0) -> Callable[[Path], Data]:
    """One input with a label of each kind; a fraction `missing` of the labels is not there."""

    def pair(n: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, random = inputs(n, seed), torch.Generator().manual_seed(seed)

        def gone(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=random) < missing

        return x, {
            "kind": torch.where(gone(n), -1, classes(x)),
            "tags": torch.where(gone(n, 2), torch.nan, (x[:, :2] > 0).float()),
            "amount": torch.where(gone(n), torch.nan, 3 * x[:, 0] + 5),
            "own": torch.where(gone(n), torch.nan, x[:, 1] - x[:, 2]),
        }

    def source(directory: Path) -> Data:
        return Data(pair(rows, seed), pair(rows // 2, seed + 1), validation=rows // 4)

    return source


def trunk(heads: Mapping[str, int]) -> Callable[[Config], nn.Module]:
    """A shared trunk that reads whatever the config has."""

    def model(config: Config) -> nn.Module:
        return SharedTrunk(
            FEATURES,
            heads,
            hidden=int(config.number("hidden", 8)),
            depth=int(config.number("depth", 1)),
            dropout=config.number("dropout", 0.0),
            norm=str(config.get("norm", "none")),
        )

    return model


def space() -> dict[str, Any]:
    return {
        "hidden": integer(4, 16, log=True),
        "dropout": real(0.0, 0.5),
        "optimizer": choice("adam", "adamw", "rmsprop", "sgd"),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "norm": choice("none", "batch", "layer"),
    }


def disjoint(**changes: Any) -> Study:
    """Two classification tasks with inputs of their own, the second a third as long."""
    study = Study(
        tasks=[Classification("a", picture_source(192)), Classification("b", picture_source(64, seed=7))],
        model=trunk({"a": CLASSES, "b": CLASSES}),
        space=space(),
        default=DEFAULT,
        epochs=3,
        batch_size=16,
    )
    return replace(study, **changes)


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.squeeze(1) - labels).square()


def closeness(outputs: Tensor, labels: Tensor) -> Tensor:
    return -(outputs.squeeze(1) - labels).abs().mean()


def joint(missing: float = 0.0, **changes: Any) -> Study:
    """A task of every kind on the same inputs."""
    source = joint_source(missing)
    study = Study(
        tasks=[
            Classification("kind", source, metric_name="macro_f1"),
            MultiLabel("tags", source),
            Regression("amount", source),
            CustomTask("own", source, size=1, loss_fn=squared, metric_fn=closeness),
        ],
        model=trunk({"kind": CLASSES, "tags": 2, "amount": 1, "own": 1}),
        space=space(),
        default=DEFAULT,
        epochs=3,
        batch_size=16,
    )
    return replace(study, **changes)


def loaded(study: Study) -> LoadedStudy:
    return load_data(study, NOWHERE)


def config(study: Study, weights: Mapping[str, float] | None = None, **values: Any) -> Config:
    """The study's default config with `values`, and with `weights` instead of equal ones."""
    default = study.default_config()
    return Config({**default, **values}, weights or default.task_weights)


class NanFor(nn.Module):
    """A trunk whose output for one task becomes NaN in training after some steps."""

    def __init__(self, inner: nn.Module, task: str, after: int) -> None:
        super().__init__()
        self.inner, self.task, self.after = inner, task, after
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = dict(self.inner(given))
        if self.training:
            broken = self.get_buffer("steps") >= self.after
            outputs[self.task] = torch.where(broken, torch.nan, outputs[self.task])
            self.get_buffer("steps").add_(1)
        return outputs


def broken(task: str = "b", after: int = 0, when: Callable[[Config], bool] = lambda config: True) -> Study:
    """The disjoint study, whose model gives NaN for `task` after some steps where `when` holds of the config."""
    inner = trunk({"a": CLASSES, "b": CLASSES})
    return disjoint(model=lambda c: NanFor(inner(c), task, after) if when(c) else inner(c))
