"""Self-supervised objectives: encoded views in, one loss for each pair out; one file each."""
