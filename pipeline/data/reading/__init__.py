"""From ids to batches, the same ones for every way of reading.

`shard_reader.py` reads bytes by id, remote ones through `shard_cache.py`, those of Parquet by
`parquet_cells.py`. `slice_reader.py` is a read task: read, decode, crop. `ingest.py` runs tasks in
threads, `ray_ingest.py` as Ray Data tasks that `read_ahead.py` holds back. `assemble.py` makes
batches of their rows and sets bad samples aside; `cursor.py` is where a stream stands,
`accounting.py` the ledger and the sums. `first_views.py` reads a few samples for pictures.
"""
