"""What works on patches of a transformer: positions, visible tokens, predictor, neighbours."""
