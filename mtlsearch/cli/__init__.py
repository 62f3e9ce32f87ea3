"""The command line: every command parses, calls the library and prints. A new command is one new file here."""

from mtlsearch.cli.main import main as main
