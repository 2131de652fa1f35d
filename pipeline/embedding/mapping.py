"""`map.parquet`: embedded samples on a plane, with their neighbours, for people to look at."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import storage
from pipeline.embedding.neighbours import nearest_neighbours
from pipeline.evaluation.planar_map import planar_map

MAP_FILE = "map.parquet"

_NEIGHBOURS = 15
_MOST_SAMPLES = 100_000
_MOST_BYTES = 1 << 30  # of their vectors as float32
_MOST_FILES = 1024
_FILES_AT_A_TIME = 8
_SEED = 0

_NEIGHBOURS_TYPE = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])


def mapped_samples(samples: int, *, width: int) -> int:
    """How many of so many samples a map has: 100,000 at most, and 1 GiB of vectors."""
    return min(samples, _MOST_SAMPLES, _MOST_BYTES // (4 * width))


def draw_map(destination: str, files: Sequence[str], *, samples: int, width: int) -> None:
    """Write `map.parquet`: the files' columns but for vectors, and `x`, `y` and `neighbors`.

    `x`, `y` are of `planar_map`; `neighbors` has `ids`, rows of this file counted from 0, and their
    cosine `distances`, nearest first: the form that embedding-atlas takes. Of more samples than
    `mapped_samples` allows a random part is taken, from 1024 files at most.

    Args:
        destination: folder or URI.
        files: with the vectors.
        samples: in them.
        width: of a vector.

    Raises:
        OSError: the destination cannot be read or written.
    """
    rows = _chosen(files, samples, mapped_samples(samples, width=width))
    vectors = _vectors_of(rows, width)
    jobs = len(os.sched_getaffinity(0))
    places = planar_map(vectors, seed=_SEED, jobs=jobs)
    found, distances = nearest_neighbours(vectors, count=_NEIGHBOURS, seed=_SEED, jobs=jobs)
    neighbours = pa.StructArray.from_arrays(
        [_lists(found), _lists(distances)], fields=list(_NEIGHBOURS_TYPE)
    )
    table = rows.drop_columns(["vector"])
    for name, column in (
        ("x", pa.array(np.ascontiguousarray(places[:, 0]))),
        ("y", pa.array(np.ascontiguousarray(places[:, 1]))),
        ("neighbors", neighbours),
    ):
        table = table.append_column(name, column)
    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd")
    location = storage.join(destination, MAP_FILE)
    storage.write_file(location, written.getvalue(), attempts=storage.PATIENT)


def _chosen(files: Sequence[str], samples: int, count: int) -> pa.Table:
    """Rows of the files, in their order: all of them, or about so many at random."""
    quota = None
    if count < samples:
        draw = np.random.default_rng(_SEED)
        kept = np.sort(draw.permutation(len(files))[:_MOST_FILES])
        files = [files[number] for number in kept]
        quota = -(-count // len(files))
    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
        return pa.concat_tables(pool.map(partial(_rows_of, quota=quota), files))[:count]


def _rows_of(file: str, *, quota: int | None) -> pa.Table:
    table = pq.read_table(pa.BufferReader(storage.read_file(file)))
    if quota is None or len(table) <= quota:
        return table
    draw = np.random.default_rng([_SEED, table["sample_id"][0].as_py()])
    return table.take(np.sort(draw.permutation(len(table))[:quota]))


def _vectors_of(rows: pa.Table, width: int) -> npt.NDArray[np.float32]:
    """(N, D) float32, in memory once; file by file, since together they may be beyond an array."""
    vectors = np.empty((len(rows), width), dtype=np.float32)
    done = 0
    for chunk in rows["vector"].chunks:
        vectors[done : done + len(chunk)] = chunk.flatten().to_numpy().reshape(-1, width)
        done += len(chunk)
    return vectors


def _lists(values: npt.NDArray[np.generic]) -> pa.ListArray:
    """(N, k) as N lists."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
