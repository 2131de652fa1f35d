"""The same bytes on Ray as in one process, and a word where nodes do not see the same folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.sources.conversion.shard_task import ShardTask
from pipeline.data.sources.convert import shard
from pipeline.errors import InterruptedRunError, UserError
from tests.data.sources.conversion.pictures import picture


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.usefixtures("local_ray")
def test_ray_and_one_process_write_the_same_bytes(tmp_path: Path) -> None:
    folder, tables = tmp_path / "folder", tmp_path / "tables"
    tables.mkdir()
    for part in range(3):
        images = [picture(part * 20 + row) for row in range(20)]
        pq.write_table(pa.table({"image": images}), tables / f"{part}.parquet")
        for row, data in enumerate(images):
            path = folder / str(part) / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if row % 9 else b"spoilt")
    for source in (folder, tables):
        found = []
        for on in ("inline", "ray"):
            out = tmp_path / f"{source.name}-{on}"
            result = shard(source, out, on=on, samples_per_shard=7, test_fraction=0.3)
            assert result.left_out == ({"not an image": 9} if source is folder else {})
            found.append(files_of(out))
        assert found[0] == found[1]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no")
    with pytest.raises(UserError, match="no readable image"):
        shard(tmp_path / "bad", tmp_path / "none", on="ray")
    assert not (tmp_path / "none").exists()


def test_a_node_that_does_not_see_the_folders_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.png").write_bytes(picture(0))
    write = ShardTask.write

    def elsewhere(task: ShardTask, *args: object, **options: object) -> object:
        hidden = (tmp_path / "src").rename(tmp_path / "not-mounted-here")
        try:
            return write(task, *args, **options)  # type: ignore[arg-type]
        finally:
            hidden.rename(tmp_path / "src")

    with monkeypatch.context() as patched:
        patched.setattr(ShardTask, "write", elsewhere)
        with pytest.raises(InterruptedRunError, match=r"src is not there on .*every node must see"):
            shard(tmp_path / "src", tmp_path / "out")
    assert shard(tmp_path / "src", tmp_path / "out").manifests[""].samples == 1
