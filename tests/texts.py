"""Small files under the names of the real tweets."""

from pathlib import Path


def write_tweets(folder: Path) -> None:
    """Small files under the names of the real ones."""
    folder.mkdir()
    kinds = ("corporation", "creative-work", "group", "location", "person", "product")
    names = [(kind, f"{first}{kind[0].upper()}{i}") for i, kind in enumerate(kinds) for first in "AB"]
    for part, copies in (("train", 8), ("dev", 2), ("test", 2)):
        rows = [f"the\tO\n{name}\tB-{kind}\n{name}\tI-{kind}\nis\tO\n" for kind, name in names * copies]
        (folder / f"wnut17-{part}.conll").write_text("\n".join(rows))
    words = {"sentiment": ("awful", "plain", "lovely"), "emotion": ("furious", "happy", "hopeful", "unhappy")}
    for task, of in words.items():
        for part, copies in (("train", 40), ("val", 6), ("test", 12)):
            if (task, part) != ("sentiment", "train"):
                (folder / f"{task}-{part}_text.txt").write_text("".join(f"so {w} today\n" for w in of) * copies)
                (folder / f"{task}-{part}_labels.txt").write_text("".join(f"{i}\n" for i in range(len(of))) * copies)
        (folder / f"{task}-mapping.txt").write_text("".join(f"{i}\t{w}\n" for i, w in enumerate(of)))
