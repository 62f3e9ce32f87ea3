"""The verdict on cases whose answer is known, repeated: does it say what is true?

    python benchmarks/verdicts.py [--cases units junk helpful census] [--repeats 20] [--trials 30] [--cache FILE]

Each repeat does in this process what `mtlsearch run` does, search and confirmation, with a seed of its own. The cases
and their answers are those of `problems.py` (`--problems`, or $MTLSEARCH_CASES), on the data in `--data`:

- `units`: two classifications and a regression that is mostly noise, whose loss is multiplied by 1, 2¹³ or 10⁴. The
  score must reach 0.52 each time, with one recommendation; between 1 and 2¹³ all trials must be equal to the bit.
- `junk`: income with an auxiliary of random classes. Nothing may be announced as a win; the recommendation is to train
  income alone.
- `helpful`: income with few labels, and a proxy that helps. The verdict must say that sharing helps.
- `census`: income with *married* as the auxiliary, 20,000 rows. By a paired reference *married* changes the AUROC of
  income by -0.0004 ± 0.0009, so the verdict must find no difference; a loop by hand reached 0.943 on test.

With --quick the case is a tiny one of random numbers, without data. The cache keeps each repeat as it ends, so a
stopped benchmark goes on; give a changed verdict a cache of its own.
"""

import argparse
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import commit, conclude, parser, table
from torch import Tensor

import mtlsearch
from mtlsearch import Classification, CustomTask, Data, MultiLabel, SharedTrunk, Study, integer, real

Parts = Mapping[str, tuple[Any, Mapping[str, Any]]]
SCALES = {"1": 1.0, "2¹³": 2.0**13, "10⁴": 1e4}
LEAST_SCORE = 0.52
AUXILIARY = {"junk": "junk", "helpful": "proxy", "census": "married"}  # of income, by case


def problems(path: Path | None) -> Any:
    """The module of the cases."""
    folder = path or Path(os.environ.get("MTLSEARCH_CASES", Path(__file__).parents[2] / "shared" / "cases"))
    spec = importlib.util.spec_from_file_location("problems", folder / "problems.py")
    if spec is None or spec.loader is None or not (folder / "problems.py").is_file():
        raise SystemExit("the cases are needed: name the folder of problems.py with --problems")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny(seed: int) -> Parts:
    """Labels a, b and c of random numbers."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(240, 4)).astype("float32")
    labels = {"a": (x[:, 0] > 0).astype(int), "b": (x[:, 1] > 0).astype(int), "c": x[:, 2]}
    rows = {"train": slice(0, 120), "validation": slice(120, 180), "test": slice(180, None)}
    return {part: (x[r], {task: y[r] for task, y in labels.items()}) for part, r in rows.items()}


def data_of(parts: Parts, yes_no: Sequence[str] = ()) -> Callable[[Path], Data]:
    """A source; labels of `yes_no` tasks become a column of real numbers, NaN where they are missing."""

    def prepared(part: str) -> tuple[Any, dict[str, Any]]:
        x, labels = parts[part]
        return x, {
            task: np.where(y < 0, np.nan, y).astype("float32")[:, None] if task in yes_no else y
            for task, y in labels.items()
        }

    found = {part: prepared(part) for part in ("train", "validation", "test")}

    def source(directory: Path) -> Data:
        return Data(found["train"], validation=found["validation"], test=found["test"])

    return source


def r2(outputs: Tensor, labels: Tensor) -> Tensor:
    return 1 - (outputs.squeeze(1) - labels).square().mean() / labels.var(correction=0)


def squared_error(scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return scale * (outputs.squeeze(1) - labels).square()

    return loss


def study_of(parts: Parts, tasks: Sequence[Any], heads: Mapping[str, int], epochs: int, score: str) -> Study:
    features = parts["train"][0].shape[1]
    return Study(
        tasks=tasks,
        model=lambda config: SharedTrunk(features, heads, hidden=config["hidden"], dropout=config["dropout"]),
        space={
            "hidden": integer(16, 128, log=True),
            "dropout": real(0.0, 0.6),
            "learning_rate": real(3e-4, 3e-2, log=True),
        },
        default={"hidden": 64, "dropout": 0.2, "learning_rate": 3e-3},
        epochs=epochs,
        score=score,
    )


def units_study(parts: Parts, scale: float, epochs: int) -> Study:
    source = data_of(parts)
    classes = {task: int(parts["train"][1][task].max()) + 1 for task in ("a", "b")}
    custom = CustomTask("c", source, 1, squared_error(scale), r2, "r2")
    tasks = [Classification("a", source), Classification("b", source), custom]
    return study_of(parts, tasks, {**classes, "c": 1}, epochs, "mean")


def income_study(parts: Parts, auxiliary: str, epochs: int) -> Study:
    binary = ["income", *([] if auxiliary == "junk" else [auxiliary])]
    source = data_of(parts, binary)
    other = Classification("junk", source) if auxiliary == "junk" else MultiLabel(auxiliary, source)
    heads = {"income": 1, auxiliary: 8 if auxiliary == "junk" else 1}
    return study_of(parts, [MultiLabel("income", source), other], heads, epochs, "income")


def answer(study: Study, name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The verdict of a whole run, and its trials."""
    with tempfile.TemporaryDirectory(prefix="mtlsearch-verdicts-") as folder:
        found = mtlsearch.search(
            study,
            trials=options.trials,
            name=name,
            storage=f"sqlite:///{folder}/store.db",
            seed=seed,
            device="cpu",
            threads=1,
            population=16,  # without it each first run measures what is faster, and two may choose differently
            seeds=options.fresh,
            quiet=True,
        )
        verdict = found.verdict or {}
        trials = found.frame.filter(regex="^(params|score|state|validation)").to_json()
    return {
        "score": verdict["score"]["mean"],
        "sentences": [verdict["sentence"], *verdict["sentences"]],
        "action": verdict["recommendation"]["action"],
        "recommendation": verdict["recommendation"],
        "effects": verdict["effects"],
        "single": {task: metric["mean"] for task, metric in verdict["single_metrics"].items()},
        "trials": trials,
        "commit": commit(),
    }


class Cache:
    """The answers so far, a JSON line each."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.answers: dict[str, dict[str, Any]] = dict(json.loads(line) for line in lines)

    def get(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in self.answers:
            self.answers[key] = make()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.answers[key]]) + "\n")
        return self.answers[key]


def announces_a_win(found: Mapping[str, Any]) -> bool:
    return any(effect["kind"] == "better" for effect in found["effects"])


def is_sharing(effect: Mapping[str, Any]) -> bool:
    return bool(effect["about"] == "sharing")


def sharing_helps(found: Mapping[str, Any]) -> bool:
    return any(is_sharing(effect) and effect["kind"] == "better" for effect in found["effects"])


def units_rows(options: argparse.Namespace, cache: Cache) -> list[list[object]]:
    parts_of = tiny if options.quick else problems(options.problems).units
    rows: list[list[object]] = []
    for repeat in range(options.repeats):
        parts = parts_of(repeat)
        found = {}
        for name, scale in SCALES.items():
            make = partial(answer, units_study(parts, scale, options.epochs), "units", repeat, options)
            found[name] = cache.get(f"units {repeat} {name} {options.trials} {options.epochs}", make)
        scores = ", ".join(f"{each['score']:.3f}" for each in found.values())
        reached = all(each["score"] >= LEAST_SCORE for each in found.values())
        one = len({json.dumps(each["recommendation"]) for each in found.values()}) == 1
        same = found["1"]["trials"] == found["2¹³"]["trials"]
        rows.append([f"units, repeat {repeat}: score at 1, 2¹³, 10⁴", scores])
        rows.append([f"units, repeat {repeat}: score ≥ {LEAST_SCORE}, one recommendation, 1 and 2¹³ equal to the bit",
                     f"{reached}, {one}, {same}"])  # fmt: skip
    return rows


def income_rows(case: str, options: argparse.Namespace, cache: Cache) -> list[list[object]]:
    auxiliary = AUXILIARY[case]
    module = problems(options.problems)

    def made(repeat: int) -> dict[str, Any]:
        parts = getattr(module, case)(options.data, seed=repeat)
        return answer(income_study(parts, auxiliary, options.epochs), case, repeat, options)

    key = f"{case} {{}} {options.trials} {options.epochs}"
    found = [cache.get(key.format(repeat), partial(made, repeat)) for repeat in range(options.repeats)]
    n = len(found)
    if case == "junk":
        wins, alone = sum(map(announces_a_win, found)), sum(each["action"] == "alone" for each in found)
        rows: list[list[object]] = [
            ["junk: announced a win (must be none)", f"{wins} of {n}"],
            ["junk: recommends income alone", f"{alone} of {n}"],
        ]
    elif case == "census":
        right = sum(effect["kind"] == "same" for each in found for effect in each["effects"] if is_sharing(effect))
        scores = ", ".join(f"{each['single']['income']:.4f}" for each in found)
        rows = [
            ["census: finds no difference by sharing", f"{right} of {n}"],
            ["census: AUROC of income alone on test (by hand 0.943)", scores],
        ]
    else:
        rows = [["helpful: says that sharing helps (19 of 20)", f"{sum(map(sharing_helps, found))} of {n}"]]
    return rows + [[f"{case}, repeat 0", sentence] for sentence in found[0]["sentences"]]


def main() -> None:
    made = parser(__doc__)
    cases = ["units", *AUXILIARY]
    made.add_argument("--cases", nargs="+", default=cases, choices=cases)
    made.add_argument("--repeats", type=int, default=20)
    made.add_argument("--trials", type=int, default=30)
    made.add_argument("--epochs", type=int, default=10)
    made.add_argument("--fresh", type=int, default=5, help="seeds of a confirmation")
    made.add_argument("--problems", type=Path, help="the folder of problems.py; default $MTLSEARCH_CASES")
    made.add_argument("--data", type=Path, default=os.environ.get("MTLSEARCH_DATA"), help="the folder of the census")
    made.add_argument("--cache", type=Path)
    options = made.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.cases, options.repeats, options.trials, options.epochs, options.fresh = ["units"], 1, 4, 2, 2
    cache, rows = Cache(options.cache), []
    for case in options.cases:
        rows += units_rows(options, cache) if case == "units" else income_rows(case, options, cache)
    note = (
        f"- {options.repeats} repeats of {options.trials} trials of {options.epochs} epochs, confirmed with"
        f" {options.fresh} fresh seeds; a data seed and a search seed for each repeat."
    )
    conclude(options, "Verdicts on cases with known answers", f"{table(['', 'found'], rows)}\n\n{note}")


if __name__ == "__main__":
    main()
