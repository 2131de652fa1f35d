"""The page of a sweep: `sweep.html`, drawn while it searches and when it has ended.

`writing.py` writes it, with the sections of `page.py` in their order. All of them are drawn from
`facts.py`: plain values, taken from the trials at one moment. `texts.py` says how values and names
are written, `drawing.py` draws what pictures have in common, `axis.py` the values of one dimension
along an axis, `svg.py` makes drawings small, and `rendering.py` fills in the templates, those of
the report among them.
"""
