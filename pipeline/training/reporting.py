"""From a run's folder to its report: gathers what the page is drawn from, and writes the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.data import storage
from pipeline.data.accounting import read_ledger
from pipeline.data.corpus import load_corpus
from pipeline.data.first_views import first_images, first_views
from pipeline.data.slice_reader import SliceReader, UnreadableShardError
from pipeline.errors import Problem, UserError
from pipeline.recipe import Recipe, load_recipe
from pipeline.registry.journal import records
from pipeline.registry.report.facts import BadPairs, FirstViews, Ledger, RunFacts
from pipeline.registry.report.page import render_page
from pipeline.training.autoencoder_facts import AutoencoderFacts, autoencoder_facts
from pipeline.training.bad_pairs import BadPairFiles, bad_pairs, write_bad_pairs
from pipeline.training.length import stream_plan
from pipeline.training.patch_facts import PatchFacts, patch_facts
from pipeline.training.picture_facts import FirstSamples
from pipeline.training.run_folder import RunFolder, read_json, with_own_exclusion

log = logging.getLogger(__name__)

_LEDGER_ROWS = 50
_SAMPLES_SHOWN = 12
_GONE = "the shards cannot be read any more."


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where a report's files are."""

    page: str
    bad_pairs: BadPairFiles | None  # None: nothing weighs the run's pairs, or none can be listed

    @property
    def files(self) -> list[str]:
        """All of them."""
        listed = self.bad_pairs
        return [self.page, *([listed.list, listed.sheet] if listed else [])]


def report_of_folder(location: str) -> Report:
    """Write the report of any run that has begun, whatever became of it.

    Args:
        location: folder or URI of the run.

    Returns:
        Where it is.

    Raises:
        UserError: there is no run, or its folder cannot be read or written.
    """
    away = storage.unreachable(location)
    if away is not None:
        raise UserError(Problem("run", away))
    folder = RunFolder(storage.absolute(location))
    if not storage.exists(folder.identity):
        raise UserError(Problem(location, "is not the folder of a run: it has no run.json"))
    try:
        return write_report(_stored_recipe(folder), folder)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(Problem(location, f"cannot be read or written: {reason}")) from error


def report_or_warning(
    recipe: Recipe, folder: RunFolder, result: Mapping[str, Any]
) -> Report | None:
    """Write the report of a run that has just ended; None, and a warning, if that fails.

    Whatever goes wrong with a picture, a run that has trained is not lost for it.
    """
    try:
        return write_report(recipe, folder, result)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning(
            "the report could not be written (%s); `python -m jobs report %s` tries again",
            reason,
            folder.location,
        )
        return None


def write_report(
    recipe: Recipe | None, folder: RunFolder, result: Mapping[str, Any] | None = None
) -> Report:
    """Write a run's report into its folder: the page, and the list of bad pairs if there is one.

    Args:
        recipe: of the run; None if this version cannot read it.
        folder: of the run.
        result: of the run, if it has ended and its folder does not have it yet.

    Returns:
        Where it is.

    Raises:
        OSError: a file of the run cannot be read, or the report not be written.
    """
    facts = _facts(recipe, folder, result)
    page = render_page(facts)
    listed = None
    if isinstance(facts.bad_pairs, BadPairs):
        listed = write_bad_pairs(facts.bad_pairs, folder)
    storage.write_file(folder.report, page.encode())
    return Report(page=folder.report, bad_pairs=listed)


def _facts(recipe: Recipe | None, folder: RunFolder, result: Mapping[str, Any] | None) -> RunFacts:
    if result is None and storage.exists(folder.result):
        result = read_json(folder.result)
    if recipe is not None:
        recipe = with_own_exclusion(recipe, folder)
    identity = read_json(folder.identity)["identity"]
    failures = read_json(folder.failure) if storage.exists(folder.failure) else []
    reader = _reader(recipe, fingerprint=identity["data fingerprint"])
    first = _first_samples(reader)
    finished = result is not None
    patches, autoencoder, bad = PatchFacts(), AutoencoderFacts(), None
    if recipe is not None:
        patches = patch_facts(recipe, first, folder, finished=finished)
        autoencoder = autoencoder_facts(recipe, first, folder, finished=finished)
        bad = bad_pairs(recipe, reader, folder)
    return RunFacts(
        name=folder.name,
        identity=identity,
        records=list(records(folder.journal)),
        recipe_yaml=storage.read_file(folder.recipe).decode(),
        views=first if isinstance(first, str) else first.views,
        masks=patches.masks,
        similarity=patches.similarity,
        reconstructions=autoencoder.reconstructions,
        prior_samples=autoencoder.prior_samples,
        interpolations=autoencoder.interpolations,
        bad_pairs=bad,
        result=result,
        ledger=_ledger(folder),
        failures=[str(Problem(**problem)) for problem in failures],
    )


def _stored_recipe(folder: RunFolder) -> Recipe | None:
    try:
        return load_recipe(yaml.safe_load(storage.read_file(folder.recipe)))
    except (yaml.YAMLError, ValidationError):
        return None  # of a version with other settings; all else can be told


def _ledger(folder: RunFolder) -> Ledger | None:
    if not storage.exists(folder.ledger):
        return None
    entries, total = read_ledger(folder.ledger, at_most=_LEDGER_ROWS)
    return Ledger(entries=[asdict(entry) for entry in entries], total=total)


def _reader(recipe: Recipe | None, *, fingerprint: str) -> SliceReader | str:
    """What reads the run's samples by their ids, or why that cannot be."""
    if recipe is None:
        return "this version of the pipeline does not understand the recipe."
    manifests = recipe.data.with_absolute_paths().manifests
    try:
        if load_corpus(manifests).fingerprint != fingerprint:
            return "the data has changed since the run began, and its order with it."
        return SliceReader(
            manifests=manifests,
            plan=stream_plan(recipe),
            views=recipe.views,
            cache_bytes=recipe.data.cache_bytes,
        )
    except UserError as error:
        return f"{_GONE} {error}"


def _first_samples(reader: SliceReader | str) -> FirstSamples | str:
    """The first samples and their views as a step of training gets them, or why there are none."""
    if isinstance(reader, str):
        return reader
    try:
        images = first_images(reader, count=_SAMPLES_SHOWN)
    except (UserError, UnreadableShardError) as error:
        return f"{_GONE} {error}"
    if not images.images:
        return "none of the first samples can be decoded."
    blocks = first_views(reader, images)
    if reader.views.executor == "device":
        blocks = _finished(reader, images.sample_ids, blocks)
    views = FirstViews(sample_ids=images.sample_ids.tolist(), blocks=blocks)
    return FirstSamples(reader=reader, images=images, views=views)


def _finished(reader: SliceReader, sample_ids: Any, blocks: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the training device would make of blocks, on the CPU."""
    import torch

    from pipeline.views.batched import finish_views

    finished = finish_views(
        tuple(torch.from_numpy(block) for block in blocks),
        config=reader.views,
        seed=reader.plan.seed,
        epoch=0,
        sample_ids=sample_ids,
    )
    return tuple(block.numpy() for block in finished)
