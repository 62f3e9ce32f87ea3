"""`python -m mtlsearch`, the command where its script is not on the path."""

from mtlsearch.cli.main import main

main(prog_name="mtlsearch")
