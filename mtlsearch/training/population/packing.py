"""Packing members into lanes of several widths, so that few slots stay empty.

A lane of width 384 with one member in two slots costs more than that member's padding in a free slot at 512.
"""

from collections.abc import Mapping, Sequence
from itertools import product

from mtlsearch.training.population.lane import Lane

Seat = tuple[Lane, int]  # a lane, and the slot in it


def packed(own: Mapping[int, Sequence[Seat]], slots: Mapping[int, int]) -> dict[int, list[Seat]]:
    """The members of each width in the cheapest packing, by their present seats.

    `own` holds the members by the narrowest width that fits them, and `slots` the slots of a lane of each width.
    """
    widths = sorted(own)
    carries = carried_up([len(own[width]) for width in widths], [slots[width] for width in widths], widths)
    seated: dict[int, list[Seat]] = {}
    carried: list[Seat] = []
    for width, up in zip(widths, carries, strict=True):
        # A member that already sits in a wider lane is carried first.
        members = sorted([*carried, *own[width]], key=lambda seat: seat[0].width > width)
        stay = len(members) - up
        seated[width], carried = members[:stay], members[stay:]
    return seated


def carried_up(counts: Sequence[int], slots: Sequence[int], widths: Sequence[int]) -> list[int]:
    """The number of members [W] that move from each width to the next wider one, in the cheapest packing.

    There are `counts` [W] members of the ascending `widths` [W]. Lanes have `slots` [W], at each width no more than at
    the one before; a lane costs its slots times its width. A width gives up either no members or all that do not fill
    a lane. Among packings of equal cost, the one that moves fewest wins.
    """
    packings = (_packing(counts, slots, carries) for carries in product((False, True), repeat=len(counts) - 1))

    def cost(packing: tuple[list[int], list[int]]) -> tuple[int, int]:
        carried, lanes = packing
        return sum(n * s * w for n, s, w in zip(lanes, slots, widths, strict=True)), sum(carried)

    return min(packings, key=cost)[0]


def _packing(counts: Sequence[int], slots: Sequence[int], carries: Sequence[bool]) -> tuple[list[int], list[int]]:
    """The members carried up from each width, and its lanes, if the widths flagged in `carries` [W−1] carry."""
    carried, lanes, up = [], [], 0
    for count, size, carry in zip(counts, slots, (*carries, False), strict=True):
        members = count + up
        up = members % size if carry else 0
        carried.append(up)
        lanes.append(-(-(members - up) // size))
    return carried, lanes
