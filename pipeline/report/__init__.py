"""The page about a run: `report.html`, and the list of bad pairs beside it.

`writing.py` writes it: `gathering/` finds the facts in the run's folder, `facts.py` has their types
(plain values and arrays), `drawing/page.py` lists the sections, and `sections/` has one file for
each, with its template in `templates/`. `tracked_report.py` brings the files into MLflow.

A new section: its facts in `facts.py`, found in `gathering/`, drawn by a file in `sections/`,
listed in `drawing/page.py`. May import: planning and all rooms below it; no Ray.
"""
