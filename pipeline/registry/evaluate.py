"""Probes of a packaged encoder, registered or local."""

from __future__ import annotations

from pipeline.data.manifest import load_manifest
from pipeline.data.verify import verify
from pipeline.errors import Problem, UserError
from pipeline.evaluation.probe_set import load_probe_set
from pipeline.evaluation.probes import encode_images, probe_scores, raw_pixels
from pipeline.registry.package import PackagedEncoder
from pipeline.registry.resolve import encoder_folder

_PROBES = ("knn", "linear")


def evaluate_encoder(
    uri_or_path: str,
    *,
    train: str,
    test: str,
    max_samples: int,
    seed: int,
    tracking_uri: str | None = None,
) -> dict[str, float]:
    """Score an encoder and raw pixels by every probe.

    Args:
        uri_or_path: see `resolve.encoder_folder`.
        train: labelled shards that probes are fitted on.
        test: labelled shards that they are scored on.
        max_samples: largest number of images of each.
        seed: of the linear probe's validation part.
        tracking_uri: MLflow, for a registered encoder.

    Returns:
        `knn`, `linear`, `knn_raw`, `linear_raw`.

    Raises:
        UserError: there is no such encoder, or the shards are missing, damaged or without labels.
    """
    problems = verify(train) + verify(test)
    if not problems and load_manifest(train).classes != load_manifest(test).classes:
        problems.append(Problem("--test", "has other classes than --train"))
    try:
        with encoder_folder(uri_or_path, tracking_uri=tracking_uri) as folder:
            encoder = PackagedEncoder.load(folder)
    except UserError as error:
        problems = [*error.problems, *problems]
    if problems:
        raise UserError(problems)
    prep = encoder.config.preprocessing
    fit = load_probe_set(train, size=prep.size, max_samples=max_samples)
    check = load_probe_set(test, size=prep.size, max_samples=max_samples)
    scores = probe_scores(
        lambda images: encode_images(encoder.backbone, images, mean=prep.mean, std=prep.std),
        fit,
        check,
        probes=_PROBES,
        seed=seed,
    )
    floor = probe_scores(raw_pixels, fit, check, probes=_PROBES, seed=seed)
    return scores | {f"{probe}_raw": score for probe, score in floor.items()}
