"""Rendered rooms with balls and boxes: pictures with the known class, depth and normal of every pixel.

Rays leave a camera at the origin towards +z; x points right and y down. A ray is d = (u, v, 1), so that the factor t
at which t·d meets a surface is the surface's depth.

Shapes: N pictures, P = side² pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtlsearch.data.data import Data

CLASSES = ("wall", "floor", "ball", "box")
BALLS, BOXES = 2, 2
FIELD = 0.7  # u and v lie in ±FIELD
AMBIENT = 0.25
NOISE = 4.0  # the camera's standard deviation, in steps of 8 bits
NEAR = 1e-3
Numbers = np.ndarray[Any, np.dtype[np.float64]]
Hit = tuple[int, Numbers, Numbers, Numbers]  # class, depth [N, P] (∞ where missed), normal [N, P, 3], colour [N, 1, 3]


@dataclass(frozen=True)
class RenderedScenes:
    """Pictures [3, side, side] of uint8 with the columns `segmentation`, `depth` and `normals`.

    They follow from `seed` and the sizes alone, without network or file; 1,000 pictures of 32 × 32 take a second.
    Depths are in metres, from about 2 to 8.
    """

    side: int = 32
    train: int = 600
    validation: int = 200
    test: int = 200
    seed: int = 0

    def __call__(self, directory: Path, /) -> Data:
        train, validation, test = (
            _part(np.random.default_rng([self.seed, part]), size, self.side)
            for part, size in enumerate((self.train, self.validation, self.test))
        )
        return Data(train, test, validation=validation, classes={"segmentation": CLASSES})


def _part(random: np.random.Generator, count: int, side: int) -> tuple[Any, dict[str, Any]]:
    """`count` rendered pictures, and their labels."""
    across = np.linspace(-FIELD, FIELD, side)
    v, u = np.meshgrid(across, across, indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(1, -1, 3)
    kinds = np.zeros((count, side * side), dtype=np.int64)
    depth = np.full((count, side * side), np.inf)
    normals, colours = np.zeros((2, count, side * side, 3))
    for kind, distance, normal, colour in _surfaces(random, count, rays):
        nearer = distance < depth
        kinds[nearer], depth[nearer] = kind, distance[nearer]
        normals = np.where(nearer[..., None], normal, normals)
        colours = np.where(nearer[..., None], colour, colours)
    picture = _shaded(random, normals, colours).reshape(count, side, side, 3)
    labels = {
        "segmentation": kinds.reshape(count, side, side),
        "depth": depth.reshape(count, side, side).astype(np.float32),
        "normals": np.moveaxis(normals.reshape(count, side, side, 3), -1, 1).astype(np.float32),
    }
    return np.moveaxis(picture, -1, 1), labels


def _surfaces(random: np.random.Generator, count: int, rays: Numbers) -> Iterator[Hit]:
    """Every surface of a room, where the rays [1, P, 3] meet it."""
    back, below = random.uniform(5, 8, (count, 1)), random.uniform(1, 1.6, (count, 1))
    yield 0, *_plane(rays, 2, back), _colour(random, count)
    yield 1, *_plane(rays, 1, below), _colour(random, count)
    for _ in range(BALLS):
        centre = _places(random, count, below)
        yield 2, *_ball(rays, centre, random.uniform(0.4, 0.9, (count, 1))), _colour(random, count)
    for _ in range(BOXES):
        centre = _places(random, count, below)
        yield 3, *_box(rays, centre, random.uniform(0.3, 0.7, (count, 1, 3))), _colour(random, count)


def _places(random: np.random.Generator, count: int, below: Numbers) -> Numbers:
    """Centres [N, 1, 3] in view, from above the camera's height down to the floor."""
    z = random.uniform(2.5, 5, (count, 1))
    x = random.uniform(-FIELD, FIELD, (count, 1)) * z
    return np.stack([x, random.uniform(-0.4, 0.7, (count, 1)) * below, z], -1)


def _colour(random: np.random.Generator, count: int) -> Numbers:
    return random.uniform(0.25, 1.0, (count, 1, 3))


def _plane(rays: Numbers, axis: int, at: Numbers) -> tuple[Numbers, Numbers]:
    """The plane where coordinate `axis` is `at` [N, 1], facing the camera."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = at / rays[..., axis]
    distance = np.where(rays[..., axis] > NEAR, distance, np.inf)
    return distance, np.broadcast_to(-np.eye(3)[axis], (*distance.shape, 3))


def _ball(rays: Numbers, centre: Numbers, radius: Numbers) -> tuple[Numbers, Numbers]:
    """The nearer solution of |t·d − c|² = r²."""
    squared, along = np.square(rays).sum(-1), (rays * centre).sum(-1)
    under_root = along**2 - squared * (np.square(centre).sum(-1) - radius**2)
    met = under_root > 0
    distance = np.where(met, (along - np.sqrt(np.where(met, under_root, 0))) / squared, np.inf)
    distance = np.where(distance > NEAR, distance, np.inf)
    point = np.where(met, distance, 0)[..., None] * rays
    return distance, (point - centre) / radius[..., None]


def _box(rays: Numbers, centre: Numbers, half: Numbers) -> tuple[Numbers, Numbers]:
    """A box along the axes: the overlap of three slabs, met where a ray enters the last of them."""
    with np.errstate(divide="ignore"):
        inverse = 1 / np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    one, other = (centre - half) * inverse, (centre + half) * inverse
    enter, leave = np.minimum(one, other), np.maximum(one, other)
    axis = enter.argmax(-1)
    distance = enter.max(-1)
    distance = np.where((distance < leave.min(-1)) & (distance > NEAR), distance, np.inf)
    facing = -np.sign(np.take_along_axis(np.broadcast_to(rays, enter.shape), axis[..., None], -1))
    return distance, np.eye(3)[axis] * facing


def _shaded(random: np.random.Generator, normals: Numbers, colours: Numbers) -> Any:
    """Pixels [N, P, 3] of uint8, by Lambert's law under one light a picture, with a camera's noise."""
    light = random.normal(size=(len(normals), 1, 3)) * [0.6, 0.3, 0.2] + [0, -0.6, -0.8]
    light /= np.linalg.norm(light, axis=-1, keepdims=True)
    bright = AMBIENT + (1 - AMBIENT) * np.clip((normals * light).sum(-1, keepdims=True), 0, None)
    seen = 255 * colours * bright + random.normal(0, NOISE, normals.shape)
    return np.round(np.clip(seen, 0, 255)).astype(np.uint8)
