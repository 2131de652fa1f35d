"""What `jobs shard --keep` kept of samples, by sample id."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.data import storage
from pipeline.data.order.corpus import Corpus
from pipeline.data.sources.index import kept_column, load_index
from pipeline.data.sources.manifest import Ids


def kept_fields(corpus: Corpus) -> list[pa.Field]:
    """Columns that any of the manifests keeps: strings, of the names they have in an index."""
    names = dict.fromkeys(name for manifest in corpus.manifests for name in manifest.kept)
    return [pa.field(kept_column(name), pa.string()) for name in names]


def kept_of(corpus: Corpus, sample_ids: Ids) -> list[pa.Array]:
    """Values of `kept_fields` of samples; each (n,), null where nothing was kept.

    Args:
        corpus: the data.
        sample_ids: (n,) int64.

    Raises:
        OSError: an index cannot be read.
    """
    names = dict.fromkeys(name for manifest in corpus.manifests for name in manifest.kept)
    if not names:
        return []
    values = {name: np.full(len(sample_ids), None, dtype=object) for name in names}
    entries, rows = corpus.locate(sample_ids)
    for entry in np.unique(entries).tolist():
        manifest, root, shard = corpus.shard(entry)
        index = load_index(storage.join(root, shard.index_path))
        places = np.flatnonzero(entries == entry)
        for name in manifest.kept:
            values[name][places] = index.kept(name).take(pa.array(rows[places])).to_pylist()
    return [pa.array(column, pa.string()) for column in values.values()]


def with_kept(table: pa.Table, corpus: Corpus) -> pa.Table:
    """A table with a column `sample_id`, and `kept_fields` after its own columns.

    Raises:
        OSError: an index cannot be read.
    """
    columns = kept_of(corpus, table["sample_id"].to_numpy())
    for field, column in zip(kept_fields(corpus), columns, strict=True):
        table = table.append_column(field, column)
    return table
