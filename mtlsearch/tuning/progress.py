"""Progress of a search on stderr: a live line on a terminal, else a plain line for each event and each 10 s between."""

import html
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import stdev
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mtlsearch.activity import Pace, counted, current
from mtlsearch.terminal import notice
from mtlsearch.wording import clock, described, measured, message_line, visible

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.study.results import EpochResult
    from mtlsearch.study.space import Config

PROGRESS_FILE = "MTLSEARCH_PROGRESS_FILE"  # names a file that holds the live line, for a server that started the run
NOTEBOOK_SECONDS = 0.25
SILENCE_SECONDS = 8.0  # after which a log gets a line; it is looked at each second
Metrics = Mapping[str, Mapping[str, float]]
Place = tuple[float, float, int]  # the sort key of "best", smaller for better trials


class Watcher(Protocol):
    """Is told how a search or a confirmation goes."""

    def begun(
        self,
        total: int,
        done: int,
        epochs: int,
        best: "FrozenTrial | None" = None,
        *,
        spent: int = 0,
        budget: int | None = None,
    ) -> None:
        """Work begins on `total` trials of which `done` are counted; `best` has the highest score.

        With a `budget` of trial-epochs, of which so many are `spent`, they may be fewer.
        """
        ...

    def asked(self, number: int, config: "Config") -> None:
        """Trial `number` goes into training."""
        ...

    def reported(self, result: "EpochResult") -> None:
        """An epoch of a trial is stored."""
        ...

    def ended(self, trial: "FrozenTrial") -> None:
        """A trial's outcome is in the store."""

        ...

    def confirmed(self, number: int, what: str) -> None:
        """A training of a confirmation has ended; `what` names it and its outcome."""
        ...

    def waiting(self, others: int) -> None:
        """Nothing is left to ask while other processes train `others` trials."""
        ...

    def staffed(self, workers: int, places: int) -> None:
        """So many `workers` are ready, of those that there should be."""
        ...

    def notice(self, text: str) -> None:
        """A line for the user."""
        ...


class NotebookLine:
    """A bar and the live line as one output of a notebook's cell, drawn again at most four times a second."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.drawn = 0.0

    def draw(self, text: str, done: int, total: int, *, last: bool = False) -> None:
        """Replace the output by `text` and a bar of `done` of `total`; the `last` one always."""
        if time.monotonic() - self.drawn < NOTEBOOK_SECONDS and not last:
            return
        from IPython.display import display

        self.drawn = time.monotonic()
        bar = f'<progress value="{done}" max="{total}"></progress>'
        shown = {"text/plain": text, "text/html": f"{bar} {html.escape(text)}"}
        if self.handle is None:
            # IPython ships no types for it in every version.
            self.handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call, unused-ignore]
        else:
            self.handle.update(shown, raw=True)


class Progress:
    """Tells what is done: the state, trials done, best score, per-task metrics, trial-epochs per second, time left."""

    def __init__(self, total: int = 0, *, quiet: bool = False) -> None:
        self.total, self.epochs, self.done = total, 0, 0
        self.spent = 0
        self.budget: int | None = None  # of trial-epochs, `spent` among them
        self.workers = ""  # how many there are, in words; empty where this process trains
        self.quiet = quiet
        self.is_begun = self.is_waiting = False
        self.training: dict[int, int] = {}  # epochs, by trial
        self.at_epoch: Counter[int] = Counter()  # how many trials are in training, by their epochs
        self.in_training: dict[int, tuple[Place, float, Metrics]] = {}  # place, best score and its metrics of each
        self.best: tuple[float, str] | None = None
        self.place: Place | None = None  # of the best trial that has ended
        self.pace = Pace()
        console = Console(stderr=True)
        self.live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self.line)
        self.is_live = console.is_terminal and not quiet
        self.notebook = NotebookLine() if console.is_jupyter and not quiet else None
        self.told = time.monotonic()
        self.file = Path(os.environ[PROGRESS_FILE]) if os.environ.get(PROGRESS_FILE) else None
        self.ends = Event()
        self.beats = Thread(target=self._beat, name="mtlsearch-progress", daemon=True)

    def __enter__(self) -> Self:
        if self.is_live:
            self.live.start()
        elif not self.quiet:
            self.beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Tell nothing more by itself, and leave the terminal as it was."""
        if self.is_live:
            self.live.stop()
        elif not self.quiet:
            self.ends.set()
            self.beats.join()
            self._write()
        self._draw(last=True)

    def _beat(self) -> None:
        """Break each silence of a log, and write or draw the line again, until the end."""
        while not self.ends.wait(1.0):
            self._write()
            if self.notebook is not None:
                self._draw()
            elif time.monotonic() - self.told > SILENCE_SECONDS:
                self.say(self.line().plain)

    # The watcher.

    def begun(
        self,
        total: int,
        done: int,
        epochs: int,
        best: "FrozenTrial | None" = None,
        *,
        spent: int = 0,
        budget: int | None = None,
    ) -> None:
        self.total, self.done, self.epochs, self.is_begun = total, done, epochs, True
        self.spent, self.budget = spent, budget
        self.best = self.place = None
        self.in_training.clear()
        if best is not None:
            self._take_best(best)
        self.pace = Pace()

    def asked(self, number: int, config: "Config") -> None:
        self._place(number, 0)
        self.is_waiting = False

    def reported(self, result: "EpochResult") -> None:
        self._place(result.number, result.epoch + 1)
        from mtlsearch.store.trials import rank  # imports Optuna, which a help page need not wait for
        from mtlsearch.study.results import shortfall

        if result.reason is None and result.best_validation:
            place = rank(result.best_score, result.number, shortfall(result.best_shortfalls))
            self.in_training[result.number] = place, result.best_score, result.best_validation
        self.pace.epoch_ended()
        self._expect()
        self._draw()

    def ended(self, trial: "FrozenTrial") -> None:
        """A trial's outcome is in the store."""
        from mtlsearch.store.trials import missed, score_of

        self._leave(trial.number)
        state = trial.state.name.lower()
        improved = state == "complete" and self._is_best(trial)
        if improved:
            self._take_best(trial)
        reason = trial.user_attrs.get("reason")
        folds = trial.user_attrs.get("folds", {}).get("scores", [])
        spread = f" ± {stdev(folds):.4f}" if folds else ""
        score = "" if trial.values is None else f", score {measured(score_of(trial))}{spread}"
        why = f" ({visible(str(reason))})" if reason else ""
        if missed(trial):
            why += f", misses {missed(trial)}"
        if improved:
            best = f"; new best: {described(trial.user_attrs.get('validation', {}))}"
        else:
            best = "" if self.best is None else f"; best {measured(self.best[0])}"
        epochs = trial.user_attrs.get("epochs", 0)
        self.say(
            f"trial {trial.number} {state} after {epochs} epochs{score}{why}; {self._done(' of ')}{best}",
            live=bool(reason),
        )

    def confirmed(self, number: int, what: str) -> None:
        self._leave(number)
        self.say(f"confirmation {self.done} of {self.total}: {what}")

    def waiting(self, others: int) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self.say(f"nothing left to ask; waiting for {others} trials that other processes train")

    def staffed(self, workers: int, places: int) -> None:
        many = "worker" if places == 1 else "workers"
        self.workers = f"{workers} {many}" if workers == places else f"{workers} of {places} {many}"

    def say(self, text: str, *, live: bool = False) -> None:
        """Tell an event: a plain line without a live one; above the live one only where `live` asks for it."""
        if self.is_live and live:
            self.live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self.is_live and not self.quiet and self.notebook is None:
            self.told = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def _draw(self, *, last: bool = False) -> None:
        if self.notebook is not None:
            done, total = self.done, self.total
            if self.budget is not None:
                done, total = self.spent + self.pace.trial_epochs, self.budget
            self.notebook.draw(self.line().plain, done, total, last=last)

    def _write(self) -> None:
        """Write the live line and its numbers into the file of a server; a full disk does not end a search."""
        if self.file is None:
            return
        partial = self.file.with_suffix(".part")
        with suppress(OSError, RuntimeError):  # the main thread may change a dict just now; the next second will do
            now = {"line": self.line().plain, "done": self.done, "total": self.total}
            now |= {"seconds_left": self.pace.seconds_left(), "rate": self.pace.rate()}
            partial.write_text(json.dumps(now), encoding="utf-8")
            partial.replace(self.file)

    def notice(self, text: str) -> None:
        """Show a line always, above the live one where there is one."""
        self.told = time.monotonic()
        if self.is_live:
            self.live.console.print(message_line(f"mtlsearch: {text}"), markup=False, highlight=False, soft_wrap=True)
        else:
            notice(text)

    def _leave(self, number: int) -> None:
        """Count a trial that leaves training."""
        self.in_training.pop(number, None)
        self.pace.trial_ended(self.training.get(number, 0))
        self._place(number, None)
        self.done += 1
        self._expect()

    def _place(self, number: int, epoch: int | None) -> None:
        """Note the epoch that a trial in training is at; None where it has left."""
        before = self.training.pop(number, None)
        if before is not None:
            self.at_epoch[before] -= 1
        if epoch is not None:
            self.training[number] = epoch
            self.at_epoch[epoch] += 1

    def _is_best(self, trial: "FrozenTrial") -> bool:
        from mtlsearch.store.trials import rank_of

        return self.place is None or rank_of(trial) < self.place

    def _take_best(self, trial: "FrozenTrial") -> None:
        from mtlsearch.store.trials import missed, rank_of, score_of

        self.place = rank_of(trial)
        short = f"; misses {missed(trial)}" if missed(trial) else ""
        metrics = described(trial.user_attrs.get("validation", {}))
        self.best = score_of(trial), f"{measured(score_of(trial))} (trial {trial.number}: {metrics}{short})"

    def _expect(self) -> None:
        left = self.total - self.done - len(self.training)
        most = None if self.budget is None else self.budget - self.spent - self.pace.trial_epochs
        self.pace.expect(max(0, left), +self.at_epoch, self.epochs, most)

    # The live line.

    def line(self) -> Text:
        """The line as it is now."""
        activity = current()
        if not self.is_begun:
            return Text(str(activity or "starting"), no_wrap=True, overflow="ellipsis")
        left = self.pace.seconds_left()
        # The metrics stand last: with many tasks it is they that a narrow terminal cuts off.
        parts = [
            self._done("/", " trials"),
            self._state(),
            self.workers,
            self.pace.rate_in_words(self._under_way()),
            "" if left is None else f"{clock(left)} left",
            self._best_so_far(),
        ]
        return Text(" · ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")

    def _done(self, of: str, what: str = "") -> str:
        """The part that is done, in trial-epochs where a budget ends the search, else in trials."""
        if self.budget is None:
            return f"{self.done}{of}{self.total}{what}"
        return f"{self.spent + self.pace.trial_epochs:,}{of}{self.budget:,} trial-epochs"

    def _state(self) -> str:
        """How many are in training, at which epoch; and what else is being done."""
        activity, work, epochs = current(), counted(), +self.at_epoch
        other = f", {activity}" if activity is not None and activity is not work else ""
        if not epochs:
            return other.removeprefix(", ")
        low, high = 1 + min(epochs), 1 + max(epochs)
        where = f"epoch {low}" if low == high else f"epochs {low} to {high}"
        share = "" if work is None else f", {100 * work.share:.0f} %"
        return f"{epochs.total()} training ({where} of {self.epochs}{share}{other})"

    def _under_way(self) -> float:
        """The trial-epochs' worth of steps since the last epoch ended."""
        work = counted()
        return 0.0 if work is None else len(self.training) * work.share

    def _best_so_far(self) -> str:
        """The best score, also of a trial in training."""
        # A list is made at once, while the main thread may change the dict.
        found = min(list(self.in_training.items()), key=lambda item: item[1][0], default=None)
        if found is not None and (self.place is None or found[1][0][:2] < self.place[:2]):
            number, (_, score, metrics) = found
            return f"best {measured(score)} (trial {number}, in training: {described(metrics)})"
        return f"best {self.best[1]}" if self.best else "no score yet"
