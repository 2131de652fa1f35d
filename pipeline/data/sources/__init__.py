"""Whatever the user has becomes shards, a manifest and an index beside each shard.

`opening.py` tells what SRC is: an image folder (`folder.py`), an `.npz` (`npz.py`) or Parquet
(`parquet.py`), each a `source.py:Source`. `sharding.py` shuffles and checks, `shard_writer.py`
writes. Shards that somebody else made are read once by `foreign_shards.py` and listed by
`indexing.py`; `parts.py` has the names of a sample's images. `manifest.py` and `index.py` are the
files themselves; `verify.py` compares them with the shards.
"""
