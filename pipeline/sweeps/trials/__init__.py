"""The search itself: trials through Ray Tune, each of them real runs through Ray Train.

`tuning.py` runs Tune in a thread, `roster.py` hands it trials and writes down how they end,
`search.py` says which configuration comes next and `schedulers.py` which trial is stopped or
exploits another. `trial.py` is the actor of a trial and `seed_run.py` one of its runs. `room.py`
says how many fit at a time, of what `cores.py` says they hold, and `tidying.py` deletes what
nobody will take up.
"""
