"""The sections of the page, one file each: from facts to HTML. `section.py` has what they share."""
