"""Whether a sample has the images that `views.from` draws views from."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.data.order.corpus import load_corpus
from pipeline.errors import Problem
from pipeline.recipe import Recipe

SETTING = "views.from"


def problems(recipe: Recipe) -> Iterator[Problem]:
    """Manifests whose samples have other images than the recipe says.

    Args:
        recipe: with absolute paths, of manifests that can be read.
    """
    manifests = load_corpus(recipe.data.manifests).manifests
    for path, manifest in zip(recipe.data.manifests, manifests, strict=True):
        if message := _fault(recipe.views.parts, manifest.parts, path):
            yield Problem(SETTING, message)


def _fault(asked: tuple[str, ...] | None, there: tuple[str, ...], path: str) -> str | None:
    if asked is None and not there:
        return None
    if asked is None:
        return (
            f"null, but a sample of {path} is the images {', '.join(there)}; allowed: "
            f"{_listed(there)}, or one alone, {_listed(there[:1])}"
        )
    if not there:
        return f"{_listed(asked)}, but a sample of {path} is one image; allowed: null"
    unknown = [name for name in dict.fromkeys(asked) if name not in there]
    if not unknown:
        return None
    return (
        f"{_listed(asked)}, but a sample of {path} has no {' and no '.join(unknown)}; it is the "
        f"images {', '.join(there)}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return f"[{', '.join(names)}]"
