"""What a sweep is worth: of trials, pruning, seeds in pairs and scores without labels."""
