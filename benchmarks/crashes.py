"""Trials that are lost when searches are killed and disturbed: the count of `tests/crash_harness.py`.

    python benchmarks/crashes.py [--kills 50] [--dry-run]

About six minutes on two cores. Faults that this machine cannot produce are reported as skipped.
"""

import subprocess
import sys
from pathlib import Path

from common import conclude, parser

HARNESS = Path(__file__).parent.parent / "tests" / "crash_harness.py"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=50)
    options = made.parse_args()
    command = [sys.executable, str(HARNESS), "--kills", str(1 if options.quick else options.kills)]
    command += ["--trials", "4", "--no-faults"] if options.quick else []
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        for line in harness.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    if not lines or not lines[-1].startswith("kills: "):
        sys.exit("the harness did not come to its count: nothing is written down")
    faults = [line for line in lines if "fault " in line]
    body = "\n".join(f"- {line}" for line in faults) + f"\n\n**{lines[-1]}**\n"
    conclude(options, "Searches killed and disturbed", body)
    sys.exit(harness.returncode)


if __name__ == "__main__":
    main()
