"""MNIST and Fashion-MNIST, two disjoint tasks on one shared trunk."""

from mtlsearch import Classification, SharedTrunk, Study, TorchvisionImages, choice, integer, real


def model(config):
    return SharedTrunk(
        in_features=28 * 28,
        heads={"mnist": 10, "fashion": 10},
        hidden=config["hidden"],
        dropout=config["dropout"],
        norm=config["norm"],
    )


study = Study(
    description="MNIST and Fashion-MNIST on one shared trunk",
    needs="MNIST, FashionMNIST (downloaded, 45 MB)",
    tasks=[
        Classification("mnist", TorchvisionImages("MNIST")),
        Classification("fashion", TorchvisionImages("FashionMNIST")),
    ],
    model=model,
    space={
        "hidden": integer(32, 512, log=True),
        "dropout": real(0.0, 0.7),
        "optimizer": choice("adam", "rmsprop", "sgd"),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "weight_decay": real(1e-6, 1e-2, log=True),
        "norm": choice("none", "batch", "layer"),
    },
    default={
        "hidden": 128,
        "dropout": 0.5,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "weight_decay": 1e-6,
        "norm": "none",
    },
    epochs=10,
    batch_size=64,
)
