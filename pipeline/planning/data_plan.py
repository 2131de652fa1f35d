"""Whether the recipe's `data` can be read and cut into streams, and what each manifest gives."""

from __future__ import annotations

from typing import Any

from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.order.exclusion import SETTING, Exclusion, load_exclusion
from pipeline.data.order.stream_problems import problems, problems_of_sources
from pipeline.data.order.streams import StreamPlan
from pipeline.data.sources.verify import verify
from pipeline.errors import Problem, UserError
from pipeline.planning import parts_plan
from pipeline.planning.length import stream_plan
from pipeline.recipe import Recipe


def checked_cut(recipe: Recipe, *, workers: int) -> tuple[StreamPlan | None, list[Problem]]:
    """The cut of the recipe's data, None if it cannot be read, and all that is wrong with it.

    Args:
        recipe: with absolute paths.
        workers: that are to divide the streams.
    """
    found = [problem for path in recipe.data.manifests for problem in verify(path)]
    try:
        excluded = load_exclusion(recipe.data.exclude)
    except UserError as error:
        return None, found + error.problems
    if found:
        return None, found
    cut = stream_plan(recipe)
    found += parts_plan.problems(recipe)
    found += _problems_of_exclusion(recipe, cut, excluded)
    if not cut.left:
        return cut, found
    of_cut = problems(
        samples=cut.left,
        streams=cut.streams,
        global_batch=cut.global_batch,
        workers=workers,
        excluded=cut.samples - cut.left,
    )
    return cut, found + (of_cut or problems_of_sources(cut))


def _problems_of_exclusion(recipe: Recipe, cut: StreamPlan, excluded: Exclusion) -> list[Problem]:
    found = []
    samples = load_corpus(recipe.data.manifests).samples
    unknown = excluded.unknown(samples)
    if len(unknown):
        spans = (
            f"{number * SOURCE_STRIDE} to {number * SOURCE_STRIDE + count - 1}"
            for number, count in enumerate(samples)
        )
        message = (
            f"{recipe.data.exclude}: {len(unknown)} of its {len(excluded)} ids are of no sample, "
            f"the first is {unknown[0]}; ids of data.shards are {' and '.join(spans)}"
        )
        found.append(Problem(SETTING, message))
    if not cut.left:
        message = f"{recipe.data.exclude}: leaves none of the {cut.samples} samples"
        found.append(Problem(SETTING, message))
    return found


def sources(recipe: Recipe, cut: StreamPlan) -> list[dict[str, Any]]:
    """What each manifest gives to a batch; by manifest, in the recipe's order."""
    corpus = load_corpus(recipe.data.manifests)
    return [
        {
            "path": path,
            "samples": samples,
            "excluded": samples - left,
            "streams": count,
            "share": count / cut.streams,
        }
        for path, samples, (left, count) in zip(
            recipe.data.manifests, corpus.samples, cut.sources_left, strict=True
        )
    ]
