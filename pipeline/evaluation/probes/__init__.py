"""Probes on labelled data: `scoring.py` runs them all; one file each, and intervals."""
