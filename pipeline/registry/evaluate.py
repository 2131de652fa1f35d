"""What a packaged encoder is worth, registered or local."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.encoders.configs.features import FeaturesConfig, Pool
from pipeline.encoders.embeddings import problems_of_embedding
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import FeatureKind, Probe, TargetKind, Task
from pipeline.evaluation.evaluation import (
    EncoderEvaluation,
    Wanted,
    evaluate_features,
    prepare,
)
from pipeline.evaluation.features import encode_images, problems_of_kinds
from pipeline.evaluation.probes.scoring import FeatureFunction
from pipeline.evaluation.targets.choosing import TargetTable
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.versions.resolve import encoder_folder


def evaluate(
    uri_or_path: str,
    *,
    train: str | Path,
    test: str | Path,
    tasks: Sequence[Task | str] | None = None,
    probes: Sequence[Probe | str] | None = None,
    features: Sequence[FeatureKind] | None = None,
    layer: int | None = None,
    pool: Pool | None = None,
    targets: str | Path | None = None,
    test_targets: str | Path | None = None,
    target: str | None = None,
    target_kind: TargetKind | str | None = None,
    confusion: str | Path | None = None,
    max_samples: int = 20_000,
    seed: int = 0,
    tracking_uri: str | None = None,
) -> EncoderEvaluation:
    """Score an encoder and raw pixels, and measure its features without labels.

    What is told of samples are the labels of the shards, or a column of a table. Samples of which
    nothing is known are passed over, and counted. Classes have probes, retrieval, clustering,
    few-shot accuracies and accuracies class by class; samples with several labels a linear
    classifier each, scored by mean average precision; numbers a ridge regression, scored by R2.

    The label-free panel looks at two views, by the default augmentations, of the first thousand
    test samples: the same ones for every encoder of images of this size.

    Args:
        uri_or_path: see `resolve.encoder_folder`.
        train: shards that probes are fitted on.
        test: shards that they are scored on.
        tasks: which of `probes`, `retrieval`, `clustering`, `few_shot`, `per_class`; None: all that
            the targets allow.
        probes: which of `knn`, `linear`, `naive_bayes`; None: all.
        features: what they look at, at least one kind; None: at what the package gives.
        layer: of the decoder, for `decoder_hidden`; None: the package's choice, as also `pool`.
        pool: over the layer's places.
        targets: a `.csv` or `.parquet` with a line for each sample, which it names by a column
            `key` or `sample_id`; None: the labels of the shards.
        test_targets: another of the same columns for the test set; None: `targets` is of both.
        target: the column of targets; None: the only one beside `key` and `sample_id`.
        target_kind: `classes`, `multilabel` or `regression`; None: lists, or text with `;`, are
            several labels, numbers with a point are numbers, all else are classes.
        confusion: a `.png` to be drawn of what classes are taken for.
        max_samples: largest number of images of each set.
        seed: of everything that is drawn.
        tracking_uri: MLflow, for a registered encoder.

    Returns:
        Scores `knn`, `knn_raw` of the first kind of features, `knn_KIND` of the others, and the
        same for the other probes; figures of the other tasks by names that are made alike; the
        classes; the panel of the first kind, see `label_free_panel`; the kinds; what was told of
        how many samples; what was left out.

    Raises:
        UserError: with all mistakes: there is no such encoder, it cannot give such features, the
            shards are missing, damaged or without labels, or the table does not fit them.
    """
    train, test = str(train), str(test)
    options = _options_of_targets(targets, test_targets, target, target_kind)
    wanted = Wanted(
        tasks=None if tasks is None else [Task(task) for task in tasks],
        probes=None if probes is None else [Probe(probe) for probe in probes],
        table=None
        if targets is None
        else TargetTable(
            str(targets),
            None if test_targets is None else str(test_targets),
            target,
            None if target_kind is None else TargetKind(target_kind),
        ),
        confusion=None if confusion is None else str(confusion),
        max_samples=max_samples,
        seed=seed,
    )
    problems: list[Problem] = [*options]
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
        problems += error.problems
    try:
        ready = prepare(wanted, train=train, test=test)
    except UserError as error:
        problems += error.problems
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
    }
    return evaluate_features(
        contestants,
        ready,
        wanted,
        train=train,
        test=test,
        size=prep.size,
        kinds=kinds,
        title=f"{uri_or_path}, {first}",
    )


def _options_of_targets(
    targets: str | Path | None,
    test_targets: str | Path | None,
    target: str | None,
    kind: str | None,
) -> list[Problem]:
    given = (("--test-targets", test_targets), ("--target", target), ("--target-kind", kind))
    return [
        Problem(option, f"{value} is of no use without --targets")
        for option, value in given
        if value is not None and targets is None
    ]


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
