"""Ways to ask, compared in real searches: does what wins on surrogates (`asks_compared.py`) win in training?

    python benchmarks/asks_trained.py [--problems digits enb jura] [--tables DIR] [--seeds 40] [--kept FILE]

Each sampler searches a problem of `curves.py` with the same seed, the same number of trials, the default pruner, and
sixteen trials in flight. The best complete trial's config is then trained with fresh seeds; what counts is the mean of
their best scores on validation, so that no lucky trial wins. Differences to TPE are paired by seed, with Student's
95 % intervals. A search ends after --trials trials, not after as many trial-epochs: those are in the table. --kept FILE
keeps every search, so that a benchmark that was ended goes on.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from asks_compared import difference
from common import conclude, parser, rounded, table
from curves import EPOCHS, study_of, trained_curve
from optuna.trial import TrialState

import mtlsearch
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.trials import score_of
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.study_file import load_study
from mtlsearch.training.trainer import Training

TPE, IN_FLIGHT, FRESH = "tpe", 16, range(1001, 1006)


def searched(study: str, loaded: LoadedStudy, sampler: str, seed: int, trials: int) -> dict[str, float]:
    """One search: the observed score of its best trial, that of fresh seeds, its trial-epochs and seconds."""
    with tempfile.TemporaryDirectory(prefix="mtlsearch-asks-") as name:
        url, begun = f"sqlite:///{name}/store.db", time.perf_counter()
        mtlsearch.search(
            study,
            name="asked",
            trials=trials,
            seed=seed,
            epochs=loaded.study.epochs,
            sampler=sampler,
            confirm=False,
            quiet=True,
            storage=url,
            threads=1,
            population=IN_FLIGHT,
        )
        seconds = time.perf_counter() - begun
        with open_storage(url, create=False) as storage:
            record = find_record(storage, "asked", Path(name))
            best = max(record.trials(TrialState.COMPLETE), key=score_of)
            spent = sum(len(trial.intermediate_values) for trial in record.trials())
            config = loaded.study.search_space.config(best.params, loaded.study.default)
            observed = score_of(best)
    fresh = [max(trained_curve(Training(loaded, each), config)) for each in FRESH]
    return {"fresh": fmean(fresh), "observed": observed, "epochs": spent, "seconds": seconds}


def told(found: Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]]) -> str:
    rows = []
    for problem, ways in found.items():
        for way, seeds in ways.items():
            paired = [100 * (each["fresh"] - ways[TPE][seed]["fresh"]) for seed, each in seeds.items()]
            mean = {of: fmean(each[of] for each in seeds.values()) for of in ("fresh", "observed", "epochs", "seconds")}
            scores = [f"{100 * mean[of]:.2f}" for of in ("fresh", "observed")]
            gain = "–" if way == TPE else difference(paired)
            rows.append(
                [f"{problem}: {way}", len(seeds), *scores, gain, round(mean["epochs"]), rounded(mean["seconds"])]
            )
    head = ["", "seeds", "fresh seeds, %", "observed, %", "points over TPE", "trial-epochs", "seconds"]
    return table(head, rows)


def measured(options: argparse.Namespace) -> str:
    kept: dict[str, Any] = json.loads(options.kept.read_text()) if options.kept and options.kept.exists() else {}
    found: dict[str, dict[str, dict[int, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="mtlsearch-asks-") as name:
        for problem in options.problems:
            folder = Path(name) / problem
            folder.mkdir()
            study = study_of(problem, options.tables, folder)
            loaded = load_data(replace(load_study(study), epochs=EPOCHS[problem]), Path(study).parent)
            found[problem] = {sampler: {} for sampler in options.samplers}
            for seed in range(options.seeds):
                for sampler in options.samplers:
                    key = f"{problem}/{options.trials}/{sampler}/{seed}"
                    if key not in kept:
                        kept[key] = searched(study, loaded, sampler, seed, options.trials)
                        print(key, kept[key], flush=True)
                        if options.kept:
                            options.kept.write_text(json.dumps(kept))
                    found[problem][sampler][seed] = kept[key]
    return told(found)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--problems", nargs="*", default=["digits", "enb", "jura"], choices=list(EPOCHS))
    made.add_argument("--tables", type=Path, help="the folder of NAME.arff.gz")
    made.add_argument("--samplers", nargs="*", default=[TPE, "gp"], help=f"the first must be {TPE}")
    made.add_argument("--seeds", type=int, default=40)
    made.add_argument("--trials", type=int, default=60)
    made.add_argument("--kept", type=Path, help="the file that keeps what was searched")
    options = made.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.problems, options.seeds, options.trials = ["made up"], 2, 6
    conclude(options, f"Ways to ask, real searches of {options.trials} trials, sixteen in flight", measured(options))


if __name__ == "__main__":
    main()
