"""Backbones, projection heads and batch normalisation over ranks."""
