"""Tweets: named entities, sentiment and emotion, three disjoint tasks on one shared trunk."""

from mtlsearch import (
    Classification,
    Corpus,
    Study,
    TaggedFiles,
    TextFiles,
    TextTrunk,
    TokenTagging,
    choice,
    real,
)

# One vocabulary of all three training splits. The local sentiment has no training file: five sixths of its test file
# are trained on, every sixth text is a test text. The Hugging Face hub has the official splits.
corpus = Corpus(
    {
        "entities": TaggedFiles(
            "tweets/wnut17-train.conll", "tweets/wnut17-dev.conll", "tweets/wnut17-test.conll", hub="wnut_17"
        ),
        "sentiment": TextFiles("tweets/sentiment", hub="tweet_eval/sentiment"),
        "emotion": TextFiles("tweets/emotion", hub="tweet_eval/emotion"),
    }
)


def model(config):
    return TextTrunk(
        vocabulary=corpus.rows,
        # 13 tags for each token: O, and B- and I- of six types.
        heads={"entities": ("tokens", 13), "sentiment": 3, "emotion": 4},
        hidden=config["hidden"],
        depth=1,
        dropout=config["dropout"],
    )


study = Study(
    description="named entities, sentiment and emotion of tweets on one shared trunk",
    needs="tweets/ (WNUT 2017, TweetEval), or mtlsearch[text] to download them",
    tasks=[
        # 95 % of all tokens are outside; with full weight they would drown out the others.
        TokenTagging("entities", corpus.source("entities"), outside_weight=0.25),
        Classification("sentiment", corpus.source("sentiment"), metric_name="macro_f1"),
        Classification("emotion", corpus.source("emotion"), metric_name="macro_f1"),
    ],
    model=model,
    space={
        "hidden": choice(64, 128),  # a lane for each: this trunk is not padded to a common width
        "dropout": real(0.0, 0.6),
        "learning_rate": real(5e-4, 2e-2, log=True),
        "weight_decay": real(1e-6, 1e-2, log=True),
    },
    default={
        "hidden": 64,
        "dropout": 0.3,
        "optimizer": "adam",
        "learning_rate": 5e-3,
        "weight_decay": 1e-6,
    },
    epochs=8,
    batch_size=64,
)
