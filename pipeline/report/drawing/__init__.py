"""How a page is put together: its list of sections (`page.py`), charts, pictures, contact sheet."""
