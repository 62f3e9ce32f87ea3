"""The imports of a command that trains: a process that has made them forks into commands which start at once."""

import importlib

IMPORTED = (
    "mtlsearch.cli.main",
    "mtlsearch.report.dashboard",
    "mtlsearch.report.figures",
    "mtlsearch.report.terminal_table",
    "mtlsearch.tuning.run",
    "optuna.importance",
    "optuna.visualization",
    "optuna_dashboard",
    "plotly.graph_objects",
    "plotly.io",
    "sklearn.datasets",
    "sklearn.ensemble",
    "sklearn.model_selection",
    "torch._dynamo",
)


def warm() -> None:
    """Import them, and read the scripts of Optuna's schema."""
    for module in IMPORTED:
        importlib.import_module(module)
    import torch

    torch.set_num_threads(1)
    from mtlsearch.store.database.sqlite import _schema

    _schema()
