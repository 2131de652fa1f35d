"""Shards in, batches out; no torch anywhere, since read tasks run this.

- `sources/` images, tables and other people's shards become shards with a manifest and indexes;
- `order/` which sample comes when: streams, the shuffle, what is left out, slices of it;
- `reading/` bytes by id, decoded and cropped, assembled to batches: by Ray Data or by threads.

At the top stands what all three need: `config.py` (the recipe's `data` section), `decode.py` (bytes
to an image, or why not), `storage.py` and its relatives (files on a disk or in a store),
`ray_session.py`.

May import: `pipeline.views` but for its torch file; Ray.
"""
