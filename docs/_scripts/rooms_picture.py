"""Draws docs/rooms.svg: the rooms on the floors of the layers contract, and what imports what.

    python -m docs._scripts.rooms_picture

A line leaves each room to the right and falls; where it meets the floor of a room that is imported
there is a dot, as large as there are many imports. So no two arrows can lie on each other.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "rooms.svg"
_CONTRACT = "Rooms import downwards only"

_LEFT, _TOP, _BOX_WIDTH, _BOX_HEIGHT, _FLOOR_HEIGHT = 20, 20, 184, 40, 56
_FIRST_LANE, _LANE_WIDTH = 250, 50
_OUT, _IN = -13, 9  # where a room's line leaves, and where others' arrive, off the box's middle
_NAMES_HEIGHT = 92  # of what importers are called, under their lanes
_SMALLEST_DOT, _LARGEST_DOT = 8.0, 15.0

_STYLE = """\
text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; fill: #475569; }
.name { font-size: 14px; font-weight: bold; fill: #0f172a; }
.title { font-size: 17px; font-weight: bold; fill: #0f172a; }
.card { fill: #ffffff; }
.band { fill: #f1f5f9; }
.box { fill: #ffffff; stroke: #475569; stroke-width: 1.5; }
.lane { fill: none; stroke-width: 1.6; }
.guide { stroke: #94a3b8; stroke-width: 1; fill: none; marker-end: url(#tip); }
.thread { stroke: #94a3b8; stroke-width: 1; stroke-dasharray: 1 4; }
.tip { fill: #94a3b8; }
.count { font-size: 11px; font-weight: bold; text-anchor: middle; fill: #ffffff; }
.c0 { stroke: #0369a1; } circle.c0 { fill: #0369a1; }
.c1 { stroke: #b45309; } circle.c1 { fill: #b45309; }
.c2 { stroke: #15803d; } circle.c2 { fill: #15803d; }
.c3 { stroke: #7e22ce; } circle.c3 { fill: #7e22ce; }
.c4 { stroke: #be123c; } circle.c4 { fill: #be123c; }
@media (prefers-color-scheme: dark) {
text { fill: #cbd5e1; }
.name, .title { fill: #f8fafc; }
.card { fill: #0f172a; }
.band { fill: #1e293b; }
.box { fill: #0f172a; stroke: #cbd5e1; }
.guide, .thread { stroke: #64748b; }
.tip { fill: #64748b; }
.count { fill: #0f172a; }
.c0 { stroke: #7dd3fc; } circle.c0 { fill: #7dd3fc; }
.c1 { stroke: #fdba74; } circle.c1 { fill: #fdba74; }
.c2 { stroke: #86efac; } circle.c2 { fill: #86efac; }
.c3 { stroke: #d8b4fe; } circle.c3 { fill: #d8b4fe; }
.c4 { stroke: #fda4af; } circle.c4 { fill: #fda4af; }
}"""
_COLOURS = 5


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """What is drawn."""

    floors: tuple[tuple[str, ...], ...]
    """Dotted names of the rooms, the highest floor first."""
    files: Mapping[str, int]
    """Modules of each."""
    imports: Mapping[tuple[str, str], int]
    """By importing and imported room: pairs of modules, one of which imports the other."""

    @property
    def names(self) -> list[str]:
        """Of the rooms, the highest first."""
        return [name for floor in self.floors for name in floor]


def rooms() -> Rooms:
    """The rooms as they are now."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (c["layers"] for c in config["contracts"] if c["name"] == _CONTRACT)
    floors = tuple(tuple(part.strip() for part in layer.split("|")) for layer in layers)
    names = [name for floor in floors for name in floor]
    graph = grimp.build_graph(*config["root_packages"], cache_dir=None)
    files: Counter[str] = Counter()
    imports: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        room = _room_of(module, names)
        if room is None:
            continue
        files[room] += 1
        for imported in graph.find_modules_directly_imported_by(module):
            other = _room_of(imported, names)
            if other is not None and other != room:
                imports[room, other] += 1
    return Rooms(floors=floors, files=files, imports=imports)


def _room_of(module: str, names: list[str]) -> str | None:
    """None of a module beside the rooms, such as the recipe."""
    return next((n for n in names if module == n or module.startswith(f"{n}.")), None)


def picture(found: Rooms) -> str:
    """The picture as SVG."""
    names = found.names
    width = _FIRST_LANE + (len(names) - 2) * _LANE_WIDTH + 60
    height = _TOP + len(names) * _FLOOR_HEIGHT + _NAMES_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Rooms of the package, and which imports which</title>",
        f"<style>\n{_STYLE}\n</style>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        'markerHeight="8" orient="auto"><path class="tip" d="M0 0 L10 5 L0 10 z"/></marker></defs>',
        f'<rect class="card" width="{width}" height="{height}" rx="8"/>',
        *_bands(found, width),
        *_legend(width),
        *(part for name in names for part in _arrivals(found, name)),
        *(part for name in names for part in _lane(found, name)),
        *(part for name in names for part in _dots(found, name)),
        *(part for name in names for part in _box(found, name)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _middle(found: Rooms, name: str) -> int:
    return _TOP + found.names.index(name) * _FLOOR_HEIGHT + _FLOOR_HEIGHT // 2


def _lane_of(found: Rooms, name: str) -> int:
    return _FIRST_LANE + found.names.index(name) * _LANE_WIDTH


def _colour(found: Rooms, name: str) -> str:
    return f"c{found.names.index(name) % _COLOURS}"


def _bands(found: Rooms, width: int) -> Iterator[str]:
    """Every other floor is shaded; rooms of one floor share a band."""
    row = count()
    for number, floor in enumerate(found.floors):
        first = next(row)
        for _ in floor[1:]:
            next(row)
        if number % 2:
            top = _TOP + first * _FLOOR_HEIGHT
            yield (
                f'<rect class="band" x="8" y="{top}" width="{width - 16}" '
                f'height="{len(floor) * _FLOOR_HEIGHT}" rx="6"/>'
            )


def _legend(width: int) -> Iterator[str]:
    lines = (
        "Rooms import downwards only",
        "A line falls from each room; a dot on a floor counts what is imported from it.",
    )
    for number, text in enumerate(lines):
        kind = ' class="title"' if not number else ""
        y = _TOP + 22 + 20 * number
        yield f'<text{kind} x="{width - 24}" y="{y}" text-anchor="end">{text}</text>'


def _arrivals(found: Rooms, name: str) -> Iterator[str]:
    """The line on which a room's importers arrive at its box."""
    importers = [a for a, b in found.imports if b == name]
    if importers:
        y = _middle(found, name) + _IN
        furthest = max(_lane_of(found, importer) for importer in importers)
        yield f'<path class="guide" d="M{furthest} {y} H{_LEFT + _BOX_WIDTH + 1}"/>'


def _lane(found: Rooms, name: str) -> Iterator[str]:
    """The line that leaves a room and falls to the lowest floor that it imports, and its name."""
    imported = [b for a, b in found.imports if a == name]
    if not imported:
        return
    x, y = _lane_of(found, name), _middle(found, name) + _OUT
    end = max(_middle(found, other) for other in imported) + _IN
    foot = _TOP + len(found.names) * _FLOOR_HEIGHT
    yield f'<line class="thread" x1="{x}" y1="{end}" x2="{x}" y2="{foot}"/>'
    start = _LEFT + _BOX_WIDTH
    yield (
        f'<path class="lane {_colour(found, name)}" '
        f'd="M{start} {y} H{x - 8} Q{x} {y} {x} {y + 8} V{end}"/>'
    )
    yield (
        f'<text x="{x}" y="{foot + 14}" text-anchor="end" '
        f'transform="rotate(-50 {x} {foot + 14})">{_short(name)}</text>'
    )


def _dots(found: Rooms, name: str) -> Iterator[str]:
    x = _lane_of(found, name)
    for (importer, imported), number in sorted(found.imports.items()):
        if importer == name:
            y = _middle(found, imported) + _IN
            radius = min(_LARGEST_DOT, _SMALLEST_DOT + 0.9 * math.sqrt(number - 1))
            yield f'<circle class="{_colour(found, name)}" cx="{x}" cy="{y}" r="{radius:.1f}"/>'
            yield f'<text class="count" x="{x}" y="{y + 4}">{number}</text>'


def _box(found: Rooms, name: str) -> Iterator[str]:
    y = _middle(found, name)
    files = found.files[name]
    yield (
        f'<rect class="box" x="{_LEFT}" y="{y - _BOX_HEIGHT // 2}" width="{_BOX_WIDTH}" '
        f'height="{_BOX_HEIGHT}" rx="6"/>'
    )
    yield f'<text class="name" x="{_LEFT + 12}" y="{y + 5}">{_short(name)}</text>'
    noun = "file" if files == 1 else "files"
    yield (
        f'<text x="{_LEFT + _BOX_WIDTH - 12}" y="{y + 5}" text-anchor="end">{files} {noun}</text>'
    )


def _short(name: str) -> str:
    return name.removeprefix("pipeline.")


if __name__ == "__main__":
    PICTURE.write_text(picture(rooms()))
