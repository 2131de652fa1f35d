"""The run's journal, its copy in MLflow, and the packaged encoder. Only this room knows MLflow.

`journal.py` is the truth of a run's metrics (`line_log.py` writes lines to a disk or a store);
`tracking.py` copies it into MLflow, which `tracking_server.py` finds; `sweep_runs.py` does so for
sweeps. `packages/` is the encoder as files, `versions/` what the registry has of them;
`evaluate.py` scores any of them, and `promotion.py` moves an alias. `config.py` is the recipe's
`tracking` section.
"""

import os

# Before MLflow is imported: it would report its use to its makers, from a thread that also undoes
# the warning filters of others. A user who has decided otherwise is left alone.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
