"""What an encoder is worth, with labels and without.

`evaluation.py` is what `evaluate` does; `targets/` say what is to be told of samples, `tasks/` what
features tell of it beside the probes.
`features.py` encodes images; `probes/` fits and scores kNN, linear and naive Bayes, with intervals;
`panel/` measures features without labels. `probe_set.py` loads what they look at, `snapshot.py`
does it while a run trains. `collapse.py` raises the alarm, `pair_signs.py` says how pairs of a step
agree. `config.py` is the recipe's `evaluate` section.
"""
