"""The run's journal, its copy in MLflow, and the packaged encoder. Only this room knows MLflow."""
