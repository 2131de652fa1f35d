"""The recipe's settings of objectives, a file for each; read without torch.

`base.py` is what all share, `single.py` lists the kinds that a recipe may name.
"""
