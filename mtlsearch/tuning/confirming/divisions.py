"""New divisions of the data for a confirmation: how many there are, what is said of them, and the data in each."""

from collections.abc import Sequence

from mtlsearch.errors import UsageError
from mtlsearch.evidence.trainings import Repeat
from mtlsearch.study.divisions import labelled_examples, moved_labels, new_rows
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.tuning.options.groups import AgainOptions
from mtlsearch.tuning.options.training import GroupOptions
from mtlsearch.wording import few

SMALL = 2000  # labelled examples of a task: of fewer, one division tells little of new data


def new_divisions(loaded: LoadedStudy, options: AgainOptions | GroupOptions) -> int:
    """The number of new divisions of the data: as asked for, else as many as seeds where the data are small.

    By itself none is made of a test part that is the user's own, nor of inputs on disk.
    """
    if loaded.study.terms or loaded.study.evaluations:
        if options.resplit:
            raise UsageError(
                "--resplit deals labelled examples anew, which points and evaluations are not: leave it out"
            )
        return 0
    if options.resplit is not None:
        return options.resplit
    ours = all("test" in splits.drawn for splits in loaded.splits)
    return options.seeds if ours and not loaded.on_disk and fewest_labelled(loaded)[1] < SMALL else 0


def fewest_labelled(loaded: LoadedStudy) -> tuple[str, int]:
    """The scored task with the fewest labelled examples in all parts, and their number."""
    counts = labelled_examples(loaded.splits)
    task = min((t for t in loaded.study.scored_tasks if t in loaded.scored), key=lambda t: counts[t])
    return task, counts[task]


def division_lines(loaded: LoadedStudy, divisions: int) -> list[str]:
    """Lines on how the data are divided anew, and how to keep the one division."""
    if not divisions:
        return []
    task, count = fewest_labelled(loaded)
    own = [task for each in loaded.splits if "test" not in each.drawn for task in each.tasks]
    pooled = f"; the test part of {few(own)} is the study's own and is pooled too" if own else ""
    pooled += moved_labels(loaded.splits)
    return [
        f"{count:,} examples have a label of {task}: train, validation and test are dealt anew {divisions}"
        f" times, each with a fresh seed, so that the verdict holds on new data of this kind{pooled}; --resplit 0 keeps"
        " the one division"
    ]


class Divisions:
    """A study's data in its own division and in new ones, each dealt once; `seeds` are those of the new ones.

    Raises DataError where a task cannot be scored in a new one.
    """

    def __init__(self, loaded: LoadedStudy, seeds: Sequence[int]) -> None:
        self.loaded = loaded
        self.rows = {seed: new_rows(loaded.study.tasks, loaded.splits, seed) for seed in seeds}
        for rows in self.rows.values():
            loaded.with_rows(rows)

    def of(self, repeat: Repeat) -> LoadedStudy:
        """The study that a training trains, of one task where it trains that alone."""
        loaded = self.loaded if repeat.division is None else self.loaded.with_rows(self.rows[repeat.division])
        return loaded if repeat.only is None else loaded.only(*repeat.only)
