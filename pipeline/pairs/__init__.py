"""Pair losses in, weights out; without an arbiter every pair weighs 1."""
