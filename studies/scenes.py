"""Rendered rooms with balls and boxes: the class, the depth and the surface normal of every pixel; needs no network."""

from mtlsearch import DenseTrunk, Depth, Normals, RenderedScenes, Segmentation, Study, choice, real

SCENES = RenderedScenes()

# Each metric, higher being better, of the best constant answer for each pixel, and of a perfect one.
BLIND = {"segmentation": 0.40, "depth": -0.96, "normals": -11.4}
PERFECT = {"segmentation": 1.0, "depth": 0.0, "normals": 0.0}


def share_seen(values):
    """The mean over tasks of the share of the way from blind to perfect: metres and degrees cannot be added."""
    shares = [(value - BLIND[task]) / (PERFECT[task] - BLIND[task]) for task, value in values.items()]
    return sum(shares) / len(shares)


def model(config):
    return DenseTrunk(
        heads={"segmentation": 4, "depth": 1, "normals": 3},
        channels=config["channels"],
        depth=2,
        norm=config["norm"],
        sharing=config["sharing"],
    )


study = Study(
    description="rendered rooms: class, depth and normal of every pixel",
    needs="nothing",
    tasks=[Segmentation("segmentation", SCENES), Depth("depth", SCENES), Normals("normals", SCENES)],
    model=model,
    # Each combination of choices opens a lane, so there are few.
    space={
        "channels": choice(8, 16),
        "norm": choice("none", "batch"),
        "sharing": choice("shared", "encoder"),
        "learning_rate": real(1e-4, 3e-2, log=True),
    },
    default={"channels": 8, "norm": "batch", "sharing": "shared", "learning_rate": 1e-2},
    epochs=10,
    batch_size=20,
    score=share_seen,
)
