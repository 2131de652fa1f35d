"""What features are good for beside the probes: one file a task, each figure with its interval.

`running.py` runs what is asked for on the features of an encoder and of its floor. `retrieval.py`,
`clustering.py`, `few_shot.py` and `per_class.py` need classes, `multilabel.py` and `regression.py`
other targets. `estimate.py` has the intervals, `confusion_picture.py` draws.
"""
