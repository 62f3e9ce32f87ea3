"""Attribution maps as pictures: transparent ones for the page, and a sheet of all of them for a PNG file.

Blue speaks for the answer, orange against it. Below the colours lies the picture itself in grey, transparent where it
equals the baseline.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mtlsearch.inference.explain import Answer, Explained, Explanation

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Pixels = np.ndarray[Any, Any]

FOR, AGAINST, GHOST = (47, 111, 235), (224, 112, 24), (128, 139, 153)
GHOST_ALPHA = 0.45
FULL = 99.0  # attributions above this percentile of their sizes have the full colour
TILE, GAP, CAPTION, TITLE, COLUMNS = 224, 18, 46, 30, 6  # a sheet's measures in pixels; panels in a row
INK, SOFT, EDGE = (22, 28, 36), (90, 101, 115), (223, 227, 232)


def pixels_of(x: Tensor) -> Pixels:
    """An input [1, ...] as a picture [H, W] or [H, W, 3] of bytes."""
    array = x[0].double().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if x.is_floating_point():
        low, high = float(array.min()), float(array.max())
        # Most real inputs are scaled to 0 … 1 already; others are stretched to it.
        if low < 0 or high > 1:
            array = (array - low) / ((high - low) or 1.0)
        array = array * 255
    return np.asarray(array.round().astype(np.uint8))


def strength(weights: Pixels) -> Pixels:
    """Attributions of any shape as numbers in −1 … 1: the sign, and the strength of the colour."""
    sizes = np.abs(weights)
    used = sizes[sizes > 0]
    if not len(used):
        return np.zeros_like(weights)
    # Few values have no tail to cut.
    full = float(np.percentile(used, FULL)) if len(used) >= 100 else float(used.max())
    return np.asarray(np.clip(weights / full, -1, 1))


def map_of(weights: Tensor, x: Tensor) -> "Image":
    """The attributions [H, W] in colour over the grey picture `x` [1, ...], transparent where both are zero."""
    from PIL import Image

    signed = strength(weights.double().numpy())
    distance = x[0].double().abs().numpy()
    if distance.ndim == 3:
        distance = distance.max(0 if distance.shape[0] in (1, 3) else -1)
    ghost = GHOST_ALPHA * distance / (distance.max() or 1.0)
    alpha = np.abs(signed)
    colour = np.where((signed > 0)[..., None], FOR, AGAINST).astype(float)
    # The colour lies over the grey: the operator "over" of Porter and Duff.
    total = alpha + ghost * (1 - alpha)
    over = colour * alpha[..., None] + np.array(GHOST) * (ghost * (1 - alpha))[..., None]
    mixed = over / np.where(total > 0, total, 1)[..., None]
    return Image.fromarray(np.dstack([mixed, total * 255]).round().astype(np.uint8))


def strip_of(use: Tensor) -> "Image":
    """A task's use [U] of the units as one row of pixels."""
    from PIL import Image

    values = use.double().numpy()
    line = np.zeros((1, len(values), 4), np.uint8)
    line[..., :3] = FOR
    line[0, :, 3] = (255 * np.sqrt(values / (values.max() or 1.0))).round()
    return Image.fromarray(line)


def png(picture: "Image") -> bytes:
    """The bytes of a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def sheet(explanation: Explanation) -> "Image":
    """All inputs on white, one below another: the picture, and a map for each answer."""
    from PIL import Image, ImageDraw

    panels = [1 + sum(map(len, each.answers.values())) for each in explanation.inputs]
    across = min(COLUMNS, max(panels))
    heights = [TITLE + -(-count // across) * (TILE + CAPTION + GAP) for count in panels]
    picture = Image.new("RGB", (GAP + across * (TILE + GAP), GAP + sum(heights)), "white")
    draw, top = ImageDraw.Draw(picture), GAP
    for each, height in zip(explanation.inputs, heights, strict=True):
        _block(picture, draw, each, top, across)
        top += height
    return picture


def _block(picture: "Image", draw: "ImageDraw", each: Explained, top: int, across: int) -> None:
    """Draw the panels of one input at the height `top`."""
    from PIL import Image

    _write(draw, (GAP, top), each.example.name, 15, INK, picture.width - 2 * GAP)
    x = each.example.x
    tiles = [(Image.fromarray(pixels_of(x)).convert("RGBA"), "input", "")]
    tiles += [(map_of(a.weights, x), task, said(a)) for task, found in each.answers.items() for a in found]
    for i, (tile, title, below) in enumerate(tiles):
        left = GAP + i % across * (TILE + GAP)
        upper = top + TITLE + i // across * (TILE + CAPTION + GAP)
        fitted = fit(tile)
        place = left + (TILE - fitted.width) // 2, upper + (TILE - fitted.height) // 2
        picture.paste(fitted, place, fitted)
        draw.rectangle((left - 1, upper - 1, left + TILE, upper + TILE), outline=EDGE)
        _write(draw, (left, upper + TILE + 5), title, 14, INK, TILE)
        _write(draw, (left, upper + TILE + 24), below, 13, SOFT, TILE)


def said(answer: Answer) -> str:
    """An answer with its probability."""
    return answer.label if answer.probability is None else f"{answer.label}, {100 * answer.probability:.1f} %"


def fit(tile: "Image") -> "Image":
    """The picture scaled to a tile; small ones by a whole factor, so that pixels stay squares."""
    from PIL import Image

    longest = max(tile.size)
    if longest <= TILE:
        times = TILE // longest
        return tile.resize((tile.width * times, tile.height * times), Image.Resampling.NEAREST)
    size = tuple(max(1, round(side * TILE / longest)) for side in tile.size)
    return tile.resize((size[0], size[1]), Image.Resampling.BOX)


def _write(draw: "ImageDraw", place: tuple[int, int], text: str, size: int, colour: Sequence[int], room: int) -> None:
    """Write one line of text, cut to its room."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    shown = text
    while shown and font.getlength(shown) > room:
        text = text[:-1]
        shown = f"{text}…"
    draw.text(place, shown, tuple(colour), font)
