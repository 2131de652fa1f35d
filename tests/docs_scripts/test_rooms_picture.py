"""docs/rooms.svg shows the rooms, files and imports that there are."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from docs._scripts.rooms_picture import PICTURE, ROOT, Rooms, picture, rooms

pytestmark = pytest.mark.fast

FOUND = rooms()
SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_current() -> None:
    assert PICTURE.read_text() == picture(FOUND), "run `make reference`"


def test_every_package_is_a_room() -> None:
    packages = {
        f"pipeline.{path.parent.name}" for path in (ROOT / "pipeline").glob("*/__init__.py")
    }
    assert set(FOUND.names) == packages | {"pipeline.collectives", "jobs"}
    assert FOUND.files["pipeline.views"] == len(list((ROOT / "pipeline" / "views").rglob("*.py")))


def test_imports_go_downwards() -> None:
    assert FOUND.imports
    assert all(FOUND.names.index(a) < FOUND.names.index(b) for a, b in FOUND.imports)


@pytest.mark.parametrize(
    "found",
    [
        FOUND,
        Rooms(
            floors=(("jobs",), ("pipeline.sweeps", "pipeline.curation"), ("pipeline.data",)),
            files={"jobs": 1, "pipeline.sweeps": 200, "pipeline.curation": 3, "pipeline.data": 4},
            imports={("jobs", "pipeline.data"): 1, ("pipeline.sweeps", "pipeline.data"): 900},
        ),
    ],
    ids=["now", "two rooms on a floor"],
)
def test_no_dot_lies_on_another_and_each_has_its_number(found: Rooms) -> None:
    root = ElementTree.fromstring(picture(found))
    dots = [
        tuple(float(dot.attrib[k]) for k in ("cx", "cy", "r")) for dot in root.iter(f"{SVG}circle")
    ]
    assert len(dots) == len(found.imports)
    for (x, y, r), (other_x, other_y, other_r) in combinations(dots, 2):
        assert (x - other_x) ** 2 + (y - other_y) ** 2 > (r + other_r) ** 2
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    counts = sorted(int(text) for text in texts if text.isdigit())
    assert counts == sorted(found.imports.values())
    assert sum(bool(re.fullmatch(r"\d+ files?", text)) for text in texts) == len(found.names)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert all(x > r and x + r < width and y > r and y + r < height for x, y, r in dots)
