"""What is to be told of samples: labels with gaps, and tables as strangers write them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.decode import encode_png
from pipeline.data.sources.manifest import Manifest, Shards
from pipeline.data.sources.shard_writer import ShardLayout, ShardSample, write_shard
from pipeline.errors import UserError
from pipeline.evaluation.config import TargetKind
from pipeline.evaluation.probe_set import Part, labelled_samples, load_probe_set
from pipeline.evaluation.targets.choosing import TargetTable, labels_of_shards, targets_of_table
from pipeline.evaluation.targets.target import Target

pytestmark = pytest.mark.fast


def shards(folder: Path, labels: list[str | None], *, prefix: str = "") -> str:
    """Shards of three samples with keys PREFIX0, PREFIX1 …; some may have no label."""
    folder.mkdir()
    made = []
    for first in range(0, len(labels), 3):
        samples = [
            ShardSample(
                number=row,
                key=f"{prefix}{row}",
                images=(encode_png(np.full((4, 4, 3), row, np.uint8)),),
                label=label,
            )
            for row, label in enumerate(labels[first : first + 3], first)
        ]
        layout = ShardLayout(kind="tar", classes=("a", "b"))
        made.append(write_shard(samples, str(folder), first // 3, first, layout))
    Manifest(
        shuffled=True,
        classes=("a", "b") if any(labels) else (),
        unlabelled=labels.count(None) if any(labels) else 0,
        shards=Shards.of(made),
    ).save(folder)
    return str(folder)


@pytest.mark.parametrize("most", [1, 3, 4, 9])
def test_the_first_samples_that_have_a_label_are_taken(tmp_path: Path, most: int) -> None:
    folder = shards(tmp_path / "s", [None, "a", None, None, None, "b", "b", None, "a"])
    ids, labels = [1, 5, 6, 8][:most], [0, 1, 1, 0][:most]
    found = labelled_samples(folder, at_most=most)
    assert (found.ids.tolist(), found.labels.tolist()) == (ids, labels)
    assert found.without == ids[-1] + 1 - len(ids)
    images = load_probe_set(folder, size=4, max_samples=most)
    assert images.images[:, 0, 0, 0].tolist() == ids
    assert images.labels.tolist() == labels
    shares = [load_probe_set(folder, size=4, max_samples=most, share=(r, 3)) for r in range(3)]
    assert np.concatenate([share.labels for share in shares]).tolist() == labels
    part = Part(0.5, 1.0, 4)
    assert load_probe_set(folder, size=4, max_samples=9, part=part).labels.tolist() == [1, 0]


def test_classes_without_a_label_left_and_one_class_are_refused(tmp_path: Path) -> None:
    good = shards(tmp_path / "good", ["a", "b", None])
    one = shards(tmp_path / "one", ["a", None, "a"])
    none = shards(tmp_path / "none", [None, None])
    found = labels_of_shards(good, one, max_samples=10)
    assert (found.train.without, found.test.without) == (0, 1)
    with pytest.raises(UserError, match="all 2 samples that have a label are 'a'"):
        labels_of_shards(one, good, max_samples=10)
    with pytest.raises(UserError, match="has no labels") as error:
        labels_of_shards(none, none, max_samples=10)
    assert len(error.value.problems) == 2


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, str]:
    return (
        shards(tmp_path / "train", [None] * 6, prefix="x"),
        shards(tmp_path / "test", [None] * 4, prefix="y"),
    )


def csv(tmp_path: Path, values: list[str], *, head: str = "key,value") -> str:
    """Lines of x0 … x5, y0 … y3, in another order, after one of an unknown key."""
    keys = [*(f"x{row}" for row in range(6)), *(f"y{row}" for row in range(4))]
    lines = [f"{key},{value}" for key, value in zip(keys, values, strict=True)]
    path = tmp_path / "targets.csv"
    path.write_text("\ufeff" + "\n".join([head, "unknown,1", *reversed(lines)]) + "\n")
    return str(path)


def found(sets: tuple[str, str], location: str, **options: Any) -> Target:
    return targets_of_table(TargetTable(location, **options), *sets, max_samples=100)


def refused(sets: tuple[str, str], location: str, **options: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        found(sets, location, **options)
    return [str(problem) for problem in error.value.problems]


def test_numbers_classes_and_labels_are_told_apart(tmp_path: Path, sets: tuple[str, str]) -> None:
    numbers = found(sets, csv(tmp_path, ["0.5", "1", "2", "-1e3", "", "7", "1", "2", "3", "nan"]))
    assert numbers.kind == TargetKind.regression
    assert numbers.train.values.tolist() == [0.5, 1, 2, -1000, 7]
    assert numbers.train.ids.tolist() == [0, 1, 2, 3, 5]
    assert (numbers.train.without, numbers.test.without) == (1, 0)
    assert numbers.lines_without_sample == 1

    classes = found(sets, csv(tmp_path, ["10", "9", "10", "9", "10", "9", "9", "8", "9", "9"]))
    assert (classes.kind, classes.names) == (TargetKind.classes, ("8", "9", "10"))
    assert classes.train.values.tolist() == [2, 1, 2, 1, 2, 1]

    labels = found(sets, csv(tmp_path, ["a;b", "b", "a", ";", "c; a", "b", "b;b", "a", "a;b", "b"]))
    assert (labels.kind, labels.names) == (TargetKind.multilabel, ("a", "b", "c"))
    assert labels.train.values[:4].tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_parquet_has_types_and_another_table_may_be_of_the_test_set(
    tmp_path: Path, sets: tuple[str, str]
) -> None:
    train, test = str(tmp_path / "train.parquet"), str(tmp_path / "test.parquet")
    ids = pa.array([5, 0, 1, 2, 99, -3])
    lists = [["a"], ["a", "b"], [], None, ["z"], ["z"]]
    pq.write_table(pa.table({"sample_id": ids, "tags": lists, "other": ids}), train)
    pq.write_table(pa.table({"sample_id": [0, 1], "tags": [["b"], ["a"]], "other": [1, 2]}), test)
    target = found(sets, train, test_location=test, column="tags")
    assert target.kind == TargetKind.multilabel
    assert target.train.ids.tolist() == [0, 1, 5]
    assert target.train.values.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert target.lines_without_sample == 2
    (told,) = refused(sets, train, column="tags")
    assert "counts from 0 in --train and in --test: give --test-targets too" in told
    told = refused(sets, train, test_location=test)
    assert [line.startswith("--target: names the column of") for line in told] == [True, True]


def test_the_first_samples_with_a_target_are_taken(tmp_path: Path, sets: tuple[str, str]) -> None:
    location = csv(tmp_path, ["", "1.5", "", "2.5", "3.5", "4.5", "1.5", "2.5", "3.5", "4.5"])
    target = targets_of_table(TargetTable(location), *sets, max_samples=2)
    assert (target.train.ids.tolist(), target.test.ids.tolist()) == ([1, 3], [0, 1])
    assert target.train.without == 2


MIXED = ["0.5", "abc", "1", "1", "1", "1", "1", "1", "1", "1"]


def test_what_is_mixed_may_be_meant(tmp_path: Path, sets: tuple[str, str]) -> None:
    location = csv(tmp_path, MIXED)
    (told,) = refused(sets, location)
    assert "8 whole numbers ('1'), 1 numbers ('0.5'), 1 text ('abc')" in told
    assert "--target-kind" in told
    assert found(sets, location, kind=TargetKind.classes).names == ("0.5", "1", "abc")
    (told,) = refused(sets, location, kind=TargetKind.regression)
    assert "1 values are no finite numbers, the first is 'abc'" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,value\nx0,1\n", "has no column key or sample_id; columns: name, value"),
        ("key,a,b\nx0,1,2\n", "--target: names the column of"),
        ("key,value\nx0,1\nx0,2\ny0,1\n", "1 samples of --train have several lines"),
        ("key,value\nq,1\n", "the first one names 'q', and of the shards the first is 'x0'"),
        ("key,value\nx0,1\nx1,1\ny0,1\n", "is '1' for all samples of --train"),
        ("key,value\nx0,1.5\nx1,1.5\ny0,1.5\n", "is 1.5 for all samples of --train"),
        ("key,value\nx0,\ny0,1\n", "says nothing of the samples of --train"),
        ("key,value\nx0,1,5\n", "cannot be read"),
        ("", "cannot be read"),
        ("key,value,value\nx0,1,5\n", "has several columns value"),
        ("key,value\nx0,a;b\ny0,c\n", "no label is there that some samples of --train have"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, sets: tuple[str, str], text: str, told: str) -> None:
    path = tmp_path / "targets.csv"
    path.write_text(text)
    assert any(told in line for line in refused(sets, str(path))), refused(sets, str(path))


def test_other_files_and_columns_are_refused(tmp_path: Path, sets: tuple[str, str]) -> None:
    assert "there is no such file" in refused(sets, str(tmp_path / "absent.csv"))[0]
    assert "neither a .csv nor a .parquet" in refused(sets, str(tmp_path / "a.json"))[0]
    (tmp_path / "bad.parquet").write_text("no table")
    assert "cannot be read" in refused(sets, str(tmp_path / "bad.parquet"))[0]
    location = csv(tmp_path, MIXED)
    assert "--target: v is not a column" in refused(sets, location, column="v")[0]


def test_keys_that_both_sets_have_are_refused(tmp_path: Path) -> None:
    both = shards(tmp_path / "a", [None] * 3), shards(tmp_path / "b", [None] * 3)
    path = tmp_path / "targets.csv"
    path.write_text("key,value\n0,1.5\n1,2.5\n2,3.5\n")
    (told,) = refused(both, str(path))
    assert "3 of its lines name a sample of --train and one of --test" in told
    own = found(both, str(path), test_location=str(path))
    assert own.test.values.tolist() == [1.5, 2.5, 3.5]
    same = found((both[0], both[0]), str(path))
    assert dataclasses.asdict(same)["lines_without_sample"] == 0
