"""Which sample comes when: pure functions of seed, epoch and data, without a worker in them.

`corpus.py` makes one sequence of ids of all manifests, `exclusion.py` leaves some out, `streams.py`
cuts the rest into streams, `shuffle.py` orders a stream's epoch, `slices.py` cuts that into read
tasks. `workers.py` says how many workers may train on so many streams, `stream_problems.py` what is
wrong with a cut, `export.py` writes an epoch's order for `plan --order`.
"""
