"""The file that names excluded samples."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import storage
from pipeline.data.order.corpus import SOURCE_STRIDE
from pipeline.data.order.exclusion import NOTHING, Exclusion, load_exclusion
from pipeline.errors import UserError

pytestmark = pytest.mark.fast


@pytest.fixture(params=["parquet", "text"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The ids 7, 2, 7 and one of a second manifest, beside another column in Parquet."""
    ids = [7, 2, 7, SOURCE_STRIDE + 1]
    path = tmp_path / f"bad.{request.param}"
    if request.param == "text":
        path.write_text("\n".join(map(str, ids)) + "\n\n")
    else:
        pq.write_table(pa.table({"verdict": ["a", "b", "c", "d"], "sample_id": ids}), path)
    return path


def test_a_file_names_samples_by_content_not_by_place(file: Path, tmp_path: Path) -> None:
    excluded = load_exclusion(str(file))
    assert excluded.ids.tolist() == [2, 7, SOURCE_STRIDE + 1]
    assert load_exclusion(str(file)) is excluded
    assert excluded == Exclusion([SOURCE_STRIDE + 1, 7, 2])
    assert hash(excluded) == hash(Exclusion([SOURCE_STRIDE + 1, 7, 2]))
    assert excluded != Exclusion([2, 7])
    (tmp_path / "copy").write_bytes(excluded.to_parquet())
    assert load_exclusion(str(tmp_path / "copy")) == excluded
    assert excluded.unknown((8, 2)).tolist() == []
    assert excluded.unknown((7,)).tolist() == [7, SOURCE_STRIDE + 1]
    assert load_exclusion(None) == Exclusion([]) == NOTHING


def test_a_store_holds_the_file_as_a_disk_does(file: Path, object_store: str) -> None:
    location = f"s3://data/{file.name}?{object_store}"
    storage.write_file(location, file.read_bytes())
    assert load_exclusion(location) == load_exclusion(str(file))
    with pytest.raises(UserError, match=r"data.exclude: s3://data/none.*: there is no such file"):
        load_exclusion(f"s3://data/none?{object_store}")


def test_it_travels_without_its_ids_and_refuses_a_file_that_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("\n".join(map(str, range(0, 200_000, 2))))
    excluded = load_exclusion(str(path))
    sent = pickle.dumps(excluded)
    assert len(sent) < 1000
    assert pickle.loads(sent) == excluded
    np.testing.assert_array_equal(pickle.loads(sent).ids, excluded.ids)
    assert pickle.loads(pickle.dumps(Exclusion([3, 1]))).ids.tolist() == [1, 3]

    path.write_text("1\n2")
    sent = pickle.dumps(load_exclusion(str(path)))
    path.write_text("1\n22")
    with pytest.raises(UserError, match=r"bad.txt: has changed since the run began"):
        len(pickle.loads(sent))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no such file"),
        ("1\ntwo\n3", r"line 2 is 'two', which is no id; allowed: Parquet with a column sample_id"),
        ("1\n\n-3", "line 3 is '-3'"),
        ("1.0", "line 1 is '1.0'"),
        (str(1 << 63), "line 1 is '9223372036854775808'"),
        ({"id": [1]}, "has no column sample_id; allowed"),
        (pa.table([[1], [1]], names=["sample_id"] * 2), "has 2 columns sample_id; allowed"),
        ({"sample_id": ["1"]}, "its column sample_id is of string"),
        ({"sample_id": [1, None]}, "its column sample_id has 1 nulls"),
        ("PAR1 and no more", "is not a Parquet file"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: object, told: str) -> None:
    path = tmp_path / "file"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        pq.write_table(content if isinstance(content, pa.Table) else pa.table(content), path)
    with pytest.raises(UserError, match=rf"data.exclude: {path}: {told}"):
        load_exclusion(str(path))
