"""Images in the cells of a Parquet file: where a column's bytes lie, and what a cell holds."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.reading.shard_cache import Range


def group_range(metadata: pq.FileMetaData, group: int, column: str) -> Range:
    """Bytes in the file of a row group's column of images, which may have several leaves."""
    found = metadata.row_group(group)
    leaves = [found.column(number) for number in range(found.num_columns)]
    mine = [leaf for leaf in leaves if leaf.path_in_schema.split(".")[0] == column]
    starts = [
        min(leaf.data_page_offset, leaf.dictionary_page_offset or leaf.data_page_offset)
        for leaf in mine
    ]
    stops = [start + leaf.total_compressed_size for start, leaf in zip(starts, mine, strict=True)]
    return min(starts), max(stops)


def column_of(file: pq.ParquetFile, group: int, column: str) -> pa.ChunkedArray | None:
    """A row group's images; None if its bytes are damaged, which reading again would not mend."""
    try:
        return file.read_row_group(group, columns=[column])[column]
    except pa.ArrowInvalid:
        return None
    except OSError as error:
        if error.errno is not None:  # the disk's or the network's, not the decoder's
            raise
        return None


def bytes_of(column: pa.ChunkedArray | None, row: int, shard: str) -> bytes:
    """Encoded bytes of a cell: binary, a struct with `bytes`, a path, or nothing."""
    value = column[row].as_py() if column is not None and row < len(column) else None
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        return storage.read_file(storage.join(storage.parent(shard), value))
    return value or b""
