"""Pair losses in, weights out; without a miner and an arbiter every pair weighs 1.

`base.py` is the contract of miners and arbiters, `dbpm.py` and `uota.py` are ours, `history.py` is
the memory of every sample's losses, `weighting.py` makes a step's weights, `worst.py` judges the
whole memory for the list of bad pairs. `config.py` is the recipe's `pairs` section, read without
torch.
"""
