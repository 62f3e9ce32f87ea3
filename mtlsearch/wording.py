"""Numbers, durations and lists in words; texts of others as they may be shown."""

from collections.abc import Iterator, Mapping, Sequence

MANY_TASKS = 12
MOST_WEIGHED = 6  # of many tasks that are shown
LONGEST_LINE = 500  # letters of a message
SMALL = 0.1  # of a metric
JOINERS = "\u200c\u200d"  # of Persian and of emoji: they print nothing and change nothing around them


def shown_tasks(weights: Mapping[str, float]) -> list[str]:
    """All tasks if they are few; else the `MOST_WEIGHED` of the largest weights and some of the smallest."""
    if len(weights) <= MANY_TASKS:
        return list(weights)
    ranked = sorted(weights, key=lambda task: -weights[task])
    return ranked[:MOST_WEIGHED] + ranked[MOST_WEIGHED + 1 - MANY_TASKS :]


# How a search sets the task weights: by itself, one for each, equal ones, by the number of labels, in groups.
AUTO, EACH, EQUAL, LABELS, GROUPS = "auto", "each", "equal", "labels", "groups"
WEIGHT_CHOICES = (AUTO, EACH, EQUAL, LABELS, GROUPS)


def few(names: Sequence[str], most: int = 4) -> str:
    """Names on one line; of more than `most` the first ones and the number of the others."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])}, … {len(names) - most + 1} more"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names as a sentence has them: `a`, `a and b`, `a, b and c`; of more than `most` the first ones and "others"."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and others"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def shortened(value: object, most: int) -> str:
    """A value as text of at most `most` letters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def visible(text: str) -> str:
    """A text whose control characters are shown (`\\x1b`), so that no terminal obeys them.

    Those that turn the direction of writing are among them, and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS else ascii(c)[1:-1] for c in text)


def is_name(text: object, longest: int) -> bool:
    """Whether a value is a printable text of 1 to `longest` letters, without a space at its ends."""
    return isinstance(text, str) and 0 < len(text) <= longest and visible(text) == text == text.strip()


def message_line(text: str, longest: int = LONGEST_LINE) -> str:
    """A message on one line of at most `longest` letters; a longer one is cut inside: advice stands at the end."""
    line = visible(" ".join(text.split()))
    if len(line) <= longest:
        return line
    end = longest // 3
    return f"{line[: longest - end - 3]} … {line[-end:]}"


def plain(value: object) -> str:
    """A value as text for a table."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))


def measured(value: float) -> str:
    """A metric or a score: four decimals, of a small one four digits, so that two trials do not look alike."""
    return f"{value:.4f}" if abs(value) >= SMALL or not value else f"{value:#.4g}"


def weight_in_words(weight: float) -> str:
    """A task weight with two decimals, a small one with two digits: of hundreds of tasks all are small."""
    return "0" if weight == 0 else f"{weight:.2f}" if weight >= SMALL else f"{weight:.2g}"


def duration(seconds: float) -> str:
    """A duration in words: 12 s, 5 min, 1.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """A duration on a clock: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def described(values: Mapping[str, Mapping[str, float]]) -> str:
    """Per-task metrics on one line; of very many tasks the lowest and highest value of each metric."""
    if len(values) > MANY_TASKS:
        return ", ".join(_ranges(values))
    return visible(
        ", ".join(
            f"{task} {metric} {measured(value)}"
            for task, metrics in values.items()
            for metric, value in metrics.items()
        )
    )


def _ranges(values: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    found: dict[str, list[tuple[float, str]]] = {}
    for task, metrics in values.items():
        for metric, value in metrics.items():
            found.setdefault(metric, []).append((value, task))
    for metric, pairs in found.items():
        (low, lowest), (high, highest) = min(pairs), max(pairs)
        yield f"{len(pairs)} × {metric} {measured(low)} ({lowest}) to {measured(high)} ({highest})"
