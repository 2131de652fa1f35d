"""The facts of a run that its page is drawn from, gathered from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.reading.accounting import read_ledger
from pipeline.data.reading.first_views import first_images, first_views
from pipeline.data.reading.slice_reader import SliceReader, UnreadableShardError
from pipeline.errors import Problem, UserError
from pipeline.planning.length import stream_plan
from pipeline.recipe import Recipe, recipe_of
from pipeline.registry.journal import records
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.report.encoded_facts import EncodedFacts
from pipeline.report.facts import BadPairs, FirstViews, Ledger, RunFacts, RunRecord
from pipeline.report.gathering.autoencoder import AutoencoderFacts, autoencoder_facts
from pipeline.report.gathering.bad_pairs import bad_pairs
from pipeline.report.gathering.encoded import encoded_facts, shown_samples
from pipeline.report.gathering.encoded_samples import packaged_encoder
from pipeline.report.gathering.nearest_of_bad import nearest_of_bad
from pipeline.report.gathering.patches import PatchFacts, patch_facts
from pipeline.report.gathering.pictures import NO_ENCODER_YET, FirstSamples, or_reason
from pipeline.runs.folder import RunFolder, read_json, with_own_exclusion

_LEDGER_ROWS = 50
_SAMPLES_SHOWN = 12
NOT_UNDERSTOOD = "this version of the pipeline does not understand the recipe."
_GONE = "the shards cannot be read any more."


def run_facts(
    recipe: Recipe | None,
    folder: RunFolder,
    result: Mapping[str, Any] | None,
    against: RunRecord | None = None,
) -> RunFacts:
    """What the page says of a run, whatever state it is in.

    Args:
        recipe: of the run; None if this version cannot read it.
        folder: of the run.
        result: of the run, if it has ended and its folder does not have it yet.
        against: what another run's files tell, to be compared with.

    Raises:
        OSError: a file of the run cannot be read.
    """
    if recipe is not None:
        recipe = with_own_exclusion(recipe, folder)
    record = run_record(folder, result)
    failures = read_json(folder.failure) if storage.exists(folder.failure) else []
    reader = sample_reader(recipe, fingerprint=record.identity["data fingerprint"])
    first = _first_samples(reader)
    finished = record.result is not None
    patches, autoencoder, bad = PatchFacts(), AutoencoderFacts(), None
    encoded: EncodedFacts | str = NOT_UNDERSTOOD
    if recipe is not None:
        patches = patch_facts(recipe, first, folder, finished=finished)
        autoencoder = autoencoder_facts(recipe, first, folder, finished=finished)
        encoder = _encoder(folder, finished=finished)
        excluded = reader if isinstance(reader, str) else reader.plan.excluded.ids
        shown = shown_samples(recipe, encoder, excluded)
        encoded = encoded_facts(shown, seed=recipe.seed)
        bad = bad_pairs(recipe, reader, folder)
        if isinstance(bad, BadPairs):
            bad = replace(bad, nearest=nearest_of_bad(bad, recipe, encoder, shown))
    return RunFacts(
        name=record.name,
        identity=record.identity,
        records=record.records,
        recipe_yaml=record.recipe_yaml,
        result=record.result,
        views=first if isinstance(first, str) else first.views,
        encoded=encoded,
        masks=patches.masks,
        similarity=patches.similarity,
        reconstructions=autoencoder.reconstructions,
        prior_samples=autoencoder.prior_samples,
        interpolations=autoencoder.interpolations,
        bad_pairs=bad,
        ledger=_ledger(folder),
        failures=[str(Problem(**problem)) for problem in failures],
        against=against,
    )


def run_record(folder: RunFolder, result: Mapping[str, Any] | None = None) -> RunRecord:
    """What a run's own files tell.

    Args:
        folder: of the run.
        result: of the run, if it has ended and its folder does not have it yet.

    Raises:
        OSError: one cannot be read.
    """
    if result is None and storage.exists(folder.result):
        result = read_json(folder.result)
    return RunRecord(
        name=folder.name,
        identity=read_json(folder.identity)["identity"],
        records=list(records(folder.journal)),
        recipe_yaml=storage.read_file(folder.recipe).decode(),
        result=result,
    )


def _encoder(folder: RunFolder, *, finished: bool) -> PackagedEncoder | str:
    if not finished:  # a package that is there may be of a shorter run
        return NO_ENCODER_YET
    return or_reason(lambda: packaged_encoder(folder), "the run's encoder cannot be read")


def stored_recipe(folder: RunFolder) -> Recipe | None:
    """The run's own recipe; None if this version cannot read it."""
    try:
        return recipe_of(yaml.safe_load(storage.read_file(folder.recipe)))
    except (yaml.YAMLError, ValidationError):
        return None  # of a version with other settings; all else can be told


def _ledger(folder: RunFolder) -> Ledger | None:
    if not storage.exists(folder.ledger):
        return None
    entries, total = read_ledger(folder.ledger, at_most=_LEDGER_ROWS)
    return Ledger(entries=[asdict(entry) for entry in entries], total=total)


def sample_reader(recipe: Recipe | None, *, fingerprint: str) -> SliceReader | str:
    """What reads a run's samples by their ids, or why that cannot be.

    Args:
        recipe: of the run, with its own copy of the excluded ids; None if it cannot be read.
        fingerprint: of the data when the run began.
    """
    if recipe is None:
        return NOT_UNDERSTOOD
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
