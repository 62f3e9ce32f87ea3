"""What mattered in a store whose trials are known, and the edges of its space."""

import math
from pathlib import Path

import numpy as np
from commands import done
from known_trials import known_store

from mtlsearch.evidence.importance.mattered import SCORE, edges, mattered

RATES = (10 ** np.random.default_rng(0).uniform(-4, -1, 40)).tolist()
WIDTHS = (2 ** np.random.default_rng(1).uniform(4, 7, 40)).astype(int).tolist()
RATIOS = np.random.default_rng(2).uniform(-3, 3, 40)
WEIGHTS = [{"mnist": 1 / (1 + np.exp(r)), "fashion": 1 / (1 + np.exp(-r))} for r in RATIOS]
CONFIGS = [
    {
        "learning_rate": rate,
        "hidden": hidden,
        "dropout": RATIOS[i - 1] / 12 + 0.25,
        "norm": ("none", "batch", "layer")[i % 3],
    }
    for i, (rate, hidden) in enumerate(zip(RATES, WIDTHS, strict=True))
]


def by_width() -> list[list[float]]:
    """mnist grows with the width; fashion is best at a learning rate of 0.01."""
    return [
        [0.5 + 0.06 * math.log2(c["hidden"]), 0.9 - 0.02 * (math.log10(c["learning_rate"]) + 2) ** 2] for c in CONFIGS
    ]


def test_each_task_is_told_what_moved_it(tmp_path: Path) -> None:
    with known_store(tmp_path, by_width(), configs=CONFIGS, weights=WEIGHTS) as record:
        found = mattered(record)
    assert next(iter(found.shares["mnist"].shares)) == "hidden"
    assert next(iter(found.shares["fashion"].shares)) == "learning_rate"
    assert found.shares[SCORE].shares["hidden"] > 0.8
    assert max(found.needed["fashion"], key=lambda name: found.needed["fashion"][name]) == "learning_rate"


def test_best_says_what_moved_the_score_and_which_edge_to_move(tmp_path: Path) -> None:
    with known_store(tmp_path, by_width(), configs=CONFIGS, weights=WEIGHTS) as record:
        best = record.best()
        (line,) = edges(record, best)
    assert (
        line == f"edge: hidden {best.params['hidden']} of at most 128, as most of the best trials: search it up to 256"
    )
    out = done("best", "known", "--storage", f"sqlite:///{tmp_path}/mtlsearch.db").out
    assert line in out
    assert "what moved the score: hidden " in out
    done("report", "known", "--storage", f"sqlite:///{tmp_path}/mtlsearch.db", "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert line in page
    assert "What sets the best tenth of trials apart (PED-ANOVA)" in page


def test_a_winner_in_the_middle_lies_at_no_edge(tmp_path: Path) -> None:
    middle = [[0.9 - 0.05 * (math.log2(c["hidden"]) - 5.5) ** 2] * 2 for c in CONFIGS]
    with known_store(tmp_path, middle, configs=CONFIGS) as record:
        assert edges(record, record.best()) == []


def test_few_trials_say_nothing(tmp_path: Path) -> None:
    with known_store(tmp_path, by_width()[:5], configs=CONFIGS) as record:
        assert mattered(record).lines() == []
        assert edges(record, record.best()) == []
