"""A whole corpus through an encoder, to Parquet: on Ray Data, and taken up where it was stopped.

`driver.py` tells the story: what is to be done (`job.py`) is written down first and cut into ranges
of shards (`ranges.py`), each of which becomes a file; on Ray Data ranges are read, encoded and
written in three stages (`reading.py`, `encoding.py`, `writing.py`, put together in `stages.py`);
then the bad samples' ledger is joined and, if asked for, a map is drawn (`mapping.py`). Imports
data, registry and evaluation; `reading.py` runs in read tasks and knows nothing of torch.
"""
