"""The facts of a page, found in a run's folder: `run_facts.py` calls all the others.

`bad_pairs.py` judges all samples by the newest checkpoint's memory, `patches.py` asks the encoder
how similar patches are, `autoencoder.py` asks it for reconstructions, `pictures.py` has what these
share.
"""
