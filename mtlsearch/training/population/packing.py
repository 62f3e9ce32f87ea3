"""How members are packed into lanes of several widths, so that few slots stay empty.

A lane of width 384 with one member in two slots costs more than that member's padding in a free slot at 512.
"""

from collections.abc import Mapping, Sequence
from itertools import product

from mtlsearch.training.population.lane import Lane

Seat = tuple[Lane, int]  # a lane, and the slot in it


def packed(own: Mapping[int, Sequence[Seat]], slots: Mapping[int, int]) -> dict[int, list[Seat]]:
    """The members to be seated at each width, in the cheapest packing.

    `own` holds them by the narrowest width at which each fits, with their present seats; lanes have `slots` by width.
    """
    widths = sorted(own)
    carries = carried_up([len(own[width]) for width in widths], [slots[width] for width in widths], widths)
    seated: dict[int, list[Seat]] = {}
    carried: list[Seat] = []
    for width, up in zip(widths, carries, strict=True):
        # Who sits in a wider lane already is the first to be carried there.
        members = sorted([*carried, *own[width]], key=lambda seat: seat[0].width > width)
        stay = len(members) - up
        seated[width], carried = members[:stay], members[stay:]
    return seated


def carried_up(counts: Sequence[int], slots: Sequence[int], widths: Sequence[int]) -> list[int]:
    """How many members [W] leave each width for the next wider one, in the cheapest of the packings.

    There are `counts` [W] members of each of the ascending `widths` [W], whose lanes have `slots` [W], no more than
    those of the width before. A lane costs its slots times its width. Of each width leaves nobody, or all that do
    not fill a lane; of equal costs the packing wins that carries fewest.
    """
    packings = (
        _packing(counts, slots, carries) for carries in product((False, True), repeat=len(counts) - 1)
    )

    def cost(packing: tuple[list[int], list[int]]) -> tuple[int, int]:
        carried, lanes = packing
        return sum(n * s * w for n, s, w in zip(lanes, slots, widths, strict=True)), sum(carried)

    return min(packings, key=cost)[0]


def _packing(
    counts: Sequence[int], slots: Sequence[int], carries: Sequence[bool]
) -> tuple[list[int], list[int]]:
    """Who is carried up from each width, and how many lanes it has, where those of `carries` [W−1] carry."""
    carried, lanes, up = [], [], 0
    for count, size, carry in zip(counts, slots, (*carries, False), strict=True):
        members = count + up
        up = members % size if carry else 0
        carried.append(up)
        lanes.append(-(-(members - up) // size))
    return carried, lanes
