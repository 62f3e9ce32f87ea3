"""A study of dozens of tasks on two sources: groups of three kinds, and tasks that are in none."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mtlsearch import Classification, Config, CustomTask, Data, MultiLabel, Regression, SharedTrunk, Study, integer

FEATURES, ROWS = 10, 96
MANY = 8


def given(seed: int, rows: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Inputs, and labels of which a fifth is missing."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, FEATURES, generator=generator)
    planes = torch.randn(FEATURES, MANY, generator=torch.Generator().manual_seed(99))
    values = x @ planes + torch.randn(rows, MANY, generator=generator)
    gone = torch.rand(rows, MANY, generator=generator) < 0.2
    labels = {f"class {i}": torch.where(gone[:, i], -1, (values[:, i] > 0).long()) for i in range(MANY)}
    labels |= {f"value {i}": torch.where(gone[:, i], torch.nan, 3 * values[:, i] + i) for i in range(MANY)}
    tags = torch.where(gone, torch.nan, (values > 0.5).float())
    labels |= {f"tag {i}": tags[:, i : i + 1] for i in range(MANY)}
    labels |= {"own": values[:, 0], "three": values[:, :3].argmax(1)}
    return x, labels


def first(directory: object) -> Data:
    return Data(given(0, ROWS), given(1, 40), validation=given(2, 40))


def second(directory: object) -> Data:
    return Data(given(3, ROWS // 2), given(4, 40), validation=given(5, 40))


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.squeeze(1) - labels).square()


def closeness(outputs: Tensor, labels: Tensor) -> Tensor:
    return -(outputs.squeeze(1) - labels).abs().mean()


def crowd(**changes: Any) -> Study:
    """Tasks whose kinds take turns, so that no group lies together; and eight on a source of their own."""
    tasks: list[Any] = [CustomTask("own", first, size=1, loss_fn=squared, metric_fn=closeness)]
    for i in range(MANY):
        tasks += [
            Classification(f"class {i}", first, metric_name="auroc", class_weights="balanced"),
            Regression(f"value {i}", first, metric_name="mae"),
            MultiLabel(f"tag {i}", first),
        ]
    tasks.append(Classification("three", first))
    own = {f"other {i}": f"class {i}" for i in range(MANY)}

    def renamed(directory: object) -> Data:
        found = second(directory)
        for part in found.parts:
            labels: Any = part.labels
            labels.update({name: labels[of] for name, of in own.items()})
        return found

    tasks += [Classification(name, renamed, label_smoothing=0.1) for name in own]
    sizes = {"own": 1, "three": 3} | dict.fromkeys(own, 2)
    sizes |= {f"class {i}": 2 for i in range(MANY)} | {f"{k} {i}": 1 for i in range(MANY) for k in ("value", "tag")}

    def build(config: Config) -> SharedTrunk:
        return SharedTrunk(FEATURES, sizes, hidden=int(config["hidden"]), dropout=0.2, norm="layer")

    study = Study(
        tasks=tasks, model=build, space={"hidden": integer(4, 12)}, default={"hidden": 6}, epochs=2, batch_size=16
    )
    return replace(study, **changes)


def weighed(study: Study, seed: int, drop: Sequence[str] = (), **values: Any) -> Config:
    """A config with weights drawn at random; the tasks in `drop` have none."""
    names = study.weighted
    drawn = torch.rand(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    weights = {name: 0.0 if name in drop else w for name, w in zip(names, drawn, strict=True)}
    total = sum(weights.values())
    return Config({**study.default, **values}, {name: w / total for name, w in weights.items()})
