"""ChestMNIST: fourteen diagnoses on one X-ray, each a joint task with its own weight.

To weight groups of diagnoses, name the groups and make each a task: `MedMNIST("chestmnist", groups={"air":
["pneumothorax", "emphysema"], …})`, with a head of as many outputs as the group has diagnoses.
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
    # A diagnosis is rare: one picture in nine to one in five hundred has it. Balanced, yes and no count equally.
    tasks=[MultiLabel(diagnosis, CHEST, pos_weight="balanced") for diagnosis in CHEST.columns],
    model=model,
    # Each combination of choices opens a lane, so there are few.
    space={
        "channels": choice(8, 16),
        "dropout": real(0.0, 0.5),
        "learning_rate": real(1e-4, 1e-2, log=True),
        "sharing": choice("shared", 2),  # 2: each diagnosis has its own third block
    },
    default={"channels": 16, "dropout": 0.1, "learning_rate": 2e-3, "sharing": "shared"},
    epochs=10,
    batch_size=128,
)
