"""Sweeps: many trainings of one recipe, of which the best settings are kept.

A walk through it: `driver.py` is the story of a sweep, `plan.py` says what one would take. What is
tried stands in `spaces/`, the search through Ray Tune in `trials/`. What has happened lies in the
sweep's folder (`folder.py`) as a ledger (`ledger.py`), from which it is taken up again and from
which MLflow (`tracking.py`), the terminal (`progress.py`) and the page (`page/`) are told.
`outcome.py` counts and ranks, `conclusion.py` ends a sweep, and `winner.py` trains the best
settings again. `identity.py` says which sweep it is, `rate.py` how fast its trials would be.
"""
