"""The README's first example, as it stands there: its answer and what it cost.

    python benchmarks/readme.py

The study file and the command are read from README.md, and the command runs in an empty folder with one thread. The
processor time is that of the whole command: imports, search, searches of tasks alone, confirmation.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import conclude, parser, table

README = Path(__file__).parent.parent / "README.md"
ANSWER = re.compile(r"^(Keep|Train|Search again)", re.MULTILINE)  # what a recommendation begins with


def example() -> tuple[str, str, list[str]]:
    """The name and text of the README's first study file, and the words of the command that runs it."""
    name, text, words = re.findall(
        r"^```python (\S+\.py)\n(.*?)^```\n.*?^\$ mtlsearch (run \1[^\n]*)$",
        README.read_text(),
        re.DOTALL | re.MULTILINE,
    )[0]
    return name, text, shlex.split(words)


def main() -> None:
    options = parser(__doc__).parse_args()
    name, text, words = example()
    words += ["--threads", "1", "--population", "1"] if options.quick else ["--threads", "1"]
    words += ["--trials", "2", "--epochs", "1", "--seeds", "2", "--top", "1"] if options.quick else []
    with tempfile.TemporaryDirectory(prefix="mtlsearch-readme-") as folder:
        Path(folder, name).write_text(text)
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-m", "mtlsearch", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    answer = done.stdout[ANSWER.search(done.stdout).start() :]  # type: ignore[union-attr]
    cost = table(["", "s"], [["processor time", f"{spent:.0f}"]])
    body = f"{cost}\n\n`mtlsearch {shlex.join(words)}`:\n\n```text\n{answer.rstrip()}\n```"
    conclude(options, "The README's first example", body, torch.device("cpu"))


if __name__ == "__main__":
    main()
