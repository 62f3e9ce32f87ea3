"""The command that writes a report of a study: one HTML page, and pictures."""

from typing import TYPE_CHECKING

import click

from mtlsearch.cli.options import takes
from mtlsearch.cli.output import with_record
from mtlsearch.tuning.options.reading import ReportOptions

if TYPE_CHECKING:
    from mtlsearch.store.record import Record


@click.command()
@click.argument("study", required=False)
@takes(ReportOptions)
def report(options: ReportOptions) -> None:
    """Write one HTML page with verdict and figures.

    The page works offline, and says how to reproduce the answer.
    """
    from mtlsearch.report.reading import read_report
    from mtlsearch.report.writing import check_places, write_report

    check_places(options.output, options.png)

    def work(record: "Record") -> None:
        write_report(read_report(record, deep=True), options.output, options.png)

    with_record(options, work)
