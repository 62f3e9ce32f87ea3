"""The loop people write: one trial at a time, torchvision pictures through a `DataLoader`, plain PyTorch.

An ordinary Optuna objective does this for each trial. The benchmarks compare the search with it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from common import HELD_OUT, cores, seconds, synchronize
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

BATCH = 64
WARM_UP = 10


@dataclass(frozen=True)
class Rates:
    """The steps and epochs a second of one case in one round, summed over its members."""

    steps: float
    epochs: float


class Net(nn.Module):
    """The model of the loop people write."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.heads = nn.ModuleList([nn.Linear(hidden, 10) for _ in range(2)])

    def forward(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.heads[task](self.trunk(x))
        return logits


class PeopleLoop:
    """One trial as people write it, inside an Optuna objective."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        threads: int,
        workers: int,
        hidden: int = 128,
        held_out: int = HELD_OUT,
    ) -> None:
        self.device, self.threads, self.held_out = device, threads, held_out
        sets = [
            kind(str(folder), train=True, transform=transforms.ToTensor())
            for kind in (datasets.MNIST, datasets.FashionMNIST)
        ]
        parts = [random_split(pictures, [len(pictures) - held_out, held_out]) for pictures in sets]
        pinned = device.type == "cuda"
        self.training, self.validation = (
            [DataLoader(p[i], size, shuffle=i == 0, num_workers=workers, pin_memory=pinned) for p in parts]
            for i, size in enumerate((BATCH, 1000))
        )
        self.net = Net(hidden).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def on_device(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=True)

    def step(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.optimizer.zero_grad()
        losses = [
            F.cross_entropy(self.net(self.on_device(x), task), self.on_device(y)) for task, (x, y) in enumerate(batches)
        ]
        (0.5 * losses[0] + 0.5 * losses[1]).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def validate(self) -> list[float]:
        """The accuracy of each task."""
        self.net.eval()
        correct = [0, 0]
        with torch.no_grad():
            for task, loader in enumerate(self.validation):
                for x, y in loader:
                    predicted = self.net(self.on_device(x), task).argmax(1)
                    correct[task] += (predicted == self.on_device(y)).sum().item()
        return [count / self.held_out for count in correct]

    def sample(self, steps: int, validated: bool = True) -> Rates:
        """Take `steps` steps and validate once; the rate of epochs is extrapolated."""
        torch.set_num_threads(self.threads)
        start, step = self.timed_steps(min(steps, self.steps_per_epoch - WARM_UP - 1))
        validation = seconds(self.device, self.validate) if validated else 0.0
        return Rates(1 / step, 1 / (start + (self.steps_per_epoch - 1) * step + validation))

    def timed_steps(self, steps: int) -> tuple[float, float]:
        """Seconds to the end of an epoch's first step, which starts the workers, and for a later one."""
        self.net.train()
        begun = time.perf_counter()
        batches: Iterator[Sequence[tuple[Tensor, Tensor]]] = iter(zip(*self.training, strict=True))
        self.step(next(batches))
        synchronize(self.device)
        start = time.perf_counter() - begun

        def take(count: int) -> None:
            for _ in range(count):
                self.step(next(batches))

        take(WARM_UP)
        return start, seconds(self.device, lambda: take(steps)) / steps

    @property
    def steps_per_epoch(self) -> int:
        return len(self.training[0])


def best_people(folder: Path, device: torch.device, most_threads: int, workers: Sequence[int]) -> tuple[int, int]:
    """The thread and worker count at which the loop has the shortest epoch."""
    found = {}
    for threads, count in product(sorted({1, most_threads}), [w for w in workers if w <= cores()]):
        loop = PeopleLoop(folder, device, threads, count)
        found[threads, count] = loop.sample(60, validated=False).epochs
    return max(found, key=lambda key: found[key])
