"""Stand-in until the branch that brings it is merged."""


def shrunk(data: bytes, *, max_side: int, quality: int) -> bytes:
    """Stand-in."""
    return data
