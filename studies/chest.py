"""ChestMNIST: fourteen diagnoses on one X-ray, a joint task for each, so that each has a weight of its own.

To weigh them in groups, name the groups and make a task of each: `MedMNIST("chestmnist", groups={"air":
["pneumothorax", "emphysema"], …})`, and `heads` of as many outputs as a group has diagnoses.
"""

from mtlsearch import ConvTrunk, MedMNIST, MultiLabel, Study, choice, real

CHEST = MedMNIST("chestmnist")


def model(config):
    return ConvTrunk(
        heads=dict.fromkeys(CHEST.columns, 1),
        channels=config["channels"],
        depth=3,
        dropout=config["dropout"],
        norm="batch",
        sharing=config["sharing"],
    )


study = Study(
    description="ChestMNIST: fourteen diagnoses on one X-ray",
    needs="chestmnist.npz (downloaded with the extra medmnist, 83 MB)",
    # From one picture in nine to one in five hundred has the diagnosis; balanced, yes and no count the same.
    tasks=[MultiLabel(diagnosis, CHEST, pos_weight="balanced") for diagnosis in CHEST.columns],
    model=model,
    # Each combination of choices is a lane of its own, so they are few.
    space={
        "channels": choice(8, 16),
        "dropout": real(0.0, 0.5),
        "learning_rate": real(1e-4, 1e-2, log=True),
        "sharing": choice("shared", 2),  # 2: the third block is each diagnosis's own
    },
    default={"channels": 16, "dropout": 0.1, "learning_rate": 2e-3, "sharing": "shared"},
    epochs=10,
    batch_size=128,
)
