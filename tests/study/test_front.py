"""The front of trials with several values: ranks, crowding, the knee and the nearest, on values known by hand."""

import numpy as np
import pytest
from optuna.study._multi_objective import _fast_non_domination_rank

from mtlsearch.study.front import crowding, knee, nearest, order, ranks, shares

BENT = [[0.0, 1.0], [0.8, 0.9], [1.0, 0.0], [0.5, 0.5], [0.4, 0.4]]


def test_ranks_peel_front_after_front() -> None:
    assert ranks(BENT).tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_ranks_are_those_of_optuna(tasks: int) -> None:
    values = np.random.default_rng(tasks).integers(0, 6, size=(60, tasks)).astype(float)
    assert ranks(values).tolist() == _fast_non_domination_rank(-values).tolist()


def test_a_row_that_is_not_finite_is_beaten_by_every_other() -> None:
    assert ranks([[np.nan, 1.0], [0.0, 0.0], [0.1, np.inf]]).tolist() == [1, 0, 1]


def test_ends_of_a_front_are_the_loneliest_and_a_crowded_row_comes_last() -> None:
    front = [[0.0, 1.0], [0.1, 0.95], [0.15, 0.93], [0.6, 0.6], [1.0, 0.0]]
    alone = crowding(front)
    assert np.isinf(alone[[0, 4]]).all()
    assert alone[2] == pytest.approx((0.6 - 0.1) + (0.95 - 0.6))
    assert order(front).tolist() == [0, 4, 3, 2, 1]


def test_order_puts_a_better_rank_before_a_lonelier_row() -> None:
    assert order(BENT)[-2:].tolist() == [3, 4]


def test_shares_go_from_the_worst_to_the_best_of_the_front() -> None:
    assert shares([[10.0, 1.0], [20.0, 0.0], [5.0, 0.0]]).tolist() == [[0, 1], [1, 0], [-0.5, 0]]


def test_knee_is_the_row_that_stands_out() -> None:
    assert knee(BENT) == (1, True)


def test_a_straight_front_has_no_clear_knee_and_gives_its_most_even_row() -> None:
    straight = [[i / 4, 1 - i / 4] for i in range(5)]
    assert knee(straight) == (2, False)


def test_a_front_of_two_has_no_clear_knee() -> None:
    assert not knee([[0.0, 1.0], [1.0, 0.0]]).clear


def test_a_row_that_is_the_best_everywhere_is_the_knee() -> None:
    assert knee([[0.2, 0.1], [0.9, 0.8], [0.9, 0.7]]) == (1, True)


def test_nearest_follows_the_weights_along_the_front_even_where_it_bends_inwards() -> None:
    inwards = [[0.0, 1.0], [0.3, 0.4], [0.4, 0.3], [1.0, 0.0]]
    assert [nearest(inwards, weights) for weights in ([1, 9], [1, 1.2], [1.2, 1], [9, 1])] == [0, 1, 2, 3]
