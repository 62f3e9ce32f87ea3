"""The cache of examples that took long to read: the same arrays, or the file is read anew."""

from pathlib import Path

import numpy as np
import pytest

from mtlsearch.data.examples import kept as kept_module
from mtlsearch.data.examples.kept import Examples, kept

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "inputs": np.stack(
        [RANDOM.normal(size=9_000), RANDOM.integers(0, 2, 9_000), np.zeros(9_000), np.full(9_000, -0.0)], 1
    ).astype(np.float32),
    "bits": RANDOM.integers(0, 2, (50, 70)).astype(np.float32),
    "reals": RANDOM.normal(size=(3, 2)).astype(np.float32),
    "none": np.zeros((5, 0), np.float32),
    "labels": np.array([np.nan, 1.5], np.float32),
    "rows": np.arange(7),
}
FACTS = {"classes": {"a": ["x", "ÿ"]}, "mean": 0.1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, which keeps everything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_module, "LEAST_SECONDS", 0.0)
    (tmp_path / "file.csv").write_text("1")
    return tmp_path / "cache" / "mtlsearch" / "examples"


class Reader:
    """Gives the examples, and counts how often it was asked."""

    def __init__(self, arrays: dict[str, np.ndarray] = ARRAYS) -> None:  # type: ignore[type-arg]
        self.calls, self.arrays = 0, arrays

    def __call__(self) -> Examples:
        self.calls += 1
        return Examples(self.arrays, FACTS)


def test_the_second_time_the_same_arrays_are_there_unread(cache: Path, tmp_path: Path) -> None:
    read = Reader()
    kept(tmp_path / "file.csv", ["a"], read)
    found = kept(tmp_path / "file.csv", ["a"], read)
    assert read.calls == 1
    assert found.facts == FACTS
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()


def test_columns_of_zeros_and_ones_take_a_bit_each(cache: Path, tmp_path: Path) -> None:
    ones = {"inputs": RANDOM.integers(0, 2, (8_000, 400)).astype(np.float32)}
    kept(tmp_path / "file.csv", [], Reader(ones))
    (file,) = cache.glob("*.npz")
    assert file.stat().st_size < 8_000 * 400 / 8 + 10_000


def test_another_content_setting_or_name_is_read_anew(cache: Path, tmp_path: Path) -> None:
    path, read = tmp_path / "file.csv", Reader()
    kept(path, ["a", (1, 2)], read)
    kept(path, ["a", (1, 3)], read)
    assert read.calls == 2
    path.write_text("2")
    kept(path, ["a", (1, 2)], read)
    assert read.calls == 3
    path.rename(tmp_path / "file.tsv")
    kept(tmp_path / "file.tsv", ["a", (1, 2)], read)
    assert read.calls == 4
    path.write_text("1")
    kept(path, ["a", (1, 2)], read)
    assert read.calls == 4


def test_damaged_file_of_the_cache_is_read_anew(cache: Path, tmp_path: Path) -> None:
    read = Reader()
    kept(tmp_path / "file.csv", [], read)
    (file,) = cache.glob("*.npz")
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    damages = [whole[:-9], b"", b"no archive", bytes(flipped), (tmp_path / "other.npz").read_bytes()]
    for calls, damaged in enumerate(damages, 2):
        file.write_bytes(damaged)
        found = kept(tmp_path / "file.csv", [], read)
        assert read.calls == calls
        assert found.arrays is ARRAYS
        assert file.stat().st_size == len(whole)


def test_what_is_read_quickly_or_changes_meanwhile_is_not_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.csv"

    def changing() -> Examples:
        path.write_text("other")
        return Examples(ARRAYS, FACTS)

    kept(path, [], changing)
    monkeypatch.setattr(kept_module, "LEAST_SECONDS", 60.0)
    kept(path, [], Reader())
    assert not list(cache.glob("*"))


def test_files_that_were_not_used_for_longest_go(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.csv"
    kept(path, ["first"], Reader())
    (file,) = cache.glob("*.npz")
    monkeypatch.setattr(kept_module, "MOST_BYTES", int(2.5 * file.stat().st_size))
    read = Reader()
    kept(path, ["second"], read)
    kept(path, ["first"], read)  # it is used again, so the second is the oldest now
    kept(path, ["third"], read)
    assert len(list(cache.iterdir())) == 2
    assert read.calls == 2
    kept(path, ["first"], read)
    assert read.calls == 2
    kept(path, ["second"], read)
    assert read.calls == 3


def test_cache_that_cannot_be_written_changes_nothing(cache: Path, tmp_path: Path) -> None:
    cache.parent.parent.write_text("a file where the folder should be")
    read = Reader()
    assert kept(tmp_path / "file.csv", [], read).arrays is ARRAYS
    assert kept(tmp_path / "file.csv", [], read).arrays is ARRAYS
    assert read.calls == 2
