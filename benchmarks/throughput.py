"""Trial-steps and trial-epochs a second of the loop people write, solo, and the population, beside the limits.

    python benchmarks/throughput.py --data DIR [--device cuda] [--threads N] [--members 16 32] [--rounds 5]

Two tasks of 64 examples a step at width 128, as in the study mnist-fashion without normalisation. *The loop people
write* is the inside of an Optuna objective: torchvision data sets with `ToTensor` in a `DataLoader` each, an
`nn.Module`, `torch.optim.Adam`, one trial at a time, at its best thread and worker count. *Solo* has its data resident,
at its best thread count. All cases run in this process, one after the other in every round. The table shows the median
over the rounds.

Solo and population take whole epochs, validation included. The loop people write takes --steps steps and one whole
validation; its epoch is extrapolated from them and marked ~.

There are two limits. The FLOP limit is the arithmetic of the products in one trial's step, counted by torch on the
plain module (6 · parameters · examples, without the gradient of the pictures, which nothing needs), at the rate of
the best large product in this process at the same thread count. The memory limit is parameters, gradients and two
moments, read and written (32 bytes a parameter and step), at the rate of the best large copy. *Both* takes the two
one after the other. In the default space, drawn members are padded to lanes, and a step of width h counts as FLOP(h)
÷ FLOP(128).
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import torch
from common import (
    HELD_OUT,
    TINY,
    add_data_option,
    add_device_options,
    conclude,
    copy_rate,
    data_folder,
    interleaved,
    matmul_rate,
    mnist_fashion,
    parser,
    rounded,
    seconds,
    spread,
    table,
)
from people import PeopleLoop, Rates, best_people
from torch.utils.flop_counter import FlopCounterMode

from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.study.study import Study
from mtlsearch.training.batches import epoch_batches, steps_per_epoch
from mtlsearch.training.device import bf16_slowdown, use_device
from mtlsearch.training.population.lane import Lane, evaluate_lanes
from mtlsearch.training.population.population import PopulationTrainer, results_of, side_by_side
from mtlsearch.training.population.steps import Compiled, Steps, has_compiler, replayed, uncompiled
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training

WIDTH = 128
BYTES = 32  # a parameter and step: parameter, gradient, two moments, each read and written in float32


class Solo:
    """One trial with its data resident."""

    def __init__(self, loaded: LoadedStudy, threads: int) -> None:
        torch.set_num_threads(threads)
        self.threads, self.device = threads, loaded.device
        self.steps = steps_per_epoch(loaded)
        self.member = SoloMember(Training(loaded), 0, loaded.study.default_config(), 0, seed=0)

    def sample(self) -> Rates:
        torch.set_num_threads(self.threads)
        training = seconds(self.device, self.member.train_epoch)
        validation = seconds(self.device, lambda: self.member.evaluate("validation"))
        return Rates(self.steps / training, 1 / (training + validation))


class Population:
    """Members as the search trains them."""

    def __init__(
        self, loaded: LoadedStudy, configs: Sequence[Config], precision: str, steps: Steps, threads: int
    ) -> None:
        torch.set_num_threads(threads)
        self.threads, self.device, self.members = threads, loaded.device, len(configs)
        self.steps, self.epoch = steps_per_epoch(loaded), 0
        self.trainer = PopulationTrainer(Training(loaded, precision=precision), len(configs), steps)
        for number, config in enumerate(configs):
            self.trainer.add(number, config)
        if self.trainer.solo:
            raise SystemExit("the population is trained solo: there is nothing to measure")
        self.trainer.lanes.arrange(self.trainer.room())
        self.warm_up()

    @property
    def lanes(self) -> list[Lane]:
        return list(self.trainer.lanes)

    def warm_up(self) -> None:
        """Compile, or build kernels and capture."""
        self.trainer.architectures.wait_for_kernels()
        for lane in self.lanes:
            lane.begin_epoch(0)
            for tick in range(3):
                lane.run_step(lane, tick)
            evaluate_lanes([lane], "validation")

    def train(self) -> None:
        for first, *beside in side_by_side(self.lanes):
            first.train_epoch(self.epoch, beside)

    def validate(self) -> None:
        for lanes in side_by_side(self.lanes):
            results_of(lanes)

    def sample(self) -> Rates:
        """Train and validate every member for one epoch."""
        torch.set_num_threads(self.threads)
        training = seconds(self.device, self.train)
        validation = seconds(self.device, self.validate)
        self.epoch += 1
        return Rates(self.members * self.steps / training, self.members / (training + validation))

    def __str__(self) -> str:
        return ", ".join(f"{lane.width}×{lane.slots}" for lane in self.lanes)


def step_flop(loaded: LoadedStudy, config: Config) -> int:
    """The floating-point operations of the products in one trial's step."""
    member = SoloMember(Training(loaded), 0, config, 0, seed=0)
    member.model.train()
    with FlopCounterMode(display=False) as counter:
        member.step(epoch_batches(loaded, 0, 0), 0)
    return int(counter.get_total_flops())


def step_bytes(loaded: LoadedStudy, config: Config) -> int:
    """The bytes that a step's update moves through memory."""
    return BYTES * sum(p.numel() for p in loaded.study.build(config, seed=0).parameters())


def drawn(study: Study, count: int) -> list[Config]:
    """`count` configs drawn at random from the study's space."""
    space = study.search_space
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [asked.ask(space.distributions) for _ in range(count)]
    return [space.config(trial.params, study.default) for trial in trials]


def at_width_128(study: Study) -> Study:
    return study.fixed("hidden", str(WIDTH)).fixed("norm", "none")


def best_solo(loaded: LoadedStudy, threads: int) -> int:
    """The thread count at which solo is fastest."""
    candidates = [1] if loaded.device.type == "cuda" else sorted({1, threads})
    if len(candidates) == 1:
        return candidates[0]
    rates = {count: Solo(loaded, count).sample().steps for count in candidates}
    return max(candidates, key=lambda count: rates[count])


def steps_for(options: argparse.Namespace, device: torch.device, widths: str) -> Steps:
    """Compiled steps, on CUDA captured; uncompiled ones on request, with --quick, and without a compiler."""
    if has_compiler() and options.compile in ("all", widths) and not options.quick:
        return replayed(Compiled(), device)
    return uncompiled(device)


@cache
def precisions_of(device: torch.device) -> tuple[str, ...]:
    """The precisions worth measuring: no bf16 on a CPU without instructions for it."""
    return ("fp32",) if device.type == "cpu" and bf16_slowdown() is not None else ("fp32", "bf16")


def rate_of(name: str, probes: dict[str, list[float]], threads: int) -> float:
    """The best rate that a probe reached."""
    return max(probes[f"{name} {threads}"])


def make_probes(device: torch.device, threads: Sequence[int], quick: bool) -> dict[str, Callable[[], float]]:
    """Large products in float32 and bfloat16, and large copies, at each thread count."""
    size = 256 if quick else 8192 if device.type == "cuda" else 2048
    megabytes = 8 if quick else 1024 if device.type == "cuda" else 256

    def at(count: int, probe: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            torch.set_num_threads(count)
            return probe()

        return run

    made: dict[str, Callable[[], float]] = {}
    for count in sorted(set(threads)):
        made[f"fp32 {count}"] = at(count, lambda: matmul_rate(device, torch.float32, size))
        if "bf16" in precisions_of(device):
            made[f"bf16 {count}"] = at(count, lambda: matmul_rate(device, torch.bfloat16, size))
        made[f"copy {count}"] = at(count, lambda: copy_rate(device, megabytes))
    return made


@dataclass(frozen=True)
class Case:
    """A row of the table: how to sample it, and the settings that its limits depend on."""

    sample: Callable[[], Rates]
    threads: int
    precision: str = "fp32"
    marked: str = ""  # before a trial-epoch rate that is extrapolated
    equivalents: float = 1.0  # mean FLOP of a member's step in units of width 128


def make_cases(
    options: argparse.Namespace, folder: Path, device: torch.device, wide: LoadedStudy, whole: LoadedStudy
) -> dict[str, Case]:
    """Every case by the name of its row."""
    threads, workers = (1, 0) if options.quick else best_people(folder, device, options.threads, options.workers)
    held_out = TINY if options.quick else HELD_OUT
    people = PeopleLoop(folder, device, threads, workers, held_out=held_out)
    solo = Solo(wide, best_solo(wide, options.threads))
    cases = {
        f"the loop people write, {workers} workers": Case(lambda: people.sample(options.steps), threads, marked="~"),
        "solo": Case(solo.sample, solo.threads),
    }
    steps = steps_for(options, device, "one")
    precisions = [name for name in precisions_of(device) if name in options.precisions]
    for members, precision in product(options.members, precisions):
        made = Population(wide, drawn(wide.study, members), precision, steps, options.threads)
        name = f"population of {members}, {precision}, {steps.name} lanes {made}"
        cases[name] = Case(made.sample, options.threads, precision)
    unit = step_flop(wide, wide.study.default_config())
    configs = drawn(whole.study, max(options.members))
    mean = sum(step_flop(whole, config) for config in configs) / len(configs) / unit
    steps = steps_for(options, device, "several")
    for precision in precisions:
        made = Population(whole, configs, precision, steps, options.threads)
        name = f"default space, {len(configs)} drawn members, {precision}, {steps.name} lanes {made}"
        cases[name] = Case(made.sample, options.threads, precision, equivalents=mean)
    return cases


def report(
    cases: dict[str, Case], rates: dict[str, list[Rates]], probes: dict[str, list[float]], wide: LoadedStudy
) -> str:
    """The table of rates and shares of the limits, and notes on the limits."""
    config = wide.study.default_config()
    flop, moved = step_flop(wide, config), step_bytes(wide, config)
    steps = {name: [r.steps * cases[name].equivalents for r in found] for name, found in rates.items()}
    epochs = {name: median(r.epochs * cases[name].equivalents for r in found) for name, found in rates.items()}
    people, solo = list(cases)[:2]
    rows: list[list[object]] = []
    best: dict[str, float] = {}
    for name, case in cases.items():
        rate = median(steps[name])
        if name.startswith("population"):
            best[case.precision] = max(rate, best.get(case.precision, 0.0))
        arithmetic = flop / rate_of(case.precision, probes, case.threads)
        memory = moved / rate_of("copy", probes, case.threads)
        limits = [1 / arithmetic, 1 / memory, 1 / (arithmetic + memory)]
        ratios = [rounded(epochs[name] / epochs[other]) for other in (people, solo)]
        shares = [f"{100 * rate / limit:.0f} %" for limit in limits]
        told = case.marked + rounded(epochs[name])
        rows.append([name, case.threads, spread(steps[name]), told, *ratios, *shares])
    head = ["", "threads", "trial-steps/s (lowest – highest)", "trial-epochs/s", "÷ people", "÷ solo"]
    shares_head = ["of the FLOP limit", "of the memory limit", "of both"]
    peaks = ", ".join(f"{name}: {rounded(max(found) / 1e9)} G/s" for name, found in probes.items())
    notes = [
        f"One step of one trial at width {WIDTH}: {rounded(flop / 1e6)} MFLOP, {rounded(moved / 1e6)} MB.",
        f"Best large product or copy by thread count: {peaks}.",
        "Rates of the default space are in width-128 equivalents by FLOP.",
        *(
            f"{name.split(' lanes')[0]} ÷ best population at width 128: "
            f"{100 * median(steps[name]) / best[case.precision]:.0f} %."
            for name, case in cases.items()
            if name.startswith("default")
        ),
        *([] if any(name.startswith("bf16") for name in probes) else ["This CPU has no instructions for bf16."]),
        f"An epoch is {steps_per_epoch(wide)} steps and one validation; ~ extrapolated from fewer steps.",
    ]
    return table([*head, *shares_head], rows) + "\n\n" + "\n".join(f"- {note}" for note in notes)


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    add_data_option(made)
    made.add_argument("--members", type=int, nargs="+", help="populations; default 16 32, on CUDA 128 256")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=200, help="steps a round of the loop people write")
    made.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="tried, up to the cores")
    made.add_argument(
        "--compile",
        choices=["all", "one", "none"],
        default="all",
        help="compiled steps: everywhere, where all members have one width, nowhere",
    )
    made.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    options = made.parse_args()
    if options.quick:
        options.threads = 1
        options.members, options.rounds, options.steps = [2], 1, 10
    device = use_device(options.device, options.threads).device
    options.members = options.members or ([128, 256] if device.type == "cuda" else [16, 32])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="mtlsearch-throughput-") as scratch:
        folder = data_folder(options, Path(scratch))
        study = mnist_fashion(options.quick)
        wide, whole = (load_data(s, folder, device) for s in (at_width_128(study), study))
        cases = make_cases(options, folder, device, wide, whole)
        probes = make_probes(device, [case.threads for case in cases.values()], options.quick)
        work = {**probes, **{name: case.sample for name, case in cases.items()}}
        found: dict[str, list[Any]] = interleaved(work, options.rounds)
    body = report(cases, {name: found[name] for name in cases}, {name: found[name] for name in probes}, wide)
    conclude(options, "Throughput, two tasks of 64 at width 128", body, device)


if __name__ == "__main__":
    main()
