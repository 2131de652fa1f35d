"""Images as people have them become shards, on Ray or in this process, and after any kill go on.

`opening.py` tells what SRC is. Some sources list their samples before a byte of them is read: a
folder (`folder.py`) and a list of paths (`paths.py`, by `lines.py`). Others have to be read from
end to end: Parquet (`tables.py`), tars (`archives.py`), an `.npz` (`arrays.py`); `gathering.py`
puts what they hold into runs that can then be read anywhere. Either way `source.py` says what a
listing is.

`order.py` shuffles the listing, without holding it in memory, `splitting.py` cuts off a test set,
and `plan.py` keeps the outcome in the destination. Every shard is then written by itself from its
rows of the plan: `samples.py` fetches and checks, `shard_task.py` writes. `job.py` is the state in
the destination that a second start finds, `running.py` runs tasks here or on Ray, `sharding.py`
walks through all of it, and `outcome.py` is what comes of it.
"""
