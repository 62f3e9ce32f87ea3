"""What the store and an exported config say of a study."""

from typing import Any

from torch import Tensor

from mtlsearch.study.study import LoadedStudy, Study
from mtlsearch.study.study_file import source_sha256
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.task import Target, Task


def describe(loaded: LoadedStudy) -> dict[str, Any]:
    """What the store and an exported config say of a study, enough to use its models without its data."""
    study = loaded.study
    examples = {task: splits.train.inputs[0] for splits in loaded.splits for task in splits.tasks}
    return {
        "source": study.source,
        "source_sha256": source_sha256(study.source) if study.source else None,
        "score": study.score_name,
        "default": dict(study.default),
        "budget": {
            "epochs": study.epochs,
            "patience": study.patience,
            "batch_size": study.batch_size,
            "split_seed": study.split_seed,
        },
        "tasks": {
            task.name: _describe_task(
                task, loaded.targets[task.name], loaded.metrics[task.name], examples[task.name]
            )
            for task in study.tasks
        },
        "fingerprint": loaded.fingerprint(),
        **_describe_text(loaded),
        **_describe_table(study),
    }


def _describe_text(loaded: LoadedStudy) -> dict[str, Any]:
    """How a text becomes the input of every task, where there is one way for all."""
    ways = [splits.text for splits in loaded.splits]
    return {"text": dict(ways[0])} if ways[0] is not None and all(way == ways[0] for way in ways) else {}


def _describe_table(study: Study) -> dict[str, Any]:
    """How a row of a table becomes the input of every task, where there is one way for all."""
    ways = [getattr(task.data, "fitted", None) for task in study.tasks]
    return {"table": ways[0]} if ways[0] is not None and all(way == ways[0] for way in ways) else {}


def _describe_task(task: Task, target: Target, metric: Metric, example: Tensor) -> dict[str, Any]:
    return {
        "kind": task.kind,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "classes": list(target.classes),
        "mean": target.mean.tolist(),
        "std": target.std.tolist(),
        "input_shape": list(example.shape),
        "input_dtype": str(example.dtype).removeprefix("torch."),
        "output_shape": list(task.output_shape(target)),
    }
