"""The names of a sample's images, as `--images left,right` gives them."""

from __future__ import annotations

from pipeline.errors import Problem, UserError

_TAKEN = ("kept",)  # what index columns of kept values begin with


def part_names(images: str | None) -> tuple[str, ...]:
    """Names of a sample's images; () if it is one.

    Args:
        images: what the user said: one name, several with commas between, or nothing.

    Raises:
        UserError: a name is empty, taken, or there twice, be it with other capitals.
    """
    names = tuple((images or "").split(","))
    if len(names) == 1:
        return ()
    wrong = [
        f"{images}: {fault}"
        for fault in (
            "a name between commas is empty" * ("" in names),
            "a name is there twice" * (len({name.lower() for name in names}) < len(names)),
            *(f"{name} cannot be a name" for name in names if name in _TAKEN),
        )
        if fault
    ]
    if wrong:
        raise UserError(Problem("--images", message) for message in wrong)
    return names
