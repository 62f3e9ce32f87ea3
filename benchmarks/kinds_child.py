"""One run of `kinds.py`, in a process of its own: `mtlsearch run` with a clock at its seams, or a plain loop.

    python benchmarks/kinds_child.py search ARGUMENTS…      what `mtlsearch run ARGUMENTS…` does
    python benchmarks/kinds_child.py plain STUDY STORE SET… the configs of the trials in STORE, one after the other

Its last line is JSON. Times are seconds since the process was started, which `STARTED` tells.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

STARTED = float(os.environ.get("STARTED", time.monotonic()))


def since() -> float:
    return time.monotonic() - STARTED


class Clock:
    """When the first step began and the first trial was complete, and the seconds that compiling held up training."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.compiling = 0.0

    def first(self, owner: Any, name: str, what: str, after: bool = False) -> None:
        """Note the time of the first call of a method."""
        method = getattr(owner, name)

        @wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            if not after:
                self.found.setdefault(what, since())
            given = method(*args, **options)
            if after:
                self.found.setdefault(what, since())
            return given

        setattr(owner, name, call)

    def timed(self, owner: Any, name: str) -> None:
        """Add up the time of a function that compiles."""
        function = getattr(owner, name)

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.compiling += time.perf_counter() - begun

        setattr(owner, name, call)


def search(arguments: Sequence[str]) -> dict[str, Any]:
    from mtlsearch.cli.main import main
    from mtlsearch.store.record import Record
    from mtlsearch.training.population import compiler
    from mtlsearch.training.population.lane import Lane
    from mtlsearch.training.solo import SoloMember

    clock = Clock()
    clock.first(Lane, "train_epoch", "start")
    clock.first(SoloMember, "train_epoch", "start")
    clock.first(Record, "tell", "first", after=True)
    clock.timed(compiler, "built")
    main(["run", *arguments], standalone_mode=False)
    return {"wall": since(), "compiling": clock.compiling, **clock.found}


# A plain loop.


def plain(study_name: str, store: str, data: str, fixed: Sequence[str]) -> dict[str, Any]:
    """Train the configs of a store's trials one after the other, as people do: data resident, torch's own layers."""
    from mtlsearch.store.config_file import trial_config
    from mtlsearch.store.database.opening import open_storage
    from mtlsearch.store.record import find_record
    from mtlsearch.study.study_file import load_study

    study = load_study(study_name)
    for pair in fixed:
        study = study.fixed(*pair.split("=", 1))
    loaded = study.load(Path(data))
    with open_storage(store, create=False) as storage:
        record = find_record(storage, None, Path())
        trials = [(trial_config(record.info, trial), trial.user_attrs["epochs"]) for trial in record.trials()]
    begun = time.perf_counter()
    for config, epochs in trials:
        train(loaded, config, epochs)
    return {"wall": time.perf_counter() - begun, "start": 0.0, "compiling": 0.0}


def train(loaded: Any, config: Any, epochs: int) -> float:
    """Train one config; the best score on validation."""
    import torch

    study = loaded.study
    model = as_people_write(study.model(config))
    optimizer = optimizer_of(config, model)
    weights = {task.name: config.task_weights[task.name] for task in study.tasks}
    best = -float("inf")
    for _ in range(epochs):
        model.train()
        orders = [torch.randperm(len(splits.train)) for splits in loaded.splits]
        steps = max(-(-len(order) // study.batch_size) for order in orders)
        for step in range(steps):
            inputs, labels = {}, {}
            for splits, order in zip(loaded.splits, orders, strict=True):
                at = step * study.batch_size % len(order)
                rows = order[at : at + study.batch_size]
                x = scaled(as_tensor(splits.train.inputs, rows))
                inputs |= dict.fromkeys(splits.tasks, x)
                labels |= {task: splits.train.labels[task][rows] for task in splits.tasks}
            outputs = model({task.name: inputs[task.name] for task in study.tasks})
            loss = sum(weights[t.name] * loss_of(t)(outputs[t.name], labels[t.name]) for t in study.tasks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        best = max(best, score(loaded, model))
    return best


def as_tensor(inputs: Any, rows: Any) -> Any:
    import torch

    return inputs[rows] if isinstance(inputs, torch.Tensor) else inputs.read(rows.numpy())


def scaled(x: Any) -> Any:
    """Pictures in bytes as numbers up to 1."""
    import torch

    return x.float() / 255 if x.dtype == torch.uint8 else x


def loss_of(task: Any) -> Callable[[Any, Any], Any]:
    """torch's own loss where a label is never missing, else the task's."""
    import torch.nn.functional as F

    if task.kind == "classification":
        return F.cross_entropy
    if task.kind == "regression":
        return lambda outputs, labels: F.mse_loss(outputs.view_as(labels), labels)
    return task.loss  # type: ignore[no-any-return]


def score(loaded: Any, model: Any) -> float:
    """The score on validation."""
    import torch

    from mtlsearch.training.evaluation import evaluate

    model.eval()
    with torch.no_grad():
        return loaded.score(evaluate(loaded, model, "validation", torch.float32))  # type: ignore[no-any-return]


def as_people_write(module: Any) -> Any:
    """The module with torch's own layers in place of ours that a population needs."""
    from torch import nn

    from mtlsearch.nn.dropout import Dropout
    from mtlsearch.nn.layers import HiddenLayer
    from mtlsearch.nn.norms import LayerNorm

    for name, child in module.named_children():
        if isinstance(child, HiddenLayer):
            units = child.linear.out_features
            norm = nn.LayerNorm(units) if isinstance(child.norm, LayerNorm) else child.norm
            dropout = nn.Dropout(float(child.dropout.rate))
            setattr(module, name, nn.Sequential(child.linear, norm, nn.ReLU(), dropout))
        elif isinstance(child, Dropout):
            setattr(module, name, nn.Dropout(float(child.rate)))
        else:
            as_people_write(child)
    return module


def optimizer_of(config: Mapping[str, Any], model: Any) -> Any:
    """The config's optimizer as torch has it."""
    import torch

    rate, decay = float(config.get("learning_rate", 1e-3)), float(config.get("weight_decay", 0.0))
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    name = config.get("optimizer", "adam")
    if name in kinds:
        return kinds[name](model.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)


def main() -> None:
    way, *arguments = sys.argv[1:]
    if way == "search":
        found = search(arguments)
    else:
        import torch

        study, store, data, threads, *fixed = arguments
        torch.set_num_threads(int(threads))
        found = plain(study, store, data, fixed)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
