"""What is to be told of samples: the labels of their shards, or a table beside them.

`target.py` is the result, `table.py` reads a table and finds its samples, `kinds.py` says whether
its values are classes, labels or numbers, `choosing.py` puts it together.
"""
