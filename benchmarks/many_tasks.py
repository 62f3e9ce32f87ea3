"""Hundreds of joint tasks beside one head of as many outputs in plain PyTorch.

    python benchmarks/many_tasks.py [--device cuda] [--threads N] [--data DIR] [--tasks 12 617] [--rounds N]

The data are ToxCast's fingerprints [8,597 × 1,024] with 617 assays of which 71 % of the labels are missing, from
`molecules/toxcast.npz` in the folder of data where that is there, else random numbers of the same shapes. A trunk of
256 units, batches of 64, Adam. The plain model is one `nn.Linear` of as many outputs, with one loss that is masked and
averaged by column; it keeps labels and inputs in memory.

*Step* is forward, loss, gradient and update, *epoch* the training of an epoch and validation, with the AUROC of each
task for ours and with none for the plain model. *One by one* is the reference: a product, a loss and a metric for each
task. *Ask* is one suggestion of TPE after 50 trials, in the space of the study by default and with a weight of each
task (`weights="each"`). *Memory* is what reading the data and an epoch add to the peak of a process that has imported
all that it needs, each case in one of its own. All times are medians over rounds in which the cases take turns; on one
CPU thread they are CPU time.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import optuna
import torch
import torch.nn.functional as F
from common import add_device_options, conclude, interleaved, parser, rounded, seconds, table
from torch import Tensor, nn

from mtlsearch import Classification, Data, MultiLabel, SharedTrunk, Study, real
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config, Space
from mtlsearch.training.batches import epoch_batches, steps_per_epoch
from mtlsearch.training.device import use_device
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.samplers.tpe import tpe_sampler

FEATURES, HIDDEN, BATCH = 1024, 256, 64
SHARES = (0.8, 0.1)  # train, validation
TRIALS = 50


class Assays:
    """The source of `count` assays, as 0 and 1 [N, 1], or as classes [N]."""

    def __init__(self, folder: Path | None, count: int, rows: int, classes: bool) -> None:
        file = None if folder is None else folder / "molecules" / "toxcast.npz"
        if file is not None and file.is_file():
            with np.load(file) as found:
                x, y = found["X"], found["Y"][:, :count]
        else:
            random = np.random.default_rng(0)
            x = (random.random((rows, FEATURES)) < 0.05).astype(np.uint8)
            y = np.where(random.random((rows, count)) < 0.7, np.nan, random.random((rows, count)) < 0.2)
        order = np.random.default_rng(0).permutation(len(x))
        self.x, self.y = x[order].astype(np.float32), y[order].astype(np.float32)
        self.classes = classes

    def __call__(self, directory: Path) -> Data:
        train, validation, test = ((self.x[rows], self._labels(self.y[rows])) for rows in self.parts())
        return Data(train, test, validation=validation, inputs="numbers")

    def parts(self) -> list[slice]:
        """The rows of train, validation and test."""
        ends = [int(len(self.x) * share) for share in (SHARES[0], sum(SHARES))]
        return [slice(0, ends[0]), slice(*ends), slice(ends[1], None)]

    def _labels(self, y: np.ndarray) -> dict[str, np.ndarray]:
        columns = np.where(np.isnan(y), -1, y).astype(np.int64) if self.classes else y[:, :, np.newaxis]
        return {f"assay {i}": columns[:, i] for i in range(y.shape[1])}


def make_study(source: Assays) -> Study:
    names = [f"assay {i}" for i in range(source.y.shape[1])]
    sizes = dict.fromkeys(names, 2 if source.classes else 1)

    def model(config: Config) -> SharedTrunk:
        return SharedTrunk(FEATURES, sizes, hidden=HIDDEN)

    tasks = [
        Classification(name, source, metric_name="auroc") if source.classes else MultiLabel(name, source)
        for name in names
    ]
    return Study(
        tasks,
        model=model,
        space={"learning_rate": real(1e-4, 1e-2, log=True)},
        default={"learning_rate": 1e-3},
        batch_size=BATCH,
        unscorable="skip",
    )


class Plain:
    """One head of as many outputs, as one writes it in PyTorch."""

    def __init__(self, source: Assays, device: torch.device) -> None:
        train, held, _ = source.parts()
        self.outputs = 2 if source.classes else 1
        self.x, self.held = (torch.from_numpy(source.x[rows]).to(device) for rows in (train, held))
        self.y = torch.from_numpy(source.y[train]).to(device)
        if source.classes:
            self.y = torch.where(self.y.isnan(), -1, self.y).long()
        self.net = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, self.y.shape[1] * self.outputs)
        ).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-3, fused=True)

    def step(self, rows: Tensor) -> None:
        outputs, labels = self.net(self.x[rows]), self.y[rows]
        if self.outputs == 1:
            valid = ~labels.isnan()
            losses = F.binary_cross_entropy_with_logits(outputs, torch.where(valid, labels, 0), reduction="none")
        else:
            valid = labels >= 0
            known = torch.where(valid, labels, 0).flatten()
            losses = F.cross_entropy(outputs.view(-1, self.outputs), known, reduction="none").view(labels.shape)
        loss = (torch.where(valid, losses, 0).sum(0) / valid.sum(0).clamp(min=1)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def epoch(self) -> None:
        for rows in torch.randperm(len(self.x)).to(self.x.device).split(BATCH):
            self.step(rows)
        with torch.no_grad():
            self.net(self.held)


class Ours:
    """A member of the solo trainer, with tasks in columns or one by one."""

    def __init__(self, loaded: LoadedStudy, columns: bool) -> None:
        training = Training(loaded, columns=columns).in_columns
        self.member = SoloMember(training, 0, loaded.study.default_config(), entry_epoch=0, seed=0)
        self.member.model.train()
        self.batches = epoch_batches(loaded, 0, 0)

    def steps(self, count: int) -> None:
        for step in range(count):
            self.member.step(self.batches, step % len(self.batches[0]))

    def epoch(self) -> None:
        self.member.train_epoch()
        self.member.evaluate("validation")


def took(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of `work`; with one thread the process's own CPU time, on which other load has little effect."""
    if device.type == "cuda" or torch.get_num_threads() > 1:
        return seconds(device, work)
    begun = time.process_time()
    work()
    return time.process_time() - begun


def times(source: Assays, loaded: LoadedStudy, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Seconds of a step and of an epoch of each case."""
    device = loaded.device
    plain, ours, each = Plain(source, device), Ours(loaded, columns=True), Ours(loaded, columns=False)
    rows = epoch_batches(loaded, 0, 0)[0]
    steps = min(options.steps, steps_per_epoch(loaded))

    def plain_steps() -> None:
        for step in range(steps):
            plain.step(rows[step])

    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "plain": (plain_steps, plain.epoch),
        "columns": (partial(ours.steps, steps), ours.epoch),
        "one by one": (partial(each.steps, steps), each.epoch),
    }
    found = {}
    for number, per in ((0, steps), (1, 1)):
        timed = interleaved({name: partial(took, device, work[number]) for name, work in cases.items()}, options.rounds)
        found[number] = {name: median(values) / per for name, values in timed.items()}
    return {name: (found[0][name], found[1][name]) for name in cases}


def ask_seconds(space: Space, default: dict[str, object]) -> float:
    """Seconds of one suggestion after `TRIALS` trials, each told before the next is asked."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=tpe_sampler(0))
    random, found = np.random.default_rng(0), []
    for number in range(TRIALS + 5):
        begun = time.process_time()
        trial = study.ask(space.distributions)
        space.config(trial.params, default)  # type: ignore[arg-type]
        if number >= TRIALS:
            found.append(time.process_time() - begun)
        study.tell(trial, float(random.normal()))
    return median(found)


def peak() -> int:
    """The most memory that this process has held, in bytes; `getrusage` would count that of its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def memory(case: str, made: Callable[[], Assays], sender: Connection) -> None:
    """Send the bytes that reading the data and an epoch of a case add to the peak of this process."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)]).step()  # it imports much at its first step
    before = peak()
    source = made()
    trained = (
        Plain(source, torch.device("cpu"))
        if case == "plain"
        else Ours(load_data(make_study(source), Path()), columns=case == "columns")
    )
    trained.epoch()
    sender.send(peak() - before)


def added_memory(case: str, made: Callable[[], Assays]) -> int:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=memory, args=(case, made, sender))
    process.start()
    found: int = receiver.recv()
    process.join()
    return found


def rows_of(count: int, classes: bool, options: argparse.Namespace) -> list[list[str]]:
    made_here = partial(Assays, options.data, count, options.rows, classes)
    cases = ("plain", "columns", "one by one")
    added = {case: added_memory(case, made_here) for case in cases}
    source = made_here()
    loaded = load_data(make_study(source), Path(), torch.device(options.device))
    found = times(source, loaded, options)
    study = loaded.study
    each = replace(study, weights="each")
    asks = [ask_seconds(one.search_space, dict(study.default)) for one in (study, each)]
    lines = []
    for case in cases:
        step, epoch = found[case]
        line = [f"{count} tasks of {'two outputs' if classes else 'one output'}: {case}"]
        line += [rounded(1000 * step), f"{step / found['plain'][0]:.2f}"]
        line += [rounded(epoch), f"{epoch / found['plain'][1]:.2f}"]
        line += [rounded(added[case] / 2**20), f"{added[case] / max(added['plain'], 1):.2f}"]
        line += [rounded(1000 * ask) if case == "columns" else "" for ask in asks]
        print(line, flush=True)
        lines.append(line)
    return lines


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    made.add_argument("--data", type=Path, help="the folder that holds molecules/toxcast.npz")
    made.add_argument("--tasks", type=int, nargs="+", default=[12, 617])
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--steps", type=int, default=20, help="timed at once")
    options = made.parse_args()
    options.rows = 8597
    if options.quick:
        options.threads, options.rounds, options.steps, options.tasks, options.rows = 1, 1, 2, [8], 320
    use_device(options.device, options.threads)
    lines = [line for count in options.tasks for classes in (False, True) for line in rows_of(count, classes, options)]
    head: Sequence[str] = (
        "",
        "step, ms",
        "÷ plain",
        "epoch, s",
        "÷ plain",
        "memory, MiB",
        "÷ plain",
        "ask, ms",
        "of each weight",
    )
    note = f"- {options.threads} CPU threads, {options.rounds} rounds of {options.steps} steps."
    conclude(
        options,
        "Many tasks beside one head",
        f"{table(head, lines)}\n\n{note}",
        torch.device(options.device),
    )


if __name__ == "__main__":
    main()
