"""Pair losses in, weights out; without a miner and an arbiter every pair weighs 1."""
