"""Drawings made fit for a page that has many of them: smaller, and in the page's own colours."""

from __future__ import annotations

import re

from markupsafe import Markup

PAPER = "#060606"
"""What matplotlib writes for the page's own colour, on which letters are read across lines."""

_SAME_MARKERS = re.compile(r"<g(?P<own>[^>]*)>\s*(?P<uses>(?:<use [^>]*/>\s*)+)</g>")


def for_page(drawing: Markup) -> Markup:
    """A drawing of `as_svg`, with hundreds of dots in it."""
    svg = re.sub(r"\n\s*", "\n", str(drawing)).replace(PAPER, "var(--paper)")
    # Names of parts, which are the same in every drawing, and a font that is not the page's.
    svg = re.sub(r' id="[a-z]+(?:\.|\d+d)?[a-z]*_\d+"', "", svg)
    svg = re.sub(r"; font-family: [^;\"]+", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r' (?:d|x|y)="[^"]*"', _rounded, svg)
    return Markup(_SAME_MARKERS.sub(_with_style_once, svg))


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])


def _with_style_once(group: re.Match[str]) -> str:
    """Markers that all look the same, with the style in their group."""
    styles = set(re.findall(r' style="([^"]*)"', group["uses"]))
    if len(styles) != 1 or group["uses"].count(" style=") < 2:
        return group[0]
    (style,) = styles
    uses = group["uses"].replace(f' style="{style}"', "")
    return f'<g{group["own"]} style="{style}">{uses}</g>'
