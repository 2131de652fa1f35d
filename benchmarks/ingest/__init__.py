"""Images per second of every way to read two views."""
