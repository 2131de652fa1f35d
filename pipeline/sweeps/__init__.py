"""Sweeps: many trainings of one recipe, of which the best settings are kept.

A walk through it: `config.py` has the settings, `dimension.py` one dimension of a space, `space.py`
what trials of a space are, and `scores.py` what they are compared by. `check.py` finds every
mistake and `plan.py` says what a sweep would take, with nothing started. `driver.py` runs one:
`search.py` says which trial comes next, `schedulers.py` which one is stopped or exploits another,
`trial.py` is a trial within Ray Tune, and `winner.py` trains the best settings again. What has
happened lies in the sweep's folder (`folder.py`) as a ledger (`ledger.py`), from which MLflow
(`tracking.py`), the terminal (`progress.py`) and the page (`page/`) are told, and the sweep is
taken up again.
"""
