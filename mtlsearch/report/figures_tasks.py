"""The figures of tasks and their weights: what one weighting or another did to each task in the search."""

from mtlsearch.report.figure_style import Plot
from mtlsearch.report.figures_many_tasks import of_metrics, of_weights
from mtlsearch.report.figures_three_tasks import of_three
from mtlsearch.report.figures_two_tasks import of_two
from mtlsearch.report.reading import Report, weights_of
from mtlsearch.report.terminal_table import shown_tasks


def trade_offs(report: Report) -> list[Plot]:
    """What weights do to the tasks: points over the one weight of two tasks, a triangle of three, lines of more."""
    if not report.complete or len(report.tasks) < 2:
        return []
    if len(report.tasks) == 2:
        return [of_two(report)]
    if len(report.tasks) == 3:
        return [of_three(report)]
    weights = weights_of(report.best or report.complete[0])
    few = [task for task in shown_tasks(weights) if task is not None]
    drawn = [of_weights(report, few), of_metrics(report, few)]
    if len(few) < len(report.tasks):
        drawn.append(of_metrics(report, list(report.tasks), folded=True))
    return drawn
