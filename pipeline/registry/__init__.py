"""The run's journal, its copy in MLflow, and the packaged encoder. Only this room knows MLflow."""

import os

# Before MLflow is imported: it would report its use to its makers, from a thread that also undoes
# the warning filters of others. A user who has decided otherwise is left alone.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
