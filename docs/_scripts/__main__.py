"""Writes all files that are made of others; with --check it says which are not current."""

from __future__ import annotations

import sys
from pathlib import Path

from docs._scripts import layout_table, recipe_reference, rooms_picture
from pipeline.json_schema import schema_as_text

ROOT = Path(__file__).parents[2]


def generated() -> dict[Path, str]:
    """The files, and what they are to hold."""
    return {
        ROOT / "jobs" / "recipes" / "recipe.schema.json": schema_as_text(),
        recipe_reference.PAGE: recipe_reference.page(),
        layout_table.PAGE: layout_table.page(),
        rooms_picture.PICTURE: rooms_picture.picture(rooms_picture.rooms()),
    }


def main(arguments: list[str]) -> int:
    """Write, or check; the exit code."""
    files = generated()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" not in arguments:
        for path in stale:
            path.write_text(files[path])
    for path in stale:
        done = "is not current: run `make reference`" if "--check" in arguments else "written"
        print(f"{path.relative_to(ROOT)}: {done}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
