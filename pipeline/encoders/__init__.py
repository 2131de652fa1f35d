"""Backbones and what stands beside or behind them; plain torch and timm.

`backbone.py` builds timm's models, whose names `timm_names.py` knows; `shape.py` measures them;
`embeddings.py` gives any kind of feature. `heads.py`, `ema.py` (the twin that gives targets) and
`batch_norm.py` (over ranks) serve all objectives. `transformers/` is what works on patches,
`autoencoders/` what decodes, `configs/` the recipe's settings of all of them, without torch.
"""
