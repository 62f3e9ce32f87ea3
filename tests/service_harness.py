"""Kills a server and its searches at random and counts what was lost: `python tests/service_harness.py`.

    python tests/service_harness.py [--kills 20] [--trials 600] [--seed 0]

Three searches are queued on a server that runs two at once. Until the kills are done and the searches have ended, the
server or the process of a search is killed (SIGKILL) at a random moment; a killed server is started again. Seen at
every look: no search has two processes, and no trial that has ended changes. At the end each search has exactly its
trials. The last line counts: kills, searches, trials, lost, doubled. The status is 1 if anything was lost or doubled.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from commands import counted, stored
from serving import TINY, Served

from mtlsearch.errors import MtlsearchError

NAMES = ("one", "two", "three")
LONGEST_S = 1800.0


@dataclass
class Seen:
    """What was seen of the searches so far."""

    trials: dict[tuple[str, int], tuple[str, float | None]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def look(self, folder: Path) -> None:
        """Hold the store against what it held before."""
        for name in NAMES:
            with suppress(KeyError):  # its study is not there yet
                now = {(name, t.number): (t.state.name, t.value) for t in counted(stored(folder / "store.db", name))}
                before = {key: value for key, value in self.trials.items() if key[0] == name}
                self.lost += [
                    f"trial {key}: {value} is {now.get(key)}" for key, value in before.items() if now.get(key) != value
                ]
                self.trials |= now


def processes(folder: Path) -> dict[str, list[int]]:
    """The processes that run each search of a server in `folder`, by its name."""
    found: dict[str, list[int]] = {name: [] for name in NAMES}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            is_ours = "run" in words and any(word.startswith(str(folder)) for word in words)
            for name in NAMES:
                if is_ours and "mtlsearch" in words and f"--name={name}" in words:
                    found[name].append(int(path.parent.name))
    return found


def play(  # noqa: PLR0912, PLR0915
    folder: Path, kills: int, trials: int, seed: int, tell: bool = False
) -> tuple[Seen, Counter[str]]:
    """Queue three searches, kill, and wait for their ends; what was seen, and the kills by victim."""
    chance, seen, killed = random.Random(seed), Seen(), Counter[str]()
    server = Served(folder, ("--at-once", "2")).start()
    submitted = {name: server.client.submit(**TINY, trials=trials, name=name, seed=seed, key=name) for name in NAMES}
    deadline = time.monotonic() + LONGEST_S
    try:
        while True:
            pause = time.monotonic() + chance.uniform(0.2, 5.0)
            while time.monotonic() < pause:
                time.sleep(0.1)
                seen.doubled += [f"{name}: {pids}" for name, pids in processes(folder).items() if len(pids) > 1]
            seen.look(folder)
            states = {each["name"]: each["state"] for each in server.client.searches()}
            ended = all(state in ("done", "failed", "stopped") for state in states.values())
            if tell:
                print(dict(killed), states, len(seen.trials), flush=True)
            if ended or time.monotonic() > deadline:
                break
            if sum(killed.values()) >= kills:
                continue
            running = [pid for pids in processes(folder).values() for pid in pids]
            if running and chance.random() < 0.6:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(running), signal.SIGKILL)
                    killed["search"] += 1
            else:
                server.kill()
                killed["server"] += 1
                if chance.random() < 0.5:  # and a search, while nobody watches
                    for pid in running[:1]:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                            killed["search"] += 1
                server.start()
        seen.look(folder)
        found = server.client.searches()
        if sorted(each["name"] for each in found) != sorted(NAMES):
            seen.lost.append(f"the queue holds {[each['name'] for each in found]}")
        for each in found:
            has = len(counted(stored(folder / "store.db", each["name"])))
            told = f"{each['name']} is {each['state']} ({each['reason']}) with {has} of {trials} trials"
            if each["state"] != "done" or has < trials:
                seen.lost.append(told)
            if has > trials:
                seen.doubled.append(told)
            again = server.client.submit(**TINY, trials=trials, name=each["name"], seed=seed, key=each["name"])
            if again.id != submitted[each["name"]].id:
                seen.doubled.append(f"{each['name']} was submitted again with its key")
    except MtlsearchError as error:
        seen.lost.append(str(error))
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
    return seen, killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mtlsearch-service-") as folder:
        seen, killed = play(Path(folder), options.kills, options.trials, options.seed, tell=True)
    for line in (*seen.lost, *seen.doubled):
        print(line)
    by = ", ".join(f"{number} of a {victim}" for victim, number in sorted(killed.items()))
    print(
        f"kills: {killed.total()} ({by}), searches: {len(NAMES)}, trials: {len(seen.trials)},"
        f" lost: {len(seen.lost)}, doubled: {len(seen.doubled)}"
    )
    sys.exit(bool(seen.lost or seen.doubled))


if __name__ == "__main__":
    main()
