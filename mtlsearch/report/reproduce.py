"""How to reproduce a study's answer: the commands, and the conditions of the trainings, as the store records them."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtlsearch.files import DEFAULT_STORAGE
from mtlsearch.report.reading import Report
from mtlsearch.study.score import NAMED, Score
from mtlsearch.study.space import fixed_value
from mtlsearch.wording import MANY_TASKS

AGAIN = "sqlite:///again.db"
DIGITS = 16  # of a digest: enough to tell two apart


def commands(report: Report) -> Iterator[tuple[str, str]]:
    """Each command that leads to this answer again, after a line that says what it does."""
    study, verdict, comparison = named(report), report.verdict, report.comparison
    if report.trials:
        yield "Search again, in another store:", _search(report)
    if report.concluded is not None and verdict is not None:
        confirm = command("confirm", *study, *_not_alone(report), **_again(report.concluded), storage=AGAIN)
        yield "Confirm its best configs:", confirm
    if comparison is not None and comparison["methods"]:
        methods = ",".join(method["method"] for method in comparison["methods"])
        many = {"trials": comparison["trials"], "seeds": len(comparison["seeds"])}
        yield "Compare the methods:", command("compare", *study, methods=methods, **many, storage=AGAIN)
    if report.grouping is not None:
        yield "Find which tasks belong together:", command("group", *study, **_grouped(report.grouping), storage=AGAIN)
    if report.answer is not None:
        source, stored = str(report.info["source"] or ""), str(report.answer["provenance"]["storage"])
        files = {"checkpoint": "best.safetensors", "storage": None if stored == DEFAULT_STORAGE else stored}
        export = command("export", report.name, "-o", "best.json", **files)
        verify = command("verify", "best.json", study=source if source.endswith(".py") else None)
        yield "Export the answer from this store, and verify it by a new training:", f"{export}\n{verify}"


def _not_alone(report: Report) -> list[str]:
    """The option of a confirmation that trained no task alone."""
    alone = report.verdict is not None and report.verdict["single_metrics"]
    return ["--no-single"] if len(report.tasks) > 1 and not alone else []


def _again(concluded: Mapping[str, Any]) -> dict[str, object]:
    """The options of a confirmation: seeds or new divisions, and the number of configs."""
    divisions = concluded.get("divisions")
    # Earlier versions knew one division only, and recorded none.
    divided = None if divisions is None else len(divisions)
    seeds = None if divided else concluded["verdict"]["seeds"]
    chosen = {"trial": concluded["asked"]} if "asked" in concluded else {"top": len(concluded["configs"])}
    return {"seeds": seeds, "resplit": divided, **chosen}


def _grouped(grouping: Mapping[str, Any]) -> dict[str, object]:
    """The options of `group`: seeds or new divisions, and the groupings beside all together and all alone."""
    divisions = grouping.get("divisions") or None
    seeds = None if divisions else len(grouping["seeds"]["groupings"])
    return {"seeds": seeds, "resplit": divisions or 0, "top": max(1, len(grouping["groupings"]) - 2)}


def _search(report: Report) -> str:
    """The recorded search; the study's own defaults are named too, since they may change."""
    info = report.info
    single = {name: fixed_value(d) for name, d in report.space.items() if d.single()}
    fixed = [word for name, value in single.items() for word in ("--set", f"{name}={value}")]
    due = info["fingerprint"].get("at least", {})
    fixed += [word for task, least in due.items() for word in ("--at-least", f"{task}={least}")]
    options = {
        "trials": len(report.trials),
        "seed": info["seed"],
        "epochs": info["budget"]["epochs"],
        "folds": info["fingerprint"].get("folds"),
        # With it a run would start no workers, and ask at other moments.
        "population": info.get("population") if (info.get("plan") or {}).get("workers", 1) == 1 else None,
        "score": _score(info),
    }
    if report.searches is not None and report.concluded is not None:
        again = {name: value for name, value in _again(report.concluded).items() if name != "trial"}
        options |= {"searches": len(report.searches["found"]), **again}
        fixed += _not_alone(report)
    return command("run", *named(report), *fixed, **options, storage=AGAIN)


def _score(info: Mapping[str, Any]) -> str | None:
    """The score as `--score` takes it; None where only the study's file can say it."""
    about = info.get("scoring") or {}
    weights = about.get("weights")
    if weights and about.get("margin") is None and Score(weights).name == info["score"]:
        return ",".join(f"{task}={weight}" for task, weight in weights.items())
    return info["score"] if info["score"] in NAMED else None


def named(report: Report) -> list[str]:
    """The arguments by which `run` and `confirm` find the study: its source, and its name where that differs."""
    source = str(report.info["source"] or report.name)
    return [source] if Path(source).stem == report.name else [source, "--name", report.name]


def command(*words: str, **options: object) -> str:
    """A command line of mtlsearch for a shell; an option of None is left out."""
    flags = ([f"--{name}", str(value)] for name, value in options.items() if value is not None)
    return shlex.join(["mtlsearch", *words, *(word for flag in flags for word in flag)])


def facts(report: Report) -> dict[str, str]:
    """The seeds, the budget, the data and the versions of the search and its confirmation."""
    info, budget = report.info, report.info["budget"]
    patience = f"patience {budget['patience']}" if budget["patience"] else "no early stopping"
    sizes = info["fingerprint"].get("split", {}).get("sizes", [])
    found = {"seed": str(info["seed"])}
    if report.concluded is not None:
        if divisions := report.concluded.get("divisions"):
            found["new divisions"] = ", ".join(map(str, divisions))
        found["fresh seeds"] = ", ".join(map(str, report.concluded["seeds"]))
        found["test was scored"] = f"{report.concluded['test_scorings']} times"
    found |= {
        "budget": f"{budget['epochs']} epochs, batch size {budget['batch_size']}, {patience}",
        "train, validation, test": "; ".join(", ".join(f"{size:,}" for size in split) for split in sizes),
        **({"folds": str(folds)} if (folds := info["fingerprint"].get("folds")) else {}),
        "split seed": str(budget["split_seed"]),
        "trained on": _trained_on(report),
    }
    if report.answer is not None:
        provenance = report.answer["provenance"]
        versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
        found |= {
            "trained at": provenance["time"],
            "store": str(provenance["storage"]),
            "versions now": versions,
        }
    if info.get("source_sha256"):
        found["study file (SHA-256)"] = f"{info['source']} {info['source_sha256'][:DIGITS]}…"
    data = list(info["fingerprint"].get("data", {}).items())[:MANY_TASKS]
    found["data (SHA-256)"] = ", ".join(f"{task} {str(digest)[:DIGITS]}…" for task, digest in data)
    return found


def _trained_on(report: Report) -> str:
    conditions: dict[str, Any] = {}
    for trial in report.trials:
        conditions |= trial.user_attrs.get("trained_on", {})
    found = (f"{name.replace('_', ' ')} {value}" for name, value in conditions.items() if value is not None)
    return ", ".join(found) or "unknown"
