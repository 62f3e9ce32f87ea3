"""How a study's answer is come to again: the commands, and on what it was trained, as far as the store says."""

import shlex
from pathlib import Path
from typing import Any

from mtlsearch.files import DEFAULT_STORAGE
from mtlsearch.report.reading import Report
from mtlsearch.study.space import fixed_value
from mtlsearch.wording import MANY_TASKS

AGAIN = ("--storage", "sqlite:///again.db")
DIGITS = 16  # of a digest, enough to tell two apart


def commands(report: Report) -> list[tuple[str, str]]:
    """What is typed to come to this answer again, each with what it does; as far as the store has recorded it."""
    found = [("Search again, in a store of its own:", _search(report))]
    if report.concluded is not None and report.verdict is not None:
        options = ["--seeds", str(report.verdict["seeds"]), "--top", str(len(report.concluded["configs"]))]
        if len(report.tasks) > 1 and not report.verdict["single_metrics"]:
            options.append("--no-single")
        found.append(("Confirm its best configs:", command("confirm", *named(report), *options, *AGAIN)))
    if report.comparison is not None and report.comparison["methods"]:
        methods = ",".join(method["method"] for method in report.comparison["methods"])
        amount = [
            "--trials",
            str(report.comparison["trials"]),
            "--seeds",
            str(len(report.comparison["seeds"])),
        ]
        again = command("compare", *named(report), "--methods", methods, *amount, *AGAIN)
        found.append(("Compare the methods:", again))
    if report.answer is not None:
        source, stored = str(report.info["source"] or ""), str(report.answer["provenance"]["storage"])
        there = [] if stored == DEFAULT_STORAGE else ["--storage", stored]
        export = command("export", report.name, "-o", "best.json", "--checkpoint", "best.safetensors", *there)
        verify = command("verify", "best.json", *(["--study", source] if source.endswith(".py") else []))
        found.append(
            ("Take the answer out of this store, and hold it against a new training:", f"{export}\n{verify}")
        )
    return found


def _search(report: Report) -> str:
    """The search that was recorded; what is the study's own default is named too, since a default may change."""
    info, trials = report.info, len(report.trials)
    options = [
        "--trials",
        str(trials),
        "--seed",
        str(info["seed"]),
        "--epochs",
        str(info["budget"]["epochs"]),
    ]
    if "population" in info:
        options += ["--population", str(info["population"])]
    if info["score"] in ("mean", "min"):
        options += ["--score", info["score"]]
    for name, distribution in report.space.items():
        if distribution.single():
            options += ["--set", f"{name}={fixed_value(distribution)}"]
    return command("run", *named(report), *options, *AGAIN)


def named(report: Report) -> list[str]:
    """What `run` and `confirm` take to find the study: its source, and its name where that does not follow from it."""
    source = str(report.info["source"] or report.name)
    return [source] if Path(source).stem == report.name else [source, "--name", report.name]


def command(*words: str) -> str:
    """A command line of mtlsearch for a shell."""
    return shlex.join(["mtlsearch", *words])


def facts(report: Report) -> dict[str, str]:
    """With what it was searched, confirmed and trained."""
    info, budget = report.info, report.info["budget"]
    patience = f"patience {budget['patience']}" if budget["patience"] else "no early stopping"
    sizes = info["fingerprint"].get("split", {}).get("sizes", [])
    told = {"seed": str(info["seed"])}
    if report.concluded is not None:
        told["fresh seeds"] = ", ".join(map(str, report.concluded["seeds"]))
        told["test was scored"] = f"{report.concluded['test_scorings']} times"
    told |= {
        "budget": f"{budget['epochs']} epochs, batch size {budget['batch_size']}, {patience}",
        "train, validation, test": "; ".join(", ".join(f"{size:,}" for size in split) for split in sizes),
        "split seed": str(budget["split_seed"]),
        "trained on": _trained_on(report),
    }
    if report.answer is not None:
        provenance = report.answer["provenance"]
        told |= {
            "trained at": provenance["time"],
            "store": str(provenance["storage"]),
            "versions now": ", ".join(
                f"{name} {version}" for name, version in provenance["versions"].items()
            ),
        }
    if info.get("source_sha256"):
        told["study file (SHA-256)"] = f"{info['source']} {info['source_sha256'][:DIGITS]}…"
    data = list(info["fingerprint"].get("data", {}).items())[:MANY_TASKS]
    told["data (SHA-256)"] = ", ".join(f"{task} {str(digest)[:DIGITS]}…" for task, digest in data)
    return told


def _trained_on(report: Report) -> str:
    conditions: dict[str, Any] = {}
    for trial in report.trials:
        conditions |= trial.user_attrs.get("trained_on", {})
    told = (f"{name.replace('_', ' ')} {value}" for name, value in conditions.items() if value is not None)
    return ", ".join(told) or "unknown"
