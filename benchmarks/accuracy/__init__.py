"""The study of accuracies: what encoders each objective makes, beside lightly's same method."""
