"""Losses by faults at every step and by simulated runs at once: the counts of two programs in `tests/`.

    python benchmarks/faults.py [--every 1] [--schedules 10000] [--budget SECONDS] [--quick] [--dry-run]

The programs are `fault_harness.py` and `simulation.py`. Every k of every command takes hours, and 10,000 schedules
half an hour; --every 20 takes every twentieth k, and after its budget each program comes to its count.
"""

import subprocess
import sys
from pathlib import Path

from common import conclude, parser

TESTS = Path(__file__).parent.parent / "tests"


def counts(script: str, *arguments: str) -> tuple[list[str], int]:
    """The lines with counts that a script of the tests prints, and its status."""
    command = [sys.executable, str(TESTS / script), *arguments]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        for line in harness.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    if not lines or ": " not in lines[-1]:
        sys.exit(f"{script} did not come to its count: nothing is written down")
    return lines, harness.returncode


def main() -> None:
    """Count faults and schedules, and write the counts down."""
    made = parser(__doc__)
    made.add_argument("--every", type=int, default=1, help="every how many-th operation")
    made.add_argument("--schedules", type=int, default=10_000)
    made.add_argument("--budget", type=float, default=float("inf"), help="seconds for each of the two programs")
    options = made.parse_args()
    budget = ["--budget", str(options.budget)]
    every = ["--every", str(100 if options.quick else options.every), *budget]
    every += ["--commands", "export", "--faults", "kill"] if options.quick else []
    faults, failed = counts("fault_harness.py", *every)
    schedules, wrong = counts("simulation.py", "--schedules", str(2 if options.quick else options.schedules), *budget)
    body = "\n".join(f"- {line}" for line in [*faults[:-1], *schedules[:-1]])
    conclude(options, "Faults at every step", f"{body}\n\n**{faults[-1]}**\n\n**{schedules[-1]}**\n")
    sys.exit(failed or wrong)


if __name__ == "__main__":
    main()
