"""Versions of encoders in MLflow's registry: made, found, fetched, compared.

`register.py` makes one of a package, whose code in MLflow is `served_encoder.py`; `tags.py` is what
it says of itself. `lookup.py` finds one by its URI, `resolve.py` brings its files here by way of
`download.py`, `origin.py` says which run made it, `listing.py` which there are. `gate.py` holds two
of them against each other.
"""
