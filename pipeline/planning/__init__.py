"""What a recipe would do, and every mistake in it, with nothing started.

`check.py` finds the mistakes, the cheap ones first; `model_plan.py` finds those that need the
encoder and the objective built. The `*_plan.py` files each look at one section of the recipe.
`plan.py` works out the figures that `jobs plan` shows: `length.py` the steps, `memory.py` the
bytes. `initial_weights.py` fetches what `encoder.init` names and tries it on.

`photographs.py` looks at some images, and says when reducing them once would pay; `layout.py` works
out shards, CPUs and cache for the page *Data*.

`first_recipe.py` writes what `jobs init` does: `found_data.py` looks at the images, `machine.py` at
the machine, `first_choices.py` chooses for both.

May import: runs and all rooms below it; torch, but not on the way to `check.py` and to
`first_recipe.py`.
"""
