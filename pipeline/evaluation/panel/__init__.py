"""Measures of features without labels: `measures.py` is the panel, a file for each family."""
