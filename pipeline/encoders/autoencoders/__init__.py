"""Codes and what is made of them: stochastic head, decoders, likelihoods, noise by sample."""
