"""The command that writes study files: init."""

from pathlib import Path

import click

from mtlsearch.cli.options import PATH


@click.command()
@click.option("--csv", "source", type=PATH, help="A CSV or Parquet file to write the study for.")
@click.option("--targets", multiple=True, help="The columns to predict, separated by commas.")
@click.option("--out", "-o", type=PATH, default=Path("my_study.py"), show_default=True, help="The study file to write.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
def init(source: Path | None, targets: tuple[str, ...], out: Path, force: bool) -> None:
    """Write a study file, for a table or as a start.

    With --csv and --targets the file is for a table. Without, it is a commented study that runs as it is.
    """
    from mtlsearch.data.table_guess import guess_table
    from mtlsearch.errors import UsageError
    from mtlsearch.study.writer import check_new, write_starter, write_table_study
    from mtlsearch.terminal import notice, show_rows

    if (source is None) != (not targets):
        raise UsageError("--csv and --targets go together: --csv data.csv --targets price,sold")
    check_new(out, force)
    if source is None:
        write_starter(out)
    else:
        guess = guess_table(source, targets)
        write_table_study(out, guess)
        rows = [(c.name, c.kind, c.missing, c.distinct, c.why) for c in guess.columns]
        show_rows(["column", "kind", "missing", "distinct", "why"], rows)
        notice(guess.summary)
    notice(f"wrote {out}: edit it, or `mtlsearch run {out}`")
