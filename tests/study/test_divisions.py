"""Folds: every example is validated once, labels keep their shares, groups stay whole, and memory is shared."""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import CLASSES, NOWHERE, classes, disjoint, inputs, joint, loaded, trunk

from mtlsearch import Classification, Data, MultiLabel, Regression, Study
from mtlsearch.errors import DataError, StudyError
from mtlsearch.study.divisions import moved_labels, new_rows
from mtlsearch.study.loaded import LoadedStudy, load_data


def kinds(labels: torch.Tensor, **options: Any) -> Study:
    """One classification of these labels; `options` are those of its data."""
    x = inputs(len(labels), 0)
    return replace(
        disjoint(),
        model=trunk({"a": CLASSES}),
        tasks=[Classification("a", lambda _: Data((x, labels), (x, labels), **options))],
        folds=4,
    )


def train_rows(fold: LoadedStudy, source: int) -> torch.Tensor:
    splits = fold.splits[source]
    assert splits.rows is not None
    return splits.train.inputs[:].float()[splits.rows].flatten(1).sum(1)


def test_each_example_is_validated_in_one_fold_and_trains_in_the_others() -> None:
    study = loaded(disjoint(folds=3))
    for source, whole in enumerate(study.whole.splits):
        every = sorted(whole.train.inputs[:].float().flatten(1).sum(1).tolist())
        validated = torch.cat([f.splits[source].validation.inputs[:].float().flatten(1).sum(1) for f in study.folds])
        assert sorted(validated.tolist()) == every
        for fold in study.folds:
            own = fold.splits[source].validation.inputs[:].float().flatten(1).sum(1)
            assert sorted([*train_rows(fold, source).tolist(), *own.tolist()]) == every
            assert fold.splits[source].examples == len(every) - len(own)


def test_folds_share_the_memory_of_one_pool() -> None:
    study = loaded(joint(folds=4))
    pools = {fold.splits[0].train.inputs.data_ptr() for fold in study.folds}  # type: ignore[union-attr]
    first, *_ = study.folds
    assert len(pools) == 1
    assert first.splits[0].validation.inputs.data_ptr() in pools  # type: ignore[union-attr]


def test_folds_keep_the_shares_of_every_tasks_labels() -> None:
    folds = [fold.splits[0].validation.labels for fold in loaded(joint(0.3, folds=4)).folds]
    counts = [[int((labels["kind"] == c).sum()) for labels in folds] for c in range(3)]
    counts += [[int((labels["tags"][:, i] == yes).sum()) for labels in folds] for i in (0, 1) for yes in (0, 1)]
    assert all(max(count) - min(count) <= 2 for count in counts)


def test_folds_are_the_same_for_the_same_split_seed() -> None:
    first, again, other = (loaded(joint(folds=3, split_seed=seed)).folds[0] for seed in (0, 0, 1))
    assert torch.equal(first.splits[0].validation.inputs[:], again.splits[0].validation.inputs[:])
    assert not torch.equal(first.splits[0].validation.inputs[:], other.splits[0].validation.inputs[:])


def test_folds_of_inputs_on_disk_read_the_same_examples(tmp_path: Path) -> None:
    x, y = inputs(90, 0).numpy(), classes(inputs(90, 0))
    np.save(tmp_path / "x.npy", x)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    own = (x[:20] + 1, y[:20])
    for validation in (0.2, own):
        in_memory, read = (
            replace(
                kinds(y),
                tasks=[Classification("a", lambda _, x=x, v=validation: Data((x, y), (x, y), validation=v))],
                spare_heads=["b"],
            )
            for x in (x, on_disk)
        )
        for one, other in zip(loaded(in_memory).folds, loaded(read).folds, strict=True):
            assert torch.equal(one.splits[0].validation.inputs[:], other.splits[0].validation.inputs[:])
            assert torch.equal(train_rows(one, 0), train_rows(other, 0))


def test_groups_lie_in_one_fold() -> None:
    groups = np.arange(60) % 13
    study = loaded(kinds(classes(inputs(60, 0)), groups=groups))
    held = [set(fold.splits[0].validation.groups.tolist()) for fold in study.folds]  # type: ignore[union-attr]
    assert sum(map(len, held)) == len(set.union(*held)) == 13


def test_other_groups_are_another_definition() -> None:
    labels = classes(inputs(60, 0))
    found = [loaded(kinds(labels, groups=np.arange(60) % n)).fingerprint()["split"] for n in (13, 12)]
    assert found[0]["groups"] != found[1]["groups"]
    assert "groups" not in loaded(kinds(labels)).fingerprint()["split"]


@pytest.mark.parametrize(
    ("study", "told"),
    [
        (
            kinds(torch.tensor([0, 1] * 20 + [2, 2, 2])),
            "4 folds need 4 examples of each class or more, but class '2' of task 'a' has 3: use fewer folds",
        ),
        (
            kinds(torch.arange(40) % 3, groups=np.arange(40) % 3),
            "4 folds need 4 groups or more, but there are 3: use fewer folds",
        ),
    ],
)
def test_too_many_folds_are_refused_in_one_line(study: Study, told: str) -> None:
    with pytest.raises(DataError) as error:
        loaded(study)
    assert str(error.value) == told


def rare(yes: int = 3, **changes: Any) -> Study:
    """A task that three of four folds can score where its label has three yes."""
    x = inputs(60, 0)
    y = torch.zeros(60, 1)
    y[:yes] = 1
    data = Data((x, {"tag": y, "amount": x[:, 0]}), (x, {"tag": y, "amount": x[:, 0]}))

    def source(_: Path) -> Data:
        return data

    tasks = [MultiLabel("tag", source), Regression("amount", source)]
    return replace(joint(), tasks=tasks, model=trunk({"tag": 1, "amount": 1}), folds=4, **changes)


def test_a_task_that_a_fold_cannot_score_is_refused_or_left_out() -> None:
    with pytest.raises(DataError, match=r"fold \d of 4: task 'tag' cannot be scored .* or use fewer folds"):
        load_data(rare(), NOWHERE)
    assert set(load_data(rare(unscorable="skip"), NOWHERE).left_out) == {"tag"}


@pytest.mark.parametrize("folds", [1, 101, 2.5])
def test_the_number_of_folds_has_bounds(folds: Any) -> None:
    with pytest.raises(StudyError, match="folds must be a whole number from 2 to 100, but got"):
        disjoint(folds=folds)


# New divisions of all parts.


def sums(loaded: LoadedStudy) -> list[list[float]]:
    """What tells the examples of each part apart."""
    splits = loaded.splits[0]
    parts = (splits.train, splits.validation, splits.test)
    return [part.inputs[:].float().flatten(1).sum(1).tolist() for part in parts]


def test_a_new_division_deals_every_example_once_in_parts_of_the_same_sizes() -> None:
    study = loaded(joint(0.2))
    before, after = sums(study), sums(study.redivided(7))
    assert list(map(len, after)) == list(map(len, before))
    assert sorted(chain(*after)) == sorted(chain(*before))
    assert sorted(after[2]) != sorted(before[2])
    assert sums(study.redivided(7)) == after != sums(study.redivided(8))


def test_a_new_division_keeps_the_shares_of_every_tasks_labels() -> None:
    splits = loaded(joint(0.2)).redivided(3).splits[0]
    parts = [part.labels["kind"] for part in (splits.train, splits.validation, splits.test)]
    shares = [[float((labels == c).float().mean()) for c in range(3)] for labels in parts]
    assert shares[1] == pytest.approx(shares[0], abs=0.03)
    assert shares[2] == pytest.approx(shares[0], abs=0.03)


def test_a_task_alone_has_the_examples_of_its_new_division() -> None:
    study = loaded(joint(0.2))
    assert sums(study.redivided(5).only("tags")) == sums(study.redivided(5))


def test_groups_lie_in_one_part_of_a_new_division() -> None:
    x, groups = inputs(80, 0), np.arange(80) % 17
    data = Data(
        (x, classes(x)), split=["train"] * 80 and np.array(["train", "test"])[(groups > 12).astype(int)], groups=groups
    )
    splits = loaded(replace(kinds(classes(x)), tasks=[Classification("a", lambda _: data)], folds=None)).redivided(1)
    held = [set(p.groups.tolist()) for each in splits.splits for p in (each.train, each.validation, each.test)]  # type: ignore[union-attr]
    assert sum(map(len, held)) == len(set.union(*held)) == 17


def test_groups_that_are_not_known_of_every_part_are_refused() -> None:
    study = loaded(replace(kinds(classes(inputs(60, 0)), groups=np.arange(60) % 13), folds=None))
    with pytest.raises(DataError, match="needs the groups of all of them: give them by part, Data"):
        study.redivided(0)


def test_a_task_that_a_new_division_cannot_score_is_refused() -> None:
    study = load_data(replace(rare(yes=5), folds=None), NOWHERE)
    kept = new_rows(study.study.tasks, study.splits, 0)
    yes = torch.cat(
        [p.labels["tag"] for p in (study.splits[0].train, study.splits[0].validation, study.splits[0].test)]
    )
    rows = np.argsort(-yes[:, 0].numpy(), kind="stable")  # every yes in the first part
    sizes = np.cumsum([len(part) for part in kept[0]])[:-1]
    with pytest.raises(
        DataError, match=r"in a new division of the data task 'tag' cannot be scored on its .*: --resplit 0"
    ):
        study.with_rows([np.split(rows, sizes)])


def test_labels_to_train_that_pooling_multiplies_are_told() -> None:
    """Sixty of 300 are labelled to train, all of them to validate and to test."""
    x, y = inputs(300, 0), classes(inputs(300, 0))
    few = torch.where(torch.arange(300) < 60, y, -1)

    def source(directory: Path) -> Data:
        return Data((x, few), (x[:100], y[:100]), validation=(x[:200], y[:200]))

    study = loaded(replace(kinds(y), tasks=[Classification("a", source)], folds=None))
    # A new division trains on half of 360 labels, each of four folds on three quarters of 260.
    assert "(a: about 180 instead of 60)" in moved_labels(study.splits)
    assert "(a: about 195 instead of 60)" in moved_labels(study.splits, folds=4)
    assert moved_labels(loaded(replace(kinds(y), folds=None)).splits) == ""
