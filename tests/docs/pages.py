"""The README and the pages of docs/, taken apart: blocks with their marks, links, headings.

A mark is an HTML comment in the line before a block:

    <!-- run: NAME -->               blocks of one name on a page run in order, in one folder
    <!-- run: NAME after tour -->    in the folder where the README's tour has run
    <!-- not run: REASON -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_scripts" not in p.parts),
]
RUN = ("bash", "sh", "python")
"""Languages whose blocks are run, or say why not."""

_MARK = re.compile(r"<!-- (?:run: (?P<name>\w[\w -]*?)(?P<after> after tour)?|not run: .+) -->")
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>[\w-]*)$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block."""

    page: Path
    line: int  # of its first line, counted from 1
    language: str
    code: str
    mark: str  # the line before it, if that is a mark

    @property
    def where(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    @property
    def group(self) -> str | None:
        """The name that it is run under."""
        found = _MARK.fullmatch(self.mark)
        return found["name"] if found else None

    @property
    def after_tour(self) -> bool:
        found = _MARK.fullmatch(self.mark)
        return bool(found and found["after"])


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        opened = _FENCE.fullmatch(lines[number])
        if not opened:
            number += 1
            continue
        indent = opened["indent"]
        end = lines.index(f"{indent}```", number + 1)
        before = lines[number - 1].strip() if number else ""
        yield Block(
            page=page,
            line=number + 2,
            language=opened["language"],
            code="".join(f"{line.removeprefix(indent)}\n" for line in lines[number + 1 : end]),
            mark=before if _MARK.fullmatch(before) else "",
        )
        number = end + 1


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def groups() -> dict[str, list[Block]]:
    """Blocks that are run, by page and name, as `docs/data.md: order`."""
    run = [block for block in ALL_BLOCKS if block.group]
    key = lambda block: f"{name_of(block.page)}: {block.group}"  # noqa: E731
    # Sorting keeps the order of a page's blocks, since it is stable.
    return {name: list(found) for name, found in groupby(sorted(run, key=key), key)}


def without_blocks(page: Path) -> str:
    """A page's text without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.M | re.S)


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks, with line breaks as blanks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_blocks(page))]


def commands(block: Block) -> list[str]:
    """A shell block's lines, continued ones joined."""
    return block.code.replace("\\\n", " ").splitlines()


def links(page: Path) -> list[str]:
    """Where links and pictures of a page lead, but for those to other hosts."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What links may name after `#`, as GitHub and mkdocs make it of headings."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(page), flags=re.M)
    plain = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles]
    return {re.sub(r"\s", "-", title) for title in plain}
