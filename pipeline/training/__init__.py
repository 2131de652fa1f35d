"""The learner in plain PyTorch, and Ray Train around it."""
