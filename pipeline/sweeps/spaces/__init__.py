"""What a sweep tries: its settings, what trials of its space are, and every mistake in it.

`config.py` is the recipe's `sweep` section, with the dimensions of `dimension.py` and the scores of
`scores.py`. `space.py` draws configurations and puts them into recipes, `recipes.py` makes those of
trials and of the winner. `reading.py` puts a space's file into a recipe, `check.py` finds what is
wrong, `rungs.py` says where trials are decided on. Nothing here imports Ray.
"""
