"""Groups stay on one side of a split, however they are told."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.sources.conversion.splitting import Counts, Split
from pipeline.data.sources.convert import shard
from pipeline.errors import UserError
from tests.data.sources.conversion.pictures import contents, picture

pytestmark = pytest.mark.fast

PATIENTS, EACH = 12, 5


def folder(root: Path) -> Path:
    for number in range(PATIENTS * EACH):
        path = root / f"ward{number % 3}" / f"p{number // EACH:02d}" / f"scan-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return root


def table(path: Path) -> Path:
    numbers = range(PATIENTS * EACH)
    images = [picture(number) for number in numbers]
    patients = [number // EACH for number in numbers]
    pq.write_table(pa.table({"image": images, "patient": patients}), path)
    return path


def sides(out: Path) -> tuple[set[str], set[str]]:
    test, train = (contents(str(out / name)) for name in ("test", "train"))
    assert len(test) + len(train) == PATIENTS * EACH
    assert not set(test) & set(train)
    return set(test), set(train)


@pytest.mark.parametrize("split_by", ["2", r"p(\d+)/", r"/p\d\d"])
def test_a_level_or_an_expression_keeps_patients_together(tmp_path: Path, split_by: str) -> None:
    shard(folder(tmp_path / "src"), tmp_path / "out", test_fraction=0.25, split_by=split_by)
    test, train = sides(tmp_path / "out")
    assert len(test) == 3 * EACH
    assert not {key.split("/")[1] for key in test} & {key.split("/")[1] for key in train}


def test_a_column_keeps_patients_together(tmp_path: Path) -> None:
    source = table(tmp_path / "t.parquet")
    options = {"test_fraction": 0.25, "split_by": "patient", "keep": ("patient",)}
    shard(source, tmp_path / "out", **options)
    test, train = (contents(str(tmp_path / "out" / name)) for name in ("test", "train"))
    assert len(test) == 3 * EACH
    assert not {s.kept for s in test.values()} & {s.kept for s in train.values()}
    shard(source, tmp_path / "other", seed=1, **options)
    assert set(contents(str(tmp_path / "other" / "test"))) != set(test)


def test_what_tells_no_group_is_refused_or_told(tmp_path: Path) -> None:
    source = folder(tmp_path / "src")
    (source / "loose.png").write_bytes(picture(999))
    result = shard(source, tmp_path / "out", test_fraction=0.25, split_by="1")
    assert result.notes == ["1 samples are of no group; each counts as one"]
    for split_by, says in (
        ("patient", "no column of the source"),
        ("0", "counted from 1"),
        ("(", "no regular expression"),
    ):
        with pytest.raises(UserError, match=f"--split-by.*{says}"):
            shard(source, tmp_path / "bad", test_fraction=0.25, split_by=split_by)
    with pytest.raises(UserError, match="--split-by: is of no use without --test-fraction"):
        shard(source, tmp_path / "bad", split_by="1")
    with pytest.raises(UserError, match=r"--test-fraction: 0\.5 of one group leaves"):
        shard(table(tmp_path / "t.parquet"), tmp_path / "bad", test_fraction=0.5, split_by="^0")
    assert not (tmp_path / "bad").exists()


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=30),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
)
def test_a_split_by_groups_is_as_near_to_the_fraction_as_a_prefix_of_groups_comes(
    sizes: list[int], fraction: float, seed: int
) -> None:
    groups = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    if not 0 < round(fraction * len(groups)) < len(groups):
        return
    batch = pa.record_batch({"group": groups, "number": range(len(groups))})
    counts = Counts()
    (rows,) = counts.counting(iter([batch]))
    mask = Split(counts, fraction=fraction, seed=seed, grouped=True).of(
        pa.Table.from_batches([rows])
    )
    chosen = {group for group, test in zip(groups, mask, strict=True) if test}
    assert 0 < len(chosen) < len(sizes)
    assert not chosen & {group for group, test in zip(groups, mask, strict=True) if not test}
    assert abs(int(mask.sum()) - fraction * len(groups)) <= max(sizes)
