"""MNIST and Fashion-MNIST, one network per task: the reference without sharing."""

from mtlsearch import Classification, SeparateTrunks, Study, TorchvisionImages, choice, integer, real


def model(config):
    return SeparateTrunks(
        in_features=28 * 28,
        heads={"mnist": 10, "fashion": 10},
        hidden=config["hidden"],
        dropout=config["dropout"],
    )


study = Study(
    description="MNIST and Fashion-MNIST, one network per task: no sharing",
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
    },
    default={"hidden": 64, "dropout": 0.0, "optimizer": "sgd", "learning_rate": 1e-2},
    epochs=10,
    batch_size=64,
)
