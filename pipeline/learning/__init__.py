"""What is learnt, in plain PyTorch: no Ray, no MLflow, and no folder of a run.

`learner.py` puts encoder, objective and the weighting of pairs together, and says what a batch
costs; `optimization.py` takes a step on it: optimizer, gradient, twins. Around them:
`schedules.py` has rates and decay, `feed.py` makes a learner's batch of an assembled one,
`gradient_cache.py` bounds the memory of a large one, `finite.py` notices what is not a number,
`step_metrics.py` says how a step went, and `config.py` is the recipe's `train` section. Start with
`build_learner`.

May import: evaluation and all rooms below it, and registry; torch.
"""
