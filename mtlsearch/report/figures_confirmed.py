"""The figures of the trainings on test, the confirmation and the compared methods: means with their intervals."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlsearch.evidence.comparison import ranked_methods
from mtlsearch.evidence.statistics import Estimate
from mtlsearch.report import figure_style as style
from mtlsearch.report.reading import Report, metric_of
from mtlsearch.wording import MANY_TASKS, shown_tasks

LINE = 26  # pixels of one mean
AROUND = 64  # pixels of a panel's axis, its title, and the space between panels


class Mean(NamedTuple):
    """A mean over seeds with its interval, and the seeds."""

    name: str
    colour: str
    found: Estimate
    seeds: Sequence[float] = ()

    def traces(self, place: float, scale: float = 1.0, vertical: bool = False, **more: Any) -> Iterator[go.Scatter]:
        """Seeds as ticks, the mean as a dot, its interval as a bar; at `place` on the other axis."""
        along, across, tick = ("y", "x", "line-ew-open") if vertical else ("x", "y", "line-ns-open")
        mean, bar, interval = self.found.mean * scale, None, ""
        if self.found.low is not None and self.found.high is not None and self.found.half is not None:
            bar = {"array": [self.found.half * scale], "thickness": 2.5, "width": 6}
            interval = f" ({self.found.low * scale:.4g} to {self.found.high * scale:.4g})"
        if self.seeds:
            values = {
                along: style.rounded(seed * scale for seed in self.seeds),
                across: [place] * len(self.seeds),
            }
            marker = {"symbol": tick, "size": 12, "color": self.colour, "line": {"width": 1.5}}
            hover = f"{self.name}, one seed: %{{{along}:.4g}}<extra></extra>"
            hidden = more | {"name": None, "showlegend": False}
            yield go.Scatter(values, mode="markers", marker=marker, hovertemplate=hover, **hidden)
        values = {along: style.rounded([mean]), across: [place], f"error_{along}": bar}
        marker = {"color": self.colour, "size": 11, "line": {"color": style.PAPER, "width": 1.5}}
        hover = f"{self.name}, mean: {mean:.4g}{interval}<extra></extra>"
        yield go.Scatter(values, mode="markers", marker=marker, hovertemplate=hover, **more)


class Panel(NamedTuple):
    """Means below each other on one axis; `scale` makes the values readable."""

    title: str
    scale: float
    means: Sequence[Mean]


def confirmation(report: Report) -> list[style.Plot]:
    """Tuned weights, equal ones and each task alone on test: every seed, the mean and its interval."""
    if report.verdict is None:
        return []
    weighted = [task for task in shown_tasks(report.verdict["weights"]) if task in report.tasks]
    panels = [_confirmed(report, task) for task in (*weighted, *report.evaluations)]
    text = (
        "The confirmed hyperparameters, trained with fresh seeds and scored on test once: each seed, the mean and its"
        " interval. Two intervals may overlap although there is a difference: the verdict compares seed by seed."
    )
    return [style.Plot("confirmation", "Confirmation on test", text, (_drawn(panels),))]


def _confirmed(report: Report, task: str) -> Panel:
    assert report.verdict is not None
    metric, trainings, means = report.tasks[task], report.trainings, []
    for name, key, colour, found in (
        ("alone", "single_metrics", style.ALONE, trainings.alone.get(task, ())),
        ("equal weights", "equal_metrics", style.EQUAL, trainings.equal),
        ("tuned weights", "metrics", style.TUNED, trainings.tuned),
    ):
        if task in report.verdict[key]:
            seeds = [metric_of(trial, task, metric.name, "test") for trial in found]
            means.append(Mean(name, colour, Estimate.of_stored(report.verdict[key][task]), seeds))
    return Panel(style.metric_title(metric, task, "test", ", "), metric.scale, means)


def profile(report: Report) -> list[style.Plot]:
    """The share of many tasks whose gain exceeds each threshold, with its band."""
    found = None if report.verdict is None else report.verdict.get("profile")
    if not found:
        return []
    tau, band = style.rounded(found["threshold"]), {"width": 0, "shape": "hv"}
    ends = [style.rounded((100 * share for share in found[end]), 4) for end in ("low", "high")]
    share = style.rounded((100 * share for share in found["share"]), 4)
    unit = found["unit"]
    hidden = {"mode": "lines", "line": band, "hoverinfo": "skip", "showlegend": False}
    hover = f"%{{y:.3g}} % of tasks gain more than %{{x:.3g}} {unit}<extra></extra>"
    line = {"color": style.TUNED, "width": 2.5, "shape": "hv"}
    zero = {"zeroline": True, "zerolinecolor": style.AXIS}
    traces = [
        go.Scatter(x=tau, y=ends[0], **hidden),
        go.Scatter(x=tau, y=ends[1], fill="tonexty", fillcolor="#2459d62e", **hidden),
        go.Scatter(x=tau, y=share, mode="lines", line=line, hovertemplate=hover, showlegend=False),
    ]
    figure = style.drawn(
        traces, 340,
        xaxis={"title": f"τ: tuned minus equal, {unit}", "range": [tau[0], tau[-1]], **zero},
        yaxis={"title": "tasks that gain more (%)", "range": [-2, 102]},
    )  # fmt: skip
    text = (
        f"The share of {found['tasks']} tasks whose gain from tuned weights exceeds τ, in the mean over"
        f" {found['pairs']} pairs. The band is the 95 % bootstrap over the pairs, at each τ by itself. Noise alone"
        " spreads the curve to both sides of zero."
    )
    return [style.Plot("profile", "Performance profile", text, (figure,))]


def comparison(report: Report) -> list[style.Plot]:
    """The score of every compared method with its interval, the best at the top; of few tasks their metrics too."""
    if report.comparison is None or not report.comparison["methods"]:
        return []
    methods = ranked_methods(report.comparison)[::-1]  # an axis begins at the bottom
    colours = {"equal": style.EQUAL, "tuned": style.TUNED}

    def panel(title: str, scale: float, stored: Sequence[Any]) -> Panel:
        named = zip((method["method"] for method in methods), map(Estimate.of_stored, stored), strict=True)
        means = [Mean(style.label(name), colours.get(name, style.TRIAL), found) for name, found in named]
        return Panel(title, scale, means)

    unit = " (%)" if report.score_scale == 100 else ""
    panels = [panel(f"<b>score</b>, test{unit}", report.score_scale, [method["score"] for method in methods])]
    if 1 < len(report.tasks) <= MANY_TASKS // 3:
        measured = [task for task in report.tasks if all(task in method["tasks"] for method in methods)]
        for task, metric in ((task, report.tasks[task]) for task in measured):
            title = style.metric_title(metric, task, "test", ", ")
            panels.append(panel(title, metric.scale, [method["tasks"][task] for method in methods]))
    text = (
        f"Every method with the same search budget. Its best config was trained with"
        f" {len(report.comparison['seeds'])} fresh seeds: the mean and its interval on test."
    )
    return [style.Plot("methods", "Compared methods", text, (_drawn(panels),))]


def _drawn(panels: Sequence[Panel]) -> go.Figure:
    """The panels one below another."""
    count, lines = len(panels), len(panels[0].means)
    height = LINE * lines + AROUND
    figure = make_subplots(rows=count, cols=1, vertical_spacing=AROUND / (count * height))
    axes: dict[str, Any] = {}
    for row, panel in enumerate(panels, 1):
        for place, mean in enumerate(panel.means):
            figure.add_traces(list(mean.traces(place, panel.scale)), rows=row, cols=1)
        ticks = {"tickvals": list(range(lines)), "ticktext": [mean.name for mean in panel.means]}
        axes[f"xaxis{row}"] = {"title": panel.title, "nticks": 7}
        axes[f"yaxis{row}"] = {"showgrid": False, "range": [-0.6, lines - 0.4], **ticks}
    shape = {"height": count * height + 20, "margin": {"t": 8}, "showlegend": False}
    return figure.update_layout(axes, template=style.TEMPLATE, **shape)
