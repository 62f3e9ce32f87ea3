"""The command that makes a report of a study: one HTML page, pictures, or what the dashboard shows."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlsearch.cli.options import PATH, name_option, storage_option
from mtlsearch.cli.output import with_record

if TYPE_CHECKING:
    from mtlsearch.store.record import Record


@click.command()
@click.argument("study", required=False)
@storage_option
@name_option
@click.option(
    "-o", "--output", type=PATH, default=Path("report.html"), show_default=True, help="The HTML file."
)
@click.option("--png", "pictures", type=PATH, metavar="DIR", help="Write every figure as a PNG too.")
def report(study: str | None, storage: str, name: str | None, output: Path, pictures: Path | None) -> None:
    """Write a report of STUDY: one HTML page with verdict, figures and how to reproduce it; works offline."""
    from mtlsearch.report.reading import read_report
    from mtlsearch.report.writing import check_places, write_report

    check_places(output, pictures)

    def work(record: "Record") -> None:
        write_report(read_report(record), output, pictures)

    with_record(study, storage, name, None, work)
