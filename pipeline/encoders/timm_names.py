"""Names of timm's models, read from its sources: a slip in one is told without importing torch."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import Problem

_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)
_DEPRECATED = re.compile(r"register_model_deprecations\(__name__, \{(.*?)\}\)", re.DOTALL)
_KEY = re.compile(r"^\s*['\"](\w+)['\"]\s*:", re.MULTILINE)


@lru_cache(maxsize=1)
def timm_names() -> frozenset[str]:
    """Every model that timm registers when it is imported, deprecated names among them."""
    spec = find_spec("timm")
    assert spec is not None, "timm is installed with us"
    assert spec.origin is not None
    names: set[str] = set()
    for path in (Path(spec.origin).parent / "models").glob("**/*.py"):
        source = path.read_text(encoding="utf-8")
        names.update(_REGISTERED.findall(source))
        for mapping in _DEPRECATED.findall(source):
            names.update(_KEY.findall(mapping))
    return frozenset(names)


def unknown_model(name: str) -> Problem:
    """What to say of a model that timm does not have."""
    near = difflib.get_close_matches(name, sorted(timm_names()), n=5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return Problem("encoder.name", f"timm has no model {name!r}{hint}")


def problems_of_name(name: str) -> list[Problem]:
    """A name that is none of timm's own; a tag of pretrained weights may follow it after a dot."""
    known = timm_names()
    # Without sources to read nothing is known, and timm itself is asked when the model is built.
    return [unknown_model(name)] if known and name.partition(".")[0] not in known else []
