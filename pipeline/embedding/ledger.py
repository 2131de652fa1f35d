"""The ledgers of ranges made one, when all ranges are done."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.data.reading.accounting import LEDGER_SCHEMA
from pipeline.data.stored_folder import delete_folder
from pipeline.embedding.writing import BAD_FOLDER

LEDGER_FILE = "ledger.parquet"


def join_ledgers(destination: str) -> int:
    """Write `ledger.parquet` of what ranges have put down, beside what it holds already.

    Its parts stay until `delete_parts`, so that this may be done again after an interruption.

    Returns:
        Bad samples in it.

    Raises:
        OSError: the destination cannot be read or written.
    """
    location = storage.join(destination, LEDGER_FILE)
    parts = [_read(part) for part in _parts(destination)]
    if storage.exists(location):
        parts.append(_read(location))
    rows = pa.concat_tables([LEDGER_SCHEMA.empty_table(), *parts]).sort_by("sample_id")
    ids = rows["sample_id"].to_numpy()
    # A range whose file somebody deleted was done again, and is in both.
    rows = rows.filter(pa.array(np.diff(ids, prepend=-1) != 0))
    written = io.BytesIO()
    pq.write_table(rows, written)
    storage.write_file(location, written.getvalue(), attempts=storage.PATIENT)
    return len(rows)


def delete_parts(destination: str) -> None:
    """Delete the ledgers of ranges, which have been joined."""
    if _parts(destination):
        delete_folder(storage.join(destination, BAD_FOLDER))


def _parts(destination: str) -> list[str]:
    try:
        files = storage.list_files(storage.join(destination, BAD_FOLDER))
    except FileNotFoundError:
        return []
    return [file for file in files if storage.file_name(file).endswith(".parquet")]


def _read(location: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(storage.read_file(location)), schema=LEDGER_SCHEMA)
