"""Shards in, batches out: manifest, index, canonical streams, readers and quarantine."""
