"""Two overlaid handwritten digits in one small picture, two joint tasks; needs no network."""

import numpy as np

from mtlsearch import Classification, Data, SharedTrunk, Study, choice, integer, real

SIDE = 12  # an 8 × 8 digit in the upper left and one in the lower right overlap in 4 × 4 pixels
PAIRS = {"train": 4000, "validation": 1000, "test": 1000}


def overlaid_digits(directory):
    """Pairs of scikit-learn's bundled digits, as MultiMNIST makes them, from disjoint images for each part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    random = np.random.default_rng(0)
    pools = np.split(random.permutation(len(digits.target)), [1000, 1400])
    parts = {}
    for (part, count), pool in zip(PAIRS.items(), pools, strict=True):
        left, right = random.choice(pool, (2, count))
        pictures = np.zeros((count, SIDE, SIDE))
        pictures[:, :8, :8] = digits.images[left]
        pictures[:, 4:, 4:] = np.maximum(pictures[:, 4:, 4:], digits.images[right])
        inputs = np.round(pictures * 255 / 16).astype(np.uint8)
        parts[part] = inputs, {"left": digits.target[left], "right": digits.target[right]}
    return Data(**parts)


def model(config):
    return SharedTrunk(
        in_features=SIDE * SIDE,
        heads={"left": 10, "right": 10},
        hidden=config["hidden"],
        dropout=config["dropout"],
        norm=config["norm"],
    )


study = Study(
    description="two overlaid digits in one picture, made from scikit-learn's",
    needs="nothing",
    tasks=[Classification("left", overlaid_digits), Classification("right", overlaid_digits)],
    model=model,
    space={
        "hidden": integer(16, 128, log=True),
        "dropout": real(0.0, 0.5),
        "optimizer": choice("adam", "rmsprop", "sgd"),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "norm": choice("none", "batch", "layer"),
    },
    default={"hidden": 64, "dropout": 0.2, "optimizer": "adam", "learning_rate": 1e-3, "norm": "none"},
    epochs=9,
    batch_size=64,
)
