"""The description of a study that the store and exported configs keep."""

from typing import Any

from mtlsearch.data.examples.kinds import former_kind, kind_line, name_of
from mtlsearch.data.splits import Splits
from mtlsearch.study.divisions import moved_labels
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import source_sha256
from mtlsearch.tasks.metrics import Metric
from mtlsearch.tasks.task import Description, Target, Task
from mtlsearch.wording import AUTO, EACH, few

MOST_LINES = 4  # of tasks that are left out of the score, one for each


def describe(loaded: LoadedStudy) -> dict[str, Any]:
    """The description of a study; with it, the study's models are used without its data."""
    study = loaded.study
    sources = {task: splits for splits in loaded.splits for task in splits.tasks}
    return {
        "source": study.source,
        "source_sha256": source_sha256(study.source) if study.source else None,
        "score": study.score_name,
        "scoring": study.scoring.describe(),
        "units": {task: loaded.units.get(task, 1.0) for task in study.weighted},
        "default": dict(study.default),
        "budget": {
            "epochs": study.epochs,
            "patience": study.patience,
            "batch_size": study.batch_size,
            "split_seed": study.split_seed,
            "division": study.division,
        },
        "tasks": {
            task.name: _describe_task(task, loaded.targets[task.name], loaded.metrics[task.name], sources[task.name])
            for task in study.measured
        },
        **({"weighted": study.weighted} if study.weighted != study.task_names else {}),
        "fingerprint": loaded.fingerprint(),
        **({"left_out": dict(loaded.left_out)} if loaded.left_out else {}),
        **_fitted(loaded),
    }


def input_lines(loaded: LoadedStudy) -> list[str]:
    """A line for each source that says what its inputs were taken for, and how many there are."""
    lines = []
    for splits in loaded.splits:
        trains = any(source is splits for source in loaded.batched)  # what is only measured has no part that trains
        parts = (splits.train, splits.validation, splits.test)[0 if trains else 1 :]
        given, examples = splits.inputs_given, sum(map(len, parts))
        kind = given.kind or former_kind(given.dtype)
        lines.append(kind_line(splits.tasks, (examples, *given.shape), given.dtype, kind))
        if splits.given is not None:
            size = " × ".join(f"{length:,}" for length in splits.train.inputs.shape[1:])
            lines.append(f"inputs of {few(splits.tasks)}: {size} features of the frozen module, computed once")
        lines += _wide_lines(splits.fitted.get("table"))
    return lines


def _wide_lines(table: dict[str, Any] | None) -> list[str]:
    """A line for each category of a table whose levels share inputs."""
    if table is None:
        return []
    from mtlsearch.data.table_encoding import Encoding  # pandas is slow to import

    return [
        f"the {len(wide.levels):,} levels of column {wide.column!r} share {wide.shared} inputs, by a hash of their"
        " text; the table's most_levels= gives more levels an input each"
        for wide in Encoding.from_dict(table).wide
    ]


def left_out_lines(loaded: LoadedStudy) -> list[str]:
    """Lines on the tasks that are left out of the score: one for each, or one for all where they are many."""
    found = loaded.left_out
    if len(found) <= MOST_LINES:
        return [
            f"task {task!r} is trained and left out of the score, as it cannot be scored {why}"
            for task, why in found.items()
        ]
    name, why = next(iter(found.items()))
    return [
        f"{len(found)} of {len(loaded.study.measured)} tasks are trained and left out of the score, as they cannot be"
        f" scored: {few(list(found))}; {name!r} {why}"
    ]


def weights_lines(study: Study) -> list[str]:
    """A line that says how the weights of many tasks are searched, where the study leaves that open."""
    if study.weights != AUTO or study.weights_choice == EACH:
        return []
    return [
        f"{len(study.weighted)} tasks: their weights are equal, since a weight of each gained nothing over them;"
        " --weights labels, groups or each searches them"
    ]


def fold_lines(loaded: LoadedStudy) -> list[str]:
    """Lines on how a study with folds divides its data, also validation parts that are the user's own."""
    folds, lines = loaded.study.folds, list[str]()
    if folds is None:
        return lines
    for splits in loaded.splits:
        own = "" if "validation" in splits.drawn else ", its own validation part among them"
        moved = moved_labels([splits], folds)
        rows, tasks = len(splits.train) + len(splits.validation), few(splits.tasks)
        lines.append(f"{tasks}: {folds} folds of {rows:,} examples{own}; each trial trains {folds} times{moved}")
    return lines


def _fitted(loaded: LoadedStudy) -> dict[str, Any]:
    """The fitted encoding of texts or a table's rows, where all sources share it."""
    first, *others = (splits.fitted for splits in loaded.splits)
    return dict(first) if all(other == first for other in others) else {}


def _describe_task(task: Task, target: Target, metric: Metric, splits: Splits) -> Description:
    given = splits.inputs_given
    return {
        "kind": task.kind,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "classes": list(target.classes),
        "mean": target.mean.tolist(),
        "std": target.std.tolist(),
        "input_shape": list(given.shape),
        "input_dtype": name_of(given.dtype),
        "input_kind": given.kind,
        "output_shape": list(target.output_shape),
        **task.about(),  # type: ignore[typeddict-item]
    }
