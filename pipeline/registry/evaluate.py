"""Probes of a packaged encoder, registered or local."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.data.sources.manifest import load_manifest
from pipeline.data.sources.verify import verify
from pipeline.encoders.configs.features import FeaturesConfig, Pool
from pipeline.encoders.embeddings import problems_of_embedding
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import FeatureKind, Probe
from pipeline.evaluation.features import encode_images, problems_of_kinds, raw_pixels
from pipeline.evaluation.probe_set import load_panel_set, load_probe_set
from pipeline.evaluation.probes.score import Score
from pipeline.evaluation.probes.scoring import FeatureFunction, contestant_scores, panel_of
from pipeline.registry.package import PackagedEncoder
from pipeline.registry.resolve import encoder_folder
from pipeline.views.parameters import ImageViews

_PANEL_SAMPLES = 1000


class EncoderEvaluation(NamedTuple):
    """What was found out about an encoder."""

    scores: dict[str, Score]
    panel: dict[str, float]
    features: list[FeatureKind]


def evaluate(
    uri_or_path: str,
    *,
    train: str | Path,
    test: str | Path,
    probes: Sequence[Probe] = tuple(Probe),
    features: Sequence[FeatureKind] | None = None,
    layer: int | None = None,
    pool: Pool | None = None,
    max_samples: int = 20_000,
    seed: int = 0,
    tracking_uri: str | None = None,
) -> EncoderEvaluation:
    """Score an encoder and raw pixels, and measure its features without labels.

    The label-free panel looks at two views, by the default augmentations, of the first thousand
    test samples: the same ones for every encoder of images of this size.

    Args:
        uri_or_path: see `resolve.encoder_folder`.
        train: labelled shards that probes are fitted on.
        test: labelled shards that they are scored on.
        probes: which of them, at least one.
        features: what they look at, at least one kind; None: at what the package gives.
        layer: of the decoder, for `decoder_hidden`; None: the package's choice, as also `pool`.
        pool: over the layer's places.
        max_samples: largest number of images of each.
        seed: of the linear probe's validation part and of the intervals.
        tracking_uri: MLflow, for a registered encoder.

    Returns:
        Scores `knn`, `knn_raw` of the first kind of features, `knn_KIND` of the others, and the
        same for the other probes; the panel of the first kind, see `label_free_panel`; the kinds.

    Raises:
        UserError: there is no such encoder, it cannot give such features, or the shards are
            missing, damaged or without labels.
    """
    train, test = str(train), str(test)
    problems = verify(train) + verify(test)
    if not problems and load_manifest(train).classes != load_manifest(test).classes:
        problems.append(Problem("--test", "has other classes than --train"))
    try:
        with encoder_folder(uri_or_path, tracking_uri=tracking_uri) as folder:
            encoder = PackagedEncoder.load(folder)
        kinds = features or [FeatureKind(encoder.config.features.kind)]
        given = _given(encoder.config.features, layer, pool)
        problems += _problems_of_kinds(encoder, kinds, given)
        if FeatureKind.decoder_hidden not in kinds:
            problems += [
                Problem(option, f"{value} is of no use without --features decoder_hidden")
                for option, value in (("--layer", layer), ("--pool", pool))
                if value is not None
            ]
    except UserError as error:
        problems = [*error.problems, *problems]
    if problems:
        raise UserError(problems)
    prep = encoder.config.preprocessing
    encode = partial(
        encode_images,
        encoder.backbone,
        mean=prep.mean,
        std=prep.std,
        features=given,
        autoencoder=encoder.autoencoder,
    )
    first, *others = kinds
    contestants: dict[str, FeatureFunction] = {
        "": partial(encode, kind=first),
        **{f"_{kind}": partial(encode, kind=kind) for kind in others},
        "_raw": raw_pixels,
    }
    scores = contestant_scores(
        contestants,
        load_probe_set(train, size=prep.size, max_samples=max_samples),
        load_probe_set(test, size=prep.size, max_samples=max_samples),
        probes=probes,
        seed=seed,
    )
    views = ImageViews(size=prep.size)
    count = min(max_samples, _PANEL_SAMPLES)
    panel_set = load_panel_set(test, views=views, seed=seed, max_samples=count)
    panel = panel_of(contestants[""], panel_set, seed=seed)
    return EncoderEvaluation(scores, panel, list(kinds))


def _given(features: FeaturesConfig, layer: int | None, pool: Pool | None) -> FeaturesConfig:
    """What a package gives, with another layer of the decoder or another pool."""
    if layer is None and pool is None:
        return features
    hidden = features.of_kind("decoder_hidden")
    return FeaturesConfig(
        kind="decoder_hidden",
        layer=hidden.layer if layer is None else layer,
        pool=pool or hidden.pool,
    )


def _problems_of_kinds(
    encoder: PackagedEncoder, kinds: Sequence[FeatureKind], given: FeaturesConfig
) -> list[Problem]:
    found = problems_of_kinds(
        kinds,
        setting="--features",
        encoder=encoder.backbone,
        autoencoder=encoder.autoencoder,
        has_head=False,
    )
    if encoder.autoencoder is not None:  # else it is among them
        faults = problems_of_embedding(given, encoder.autoencoder, setting="--features")
        found += [problem._replace(where="--layer") for problem in faults]
    return found
