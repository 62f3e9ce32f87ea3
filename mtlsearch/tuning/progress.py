"""Progress of a search on stderr: a live line on a terminal, else one plain line for each event."""

import html
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mtlsearch.terminal import notice
from mtlsearch.wording import clock, described, message_line, visible

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.study.results import EpochResult
    from mtlsearch.study.space import Config

WINDOW_SECONDS = 20.0
NOTEBOOK_SECONDS = 0.25


class Watcher(Protocol):
    """Is told how a search or a confirmation goes."""

    def begun(self, total: int, done: int, epochs: int, best: "FrozenTrial | None" = None) -> None:
        """Work begins on `total` trials of which `done` are counted; `best` has the highest score."""
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
    """Tells a search's events: trials done, best score, per-task metrics, trial-epochs per second, time left."""

    def __init__(self, total: int = 0, *, quiet: bool = False) -> None:
        self.total, self.epochs, self.done = total, 0, 0
        self.quiet = quiet
        self.began_with = 0
        self.training: dict[int, int] = {}
        self.epoch_times: list[float] = []
        self.trial_epochs = 0
        self.is_waiting = False
        self.best: tuple[float, str] | None = None
        self.began = time.monotonic()
        console = Console(stderr=True)
        self.live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self.line)
        self.is_live = console.is_terminal and not quiet
        self.notebook = NotebookLine() if console.is_jupyter and not quiet else None

    def __enter__(self) -> Self:
        if self.is_live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_live:
            self.live.stop()
        self._draw(last=True)

    # The watcher.

    def begun(self, total: int, done: int, epochs: int, best: "FrozenTrial | None" = None) -> None:
        self.total, self.done, self.began_with = total, done, done
        self.best = None
        if best is not None:
            self._take_best(best)
        self.epochs = epochs
        self.began = time.monotonic()

    def asked(self, number: int, config: "Config") -> None:
        self.training[number] = 0
        self.is_waiting = False

    def reported(self, result: "EpochResult") -> None:
        self.training[result.number] = result.epoch + 1
        self.trial_epochs += 1
        self.epoch_times.append(time.monotonic())
        self._draw()

    def ended(self, trial: "FrozenTrial") -> None:
        """A trial's outcome is in the store."""
        self.training.pop(trial.number, None)
        self.done += 1
        state = trial.state.name.lower()
        improved = state == "complete" and self._is_best(trial)
        if improved:
            self._take_best(trial)
        reason = trial.user_attrs.get("reason")
        score = "" if trial.value is None else f", score {trial.value:.4f}"
        why = f" ({visible(str(reason))})" if reason else ""
        if improved:
            best = f"; new best: {described(trial.user_attrs.get('validation', {}))}"
        else:
            best = "" if self.best is None else f"; best {self.best[0]:.4f}"
        epochs = trial.user_attrs.get("epochs", 0)
        self.say(
            f"trial {trial.number} {state} after {epochs} epochs{score}{why}; {self.done} of {self.total}{best}",
            live=bool(reason),
        )

    def confirmed(self, number: int, what: str) -> None:
        self.training.pop(number, None)
        self.done += 1
        self.say(f"confirmation {self.done} of {self.total}: {what}")

    def waiting(self, others: int) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self.say(f"nothing left to ask; waiting for {others} trials that other processes train")

    def say(self, text: str, *, live: bool = False) -> None:
        """Tell an event: a plain line without a live one; above the live one only where `live` asks for it."""
        if self.is_live and live:
            self.live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self.is_live and not self.quiet and self.notebook is None:
            print(text, file=sys.stderr, flush=True)

    def _draw(self, *, last: bool = False) -> None:
        if self.notebook is not None:
            self.notebook.draw(self.line().plain, self.done, self.total, last=last)

    def notice(self, text: str) -> None:
        """Show a line always, above the live one where there is one."""
        if self.is_live:
            self.live.console.print(message_line(f"mtlsearch: {text}"), markup=False, highlight=False, soft_wrap=True)
        else:
            notice(text)

    def _is_best(self, trial: "FrozenTrial") -> bool:
        assert trial.value is not None
        return self.best is None or trial.value > self.best[0]

    def _take_best(self, trial: "FrozenTrial") -> None:
        assert trial.value is not None
        metrics = described(trial.user_attrs.get("validation", {}))
        self.best = trial.value, f"{trial.value:.4f} (trial {trial.number}: {metrics})"

    def rate(self) -> float:
        """Trial-epochs per second, over the last seconds."""
        now = time.monotonic()
        self.epoch_times = [at for at in self.epoch_times if now - at < WINDOW_SECONDS]
        return len(self.epoch_times) / max(min(WINDOW_SECONDS, now - self.began), 1e-9)

    def seconds_left(self) -> float | None:
        """By the rate of trials so far, None before the first has ended."""
        ended = self.done - self.began_with
        if not ended:
            return None
        return (time.monotonic() - self.began) / ended * (self.total - self.done)

    def line(self) -> Text:
        """The live line."""
        left = self.seconds_left()
        # The metrics stand last: with many tasks it is they that a narrow terminal cuts off.
        parts = [
            f"{self.done}/{self.total} trials",
            f"{len(self.training)} training",
            f"{self.rate():.1f} trial-epochs/s",
            "" if left is None else f"{clock(left)} left",
            f"best {self.best[1]}" if self.best else "no best yet",
        ]
        return Text(" · ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")
