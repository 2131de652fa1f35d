"""Whatever the user has becomes shards, a manifest and an index beside each shard.

`convert.py` is the door: images become shards by `conversion/`, one shard at a time by
`shard_writer.py`; shards that somebody else made are read once by `foreign_shards.py` and listed by
`indexing.py`. `parquet.py` and `npz.py` tell which columns and arrays are images, `parts.py` how a
sample's images are called, `shrinking.py` makes photographs smaller. `manifest.py` and `index.py`
are the files themselves; `verify.py` compares them with the shards.
"""
