"""JSON from elsewhere: read with bounds, since a number of hundreds of digits is a float of no finite value."""

import json
from typing import Any

from mtlsearch.collection import without_collection

DIGITS = 20  # of a whole number: those of 64 bits, the largest that are written, have 19 and a sign


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is broken, deep beyond reading, or holds huge numbers."""
    try:
        with without_collection():  # a finaliser would fail at this depth
            return json.loads(text, parse_int=_whole, parse_float=_real)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value
