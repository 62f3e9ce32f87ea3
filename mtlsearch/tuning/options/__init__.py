"""The options of every command: name, type, default, bounds and help, in one place each.

A command's options are one frozen dataclass, put together from groups that commands share. The command line makes
its flags from these fields (`cli/options.py`), and `mtlsearch.search` takes its arguments from `RunOptions`. Importing
this package is cheap: no torch, no Optuna.
"""
