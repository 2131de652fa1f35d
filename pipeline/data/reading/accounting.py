"""Where every sample of an epoch went, stream by stream, and the ledger of the bad ones."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage

LEDGER_SCHEMA = pa.schema(
    [
        ("sample_id", pa.int64()),
        ("shard", pa.string()),
        ("key", pa.string()),
        ("offset", pa.int64()),
        ("error", pa.string()),
        ("epoch", pa.int64()),  # the first epoch that met it
    ]
)


@dataclass(kw_only=True)
class Account:
    """Counts of samples; planned = served - repeated + quarantined + dropped."""

    planned: int = 0
    served: int = 0
    repeated: int = 0
    quarantined: int = 0
    dropped: int = 0

    def __add__(self, other: Account) -> Account:
        mine, theirs = asdict(self), asdict(other)
        return Account(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A quarantined sample: which one, where it lies, what its bytes did wrong."""

    sample_id: int
    shard: str
    key: str
    offset: int
    error: str
    epoch: int


def write_ledger(location: str, entries: Iterable[LedgerEntry]) -> None:
    """Write entries as Parquet, by sample id, replacing the file in one step.

    Raises:
        OSError: it cannot be written.
    """
    rows = sorted((asdict(entry) for entry in entries), key=lambda row: row["sample_id"])
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA), written)
    storage.write_file(location, written.getvalue(), attempts=storage.PATIENT)


def read_ledger(location: str, *, at_most: int) -> tuple[list[LedgerEntry], int]:
    """The first entries of a ledger, and how many it has.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
    """
    table = pq.read_table(pa.BufferReader(storage.read_file(location)))
    return [LedgerEntry(**row) for row in table.slice(0, at_most).to_pylist()], len(table)
