"""The digests of joint data: each byte is read once for all tasks, and the digests are those of older stores."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mtlsearch import Data
from mtlsearch.data.examples import digests
from mtlsearch.data.examples.digests import sha256_by_task

TASKS = ("a", "b", "c")


def data(last: int = 1) -> Data:
    def pair(rows: int) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.arange(rows * 4.0).view(rows, 4), {t: torch.arange(rows) % (i + 2) for i, t in enumerate(TASKS)}

    test = pair(5)
    test[1]["c"][0] = last
    return Data(pair(9), test, validation=pair(4))


def by_hand(made: Data, task: str) -> str:
    """As every version so far has written it: the parts in turn, each with its inputs and then its labels."""
    digest = hashlib.sha256()
    for part in (made.train, made.validation, made.test):
        for array in (part.inputs, part.labels[task]):  # type: ignore[union-attr]
            digest.update(f"{array.dtype} {tuple(array.shape)}".encode() + array.numpy().tobytes())
    return digest.hexdigest()


def test_digests_are_those_of_each_task_by_itself() -> None:
    assert sha256_by_task(data(), {t: [t] for t in TASKS}) == {task: by_hand(data(), task) for task in TASKS}


def test_second_call_takes_large_data_s_digests_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(digests, "WORTH_KEEPING", 1)
    first = sha256_by_task(data(), {t: [t] for t in TASKS})
    assert first == {task: by_hand(data(), task) for task in TASKS}
    with monkeypatch.context() as patched:
        patched.setattr(digests, "_digests", lambda *_: pytest.fail("they were computed again"))
        assert sha256_by_task(data(), {t: [t] for t in TASKS}) == first
    changed = sha256_by_task(data(last=0), {t: [t] for t in TASKS})
    assert [task for task in TASKS if changed[task] != first[task]] == ["c"]


def test_digests_of_small_data_are_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sha256_by_task(data(), {t: [t] for t in TASKS})
    assert not list(tmp_path.iterdir())
