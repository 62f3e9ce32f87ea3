"""Shared by the benchmarks: options, data, timing, tables, and the section that a result gets in RESULTS.md.

Cases that are compared run in one process, one after the other in every round, so a busy minute of the machine
falls on all of them. The number reported is the median over the rounds.
"""

import argparse
import os
import platform
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

from mtlsearch import Classification, Study, TorchvisionImages
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import bf16_slowdown

T = TypeVar("T")
RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = "# Measured\n\nEvery section is the output of one script in this folder, with the machine and the commit.\n"
PICTURE_SETS = ("MNIST", "FashionMNIST")
HELD_OUT, TINY = 10_000, 384  # validation examples of each task: of the study mnist-fashion, and with --quick
TINY_EPOCHS = 2


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has; its description is the script's docstring."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="seconds instead of minutes: the numbers mean nothing")
    made.add_argument("--dry-run", action="store_true", help="leave RESULTS.md as it is")
    return made


def add_device_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    made.add_argument("--threads", type=int, default=cores(), help="CPU threads, default the cores")


def add_data_option(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MTLSEARCH_DATA"),
        help="the folder that holds MNIST and FashionMNIST; default $MTLSEARCH_DATA",
    )


def data_folder(options: argparse.Namespace, scratch: Path) -> Path:
    """The folder of the real pictures; with --quick, of tiny random ones that are made in `scratch`."""
    if options.quick:
        return tiny_pictures(scratch)
    if options.data is None or not all((options.data / name / "raw").is_dir() for name in PICTURE_SETS):
        raise SystemExit("the real data are needed: name the folder of MNIST and FashionMNIST with --data")
    return Path(options.data)


def mnist_fashion(quick: bool) -> Study:
    """The shipped study; with `quick` it holds out as few examples as the tiny pictures allow."""
    study = load_study("mnist-fashion")
    if not quick:
        return study
    names = zip(study.task_names, PICTURE_SETS, strict=True)
    tasks = [Classification(task, TorchvisionImages(name, validation=TINY)) for task, name in names]
    return replace(study, tasks=tasks, epochs=TINY_EPOCHS)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def tiny_pictures(folder: Path, train: int = TINY + 1600, test: int = 64) -> Path:
    """Random pictures in MNIST's own files: 25 steps of 64 where TINY are held out."""
    generator = torch.Generator().manual_seed(0)
    for name in PICTURE_SETS:
        raw = folder / name / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for part, count in (("train", train), ("t10k", test)):
            labels = torch.arange(count) % 10
            pictures = torch.randint(0, 256, (count, 28, 28), generator=generator)
            _write_idx(raw / f"{part}-images-idx3-ubyte", pictures)
            _write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    return folder


def _write_idx(path: Path, numbers: Tensor) -> None:
    """Unsigned bytes in the IDX format of MNIST: magic number, sizes, bytes."""
    head = struct.pack(f">BBBB{numbers.ndim}I", 0, 0, 8, numbers.ndim, *numbers.shape)
    path.write_bytes(head + numbers.to(torch.uint8).numpy().tobytes())


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """The wall time of `work`, with all that it started on the device."""
    synchronize(device)
    begun = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begun


def interleaved(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run every case once in each round; the results of each case, round by round."""
    found: dict[str, list[T]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return found


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second of one large square product, the best of five."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return 2 * size**3 / _best(device, lambda: torch.mm(a, b, out=product))


def copy_rate(device: torch.device, megabytes: int) -> float:
    """Bytes a second, read and written both counted, of one large copy, the best of five."""
    a = torch.ones(megabytes << 18, device=device)
    b = torch.empty_like(a)
    return 2 * 4 * a.numel() / _best(device, lambda: b.copy_(a))


def _best(device: torch.device, work: Callable[[], object]) -> float:
    return min(seconds(device, work) for _ in range(6))  # the first is for warming up


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are set to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def rounded(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def spread(values: Sequence[float]) -> str:
    """The median, and the lowest and highest."""
    return f"{rounded(median(values))} ({rounded(min(values))} – {rounded(max(values))})"


def commit() -> str:
    """The commit of the checkout, marked where files have changed since."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return found.stdout.strip() or "none"


COMMIT = commit()  # at the start: the checkout may move on during a long benchmark


def machine(device: torch.device | None = None) -> str:
    """CPU, cores and how busy they are, GPU, versions."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    parts = [
        f"{names[0] if names else platform.machine()} ({instructions()})",
        f"{cores()} cores (load {os.getloadavg()[0]:.1f} at the end)",
        torch.cuda.get_device_name(device) if device is not None and device.type == "cuda" else "no GPU used",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
    ]
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        parts.append("ahead of other work (real-time priority)")
    return ", ".join(parts)


def instructions() -> str:
    """The widest vectors of this CPU that torch computes with, and whether it has instructions for bf16."""
    wide: str = torch.backends.cpu.get_cpu_capability()
    return wide if bf16_slowdown() is not None else f"{wide}, bf16"


def append_result(section_title: str, table_text: str, device: torch.device | None = None) -> None:
    """Print a section and add it to RESULTS.md, which is made where it is missing."""
    text = section(section_title, table_text, device)
    print(text)
    if not RESULTS.exists():
        RESULTS.write_text(HEAD)
    with RESULTS.open("a") as results:
        results.write(f"\n{text}")


def section(title: str, body: str, device: torch.device | None = None) -> str:
    return f"## {title} ({date.today()}, commit {COMMIT})\n\n{machine(device)}.\n\n{body}\n"


def conclude(options: argparse.Namespace, title: str, body: str, device: torch.device | None = None) -> None:
    """Print a result, and add it to RESULTS.md unless it is a dry run."""
    if options.dry_run:
        print(section(title, body, device))
    else:
        append_result(title + (" – quick, not a measurement" if options.quick else ""), body, device)
