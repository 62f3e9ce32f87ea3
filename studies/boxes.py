"""Rendered pictures with one object or none: a detector's sum of box, class and confidence losses; needs no data.

The three losses are terms over the same pictures, since none of them is a task by itself: what counts is the object
that is found, with its class and its box.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mtlsearch import Evaluation, Study, Term, real

SIDE = 16
CLASSES = 3  # a disc, a square, a cross
EMPTY = 0.3  # of the pictures


def pictures(count, seed):
    """Pictures [N, 1, SIDE, SIDE], whether an object is there, its class, and its box: centre and half size."""
    random = torch.Generator().manual_seed(seed)
    half = 0.1 + 0.15 * torch.rand(count, 2, generator=random)
    centre = half + (1 - 2 * half) * torch.rand(count, 2, generator=random)
    kind = torch.randint(CLASSES, (count,), generator=random)
    there = torch.rand(count, generator=random) >= EMPTY
    at = (torch.arange(SIDE) + 0.5) / SIDE
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1)  # of (x, y)
    away = ((grid - centre[:, None, None]) / half[:, None, None]).abs()
    disc = away.square().sum(-1) < 1
    square = away.amax(-1) < 1
    cross = square & (away.amin(-1) < 0.4)
    shape = torch.stack([disc, square, cross], 1)[torch.arange(count), kind]
    drawn = torch.where(there[:, None, None], shape, False).float()
    noisy = drawn + 0.5 * torch.randn(count, SIDE, SIDE, generator=random)
    return {
        "picture": noisy.unsqueeze(1),
        "there": there.float(),
        "kind": kind,
        "box": torch.cat([centre, half], 1),
    }


TRAIN = pictures(800, seed=0)


def mean_where_there(losses, batch):
    return (losses * batch["there"]).sum() / batch["there"].sum().clamp(min=1)


def confidence(model, batch):
    return F.binary_cross_entropy_with_logits(model(batch["picture"])[:, 0], batch["there"])


def kind(model, batch):
    losses = F.cross_entropy(model(batch["picture"])[:, 5:], batch["kind"], reduction="none")
    return mean_where_there(losses, batch)


def box(model, batch):
    losses = F.smooth_l1_loss(model(batch["picture"])[:, 1:5], batch["box"], reduction="none").sum(1)
    return mean_where_there(losses, batch)


def corners(box):
    return box[:, :2] - box[:, 2:], box[:, :2] + box[:, 2:]


def found(outputs, labels):
    """The share of pictures that are read right: empty, or an object of the class in a box with an IoU above 0.5."""
    (low, high), (true_low, true_high) = corners(outputs[:, 1:5]), corners(labels[:, 1:5])
    both = (torch.minimum(high, true_high) - torch.maximum(low, true_low)).clamp(min=0).prod(1)
    either = (high - low).clamp(min=0).prod(1) + (true_high - true_low).prod(1) - both
    right = (both / either > 0.5) & (outputs[:, 5:].argmax(1) == labels[:, 5])
    seen, there = outputs[:, 0] > 0, labels[:, 0] > 0
    return torch.where(there, seen & right, ~seen).float().mean()


def part(count, seed):
    given = pictures(count, seed)
    labels = torch.cat([given["there"][:, None], given["box"], given["kind"][:, None].float()], 1)
    return given["picture"], labels


def model(config):
    channels = config["channels"]
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * (SIDE // 4) ** 2, 64),
        nn.ReLU(),
        nn.Linear(64, 1 + 4 + CLASSES),
    )


study = Study(
    description="rendered pictures with one object: box, class and confidence of a detector",
    needs="nothing",
    terms=[Term("confidence", TRAIN, confidence), Term("kind", TRAIN, kind), Term("box", TRAIN, box)],
    evaluations=[
        Evaluation(
            "object",
            {"validation": part(400, seed=1), "test": part(1000, seed=2)},
            metric=found,
            higher_is_better=True,
            size=1 + 4 + CLASSES,
        )
    ],
    model=model,
    space={"learning_rate": real(1e-4, 1e-2, log=True)},
    default={"channels": 8, "learning_rate": 2e-3},
    epochs=15,
    batch_size=32,
)
