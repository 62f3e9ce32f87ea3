"""A study to start from, written by `mtlsearch init`. It runs as it is, on synthetic data:

    mtlsearch run FILE            search for the best task weights and hyperparameters
    mtlsearch best                the answer, with how sure it is
    mtlsearch train FILE          one training with the defaults below

Change one part at a time. A command that finds a mistake names it in one line.
"""

import numpy as np

from mtlsearch import Classification, Data, Regression, SharedTrunk, Study, choice, integer, real


# 1. The data. A source is any function from the data directory (--data) to `Data`: for train and test the inputs
#    [N, ...] and the labels by name, as arrays. Tasks with the same source are joint; a task may also have its own
#    source. A missing label is NaN, or -1 for a class. Ready sources are `Table` for CSV and Parquet files,
#    `PictureFolder`, and `TorchvisionImages`.
def source(directory):
    random = np.random.default_rng(0)
    x = random.normal(size=(1200, 8)).astype(np.float32)
    y = {
        "quadrant": (x[:, 0] > 0) * 2 + (x[:, 1] > 0) * 1,  # 4 classes, as whole numbers from 0
        # Any unit will do: numbers are standardised.
        "amount": x[:, 0] * x[:, 2] + x[:, 3] + 0.3 * random.normal(size=1200),
    }

    def part(rows):
        return x[rows], {name: labels[rows] for name, labels in y.items()}

    # A search never reads the test part. It holds out `validation` of the rest to score its trials.
    return Data(train=part(slice(0, 1000)), test=part(slice(1000, None)), validation=0.2)


# 2. The model. It is built from a config, which has a value for each dimension of the space below, and maps
#    {task: inputs} to {task: outputs}. `SharedTrunk` is one trunk with a head per task; `SeparateTrunks` shares
#    nothing. Any `nn.Module` that takes and gives these dicts will do.
def model(config):
    return SharedTrunk(
        in_features=8,
        heads={"quadrant": 4, "amount": 1},  # outputs by task: its classes, or 1 for a number
        hidden=config["hidden"],
        dropout=config["dropout"],
        norm=config["norm"],
    )


study = Study(
    description="a class and a number from synthetic data",
    needs="nothing",
    # 3. The tasks: `Classification`, `MultiLabel`, `Regression`, or `CustomTask` with your own loss and metric.
    tasks=[
        Classification("quadrant", source),  # or metric_name="macro_f1", where classes are rare
        Regression("amount", source),  # or loss_name="huber", metric_name="mae"
    ],
    model=model,
    # 4. The space of the search, beside the task weights. The model's config has every name; the optimizer also uses
    #    optimizer, learning_rate, weight_decay, momentum, schedule, warmup and clip_norm.
    space={
        "hidden": integer(8, 128, log=True),
        "dropout": real(0.0, 0.5),
        "optimizer": choice("adam", "adamw", "rmsprop", "sgd"),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "norm": choice("none", "batch", "layer"),
    },
    # 5. The start of the search: its first trial is this config with equal task weights.
    default={"hidden": 32, "dropout": 0.1, "optimizer": "adam", "learning_rate": 1e-2, "norm": "none"},
    # 6. The budget of a trial, and how the tasks' metrics become its score: "mean", "min", or a function.
    epochs=10,
    batch_size=64,
    score="mean",
)
