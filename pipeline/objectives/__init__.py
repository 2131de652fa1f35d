"""One file a method: encoded views in, one loss for each pair out.

`base.py` is the contract: `Objective`, `PairLosses`, `Capabilities`. A method's class stands at the
top (`simclr.py`), its settings in `configs/` under the same name, read without torch; what several
methods share is in `parts/`. `composite.py` runs several on one encoding.

May import: encoders and below.
"""
