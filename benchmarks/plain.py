"""MNIST and Fashion-MNIST on one shared layer, in plain PyTorch: the reference of `independent.py`.

This program imports and copies nothing of mtlsearch. It has its own reader of the files and its own network, and takes
torch's optimizers, dropout and random numbers. Only the split is the same, because the intervals of a confirmation are
over seeds on one split: scikit-learn's, stratified, with the same seed.
"""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

SETS = {"mnist": "MNIST", "fashion": "FashionMNIST"}
BATCH = 64
Pair = tuple[Tensor, Tensor]
Sets = dict[str, dict[str, Pair]]  # task, then part


def idx(path: Path) -> Tensor:
    """A file in MNIST's own format, gzipped or not, as bytes."""
    raw = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
    sizes = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return torch.frombuffer(bytearray(raw[4 + 4 * raw[3] :]), dtype=torch.uint8).view(sizes)


def read(folder: Path, held_out: int, split_seed: int = 0) -> Sets:
    """{task: {"train" | "validation" | "test": (pictures [N, 784] in 0 … 1, labels [N])}}."""
    sets: Sets = {}
    for task, name in SETS.items():
        raw = folder / name / "raw"
        pictures = {part: idx(raw / f"{part}-images-idx3-ubyte") for part in ("train", "t10k")}
        labels = {part: idx(raw / f"{part}-labels-idx1-ubyte").long() for part in ("train", "t10k")}
        flat = {part: x.flatten(1).float() / 255 for part, x in pictures.items()}
        rest, held = train_test_split(
            torch.arange(len(flat["train"])),
            test_size=held_out,
            random_state=split_seed,
            stratify=labels["train"],
        )
        sets[task] = {
            "train": (flat["train"][rest], labels["train"][rest]),
            "validation": (flat["train"][held], labels["train"][held]),
            "test": (flat["t10k"], labels["t10k"]),
        }
    return sets


class Network(nn.Module):
    """One hidden layer for all tasks, and a linear head for each."""

    def __init__(self, tasks: Sequence[str], hidden: int, dropout: float, norm: str) -> None:
        super().__init__()
        norms = {"none": nn.Identity(), "batch": nn.BatchNorm1d(hidden), "layer": nn.LayerNorm(hidden)}
        self.trunk = nn.Sequential(nn.Linear(784, hidden), norms[norm], nn.ReLU(), nn.Dropout(dropout))
        self.heads = nn.ModuleDict({task: nn.Linear(hidden, 10) for task in tasks})

    def forward(self, pictures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = self.trunk(torch.cat(list(pictures.values()))).split([len(x) for x in pictures.values()])
        return {task: self.heads[task](f) for task, f in zip(pictures, features, strict=True)}


def optimizer_of(config: Mapping[str, Any], network: nn.Module) -> torch.optim.Optimizer:
    rate, decay = config["learning_rate"], config["weight_decay"]
    if config["optimizer"] == "adam":
        return torch.optim.Adam(network.parameters(), rate, weight_decay=decay)
    if config["optimizer"] == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=decay)


def accuracy(network: nn.Module, sets: Sets, part: str) -> dict[str, float]:
    """Each task's accuracy on a part."""
    network.eval()
    with torch.no_grad():
        right = {
            task: network({task: parts[part][0]})[task].argmax(1) == parts[part][1] for task, parts in sets.items()
        }
    return {task: float(hits.float().mean()) for task, hits in right.items()}


def train(sets: Sets, config: Mapping[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Train the tasks of `sets` with equal weights; test accuracies at the epoch that is best on validation."""
    torch.manual_seed(seed)
    network = Network(list(sets), config["hidden"], config["dropout"], config["norm"])
    optimizer = optimizer_of(config, network)
    best, test = -1.0, {}
    for _ in range(epochs):
        network.train()
        orders = {task: torch.randperm(len(parts["train"][1])).split(BATCH) for task, parts in sets.items()}
        for rows in zip(*orders.values(), strict=True):
            batch = {
                task: (sets[task]["train"][0][r], sets[task]["train"][1][r])
                for task, r in zip(orders, rows, strict=True)
            }
            outputs = network({task: x for task, (x, _) in batch.items()})
            losses = [F.cross_entropy(outputs[task], y) for task, (_, y) in batch.items()]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
        validation = accuracy(network, sets, "validation")
        score = sum(validation.values()) / len(validation)
        if score > best:
            best, test = score, accuracy(network, sets, "test")
    return test
