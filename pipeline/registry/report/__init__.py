"""The report of a run: one HTML page that needs nothing else, drawn from plain values.

Each section is a file with a function from `RunFacts` to a `Section`, or to None if it does not
concern the run; `page.SECTIONS` lists them.
"""
