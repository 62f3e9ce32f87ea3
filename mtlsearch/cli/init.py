"""The command that writes study files: init."""

from pathlib import Path

import click

from mtlsearch.cli.options import PATH

MOST_LEFT_OUT = 12  # names in the last line
MOST_COLUMNS = 20  # in a message


@click.command()
@click.argument("table", type=PATH, required=False)
@click.option("--csv", "csv", type=PATH, help="The table, as the argument TABLE names it too.")
@click.option("--targets", multiple=True, help="The columns to predict, separated by commas.")
@click.option("--split", help="The column that says train, validation or test; one called split is found.")
@click.option("--groups", help="The column of a patient, say: rows of one value stay on one side of a division.")
@click.option("--drop", multiple=True, help="Columns to leave out, separated by commas.")
@click.option("--metric", multiple=True, help="A metric for all targets that have it, or TARGET=METRIC; repeatable.")
@click.option("--header", help="All column names, separated by commas, of a file whose first line does not name them.")
@click.option("--out", "-o", type=PATH, default=Path("my_study.py"), show_default=True, help="The study file to write.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
def init(
    table: Path | None,
    csv: Path | None,
    targets: tuple[str, ...],
    split: str | None,
    groups: str | None,
    drop: tuple[str, ...],
    metric: tuple[str, ...],
    header: str | None,
    out: Path,
    force: bool,
) -> None:
    """Write a study file, for a table or as a start.

    TABLE is a CSV (also .csv.gz), Parquet or ARFF file; --targets names its columns to predict. Without it the file is
    a commented study that runs as it is.
    """
    from mtlsearch.data.guess.table import column_names, guess_table
    from mtlsearch.errors import UsageError
    from mtlsearch.study.writer import check_new, chosen_metrics, write_starter, write_table_study
    from mtlsearch.terminal import notice, show_rows
    from mtlsearch.wording import few

    if table is not None and csv is not None:
        raise UsageError(f"init takes one table, but got {table} and --csv {csv}: name one of them")
    source = csv if table is None else table
    if source is None and (targets or split or groups or drop or metric or header):
        raise UsageError(
            "--targets, --split, --groups, --drop, --metric and --header are about a table: name it, as in"
            " `mtlsearch init data.csv --targets price,sold`"
        )
    if source is not None and source.suffix == ".py":
        raise UsageError(f"init takes a table, but got {source}: name the study file to write with --out {source}")
    if source is not None and not targets:
        names = few(column_names(source, header or ""), MOST_COLUMNS)
        raise UsageError(f"--targets must name the columns to predict, separated by commas; {source} has {names}")
    check_new(out, force)
    left_out = ""
    if source is None:
        write_starter(out)
    else:
        guess = guess_table(source, targets, split=split, groups=groups, drop=drop, header=header or "")
        write_table_study(out, guess, chosen_metrics(guess, metric))
        rows = [(c.name, guess.examples[c.name], c.kind, c.missing, c.distinct, c.why) for c in guess.columns]
        show_rows(["column", "example", "kind", "missing", "distinct", "why"], rows)
        notice(guess.summary)
        left_out = f", without {few(guess.left_out, MOST_LEFT_OUT)}" if guess.left_out else ""
    notice(f"wrote {out}{left_out}: edit it, or `mtlsearch run {out}`")
