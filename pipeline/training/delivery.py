"""What a trained run delivers: package, registered version, report, and a closed MLflow run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.order.corpus import load_corpus
from pipeline.data.stored_folder import delete_folder, folder_to_fill, folder_to_read
from pipeline.evaluation.probe_data import panel_data_fingerprint, probe_data_fingerprint
from pipeline.evaluation.probes.score import Score, scores_from_json
from pipeline.recipe import Recipe
from pipeline.registry.journal import records
from pipeline.registry.packages.encoder import read_config
from pipeline.registry.tracking import TrackedRun
from pipeline.registry.versions.register import register_encoder
from pipeline.registry.versions.tags import as_tags, facts_of
from pipeline.report.gathering.bad_pairs import bad_pairs, counts_of
from pipeline.report.gathering.run_facts import sample_reader
from pipeline.report.writing import report_or_warning
from pipeline.runs.folder import RunFolder, with_own_exclusion
from pipeline.runs.product import Product, package_encoder
from pipeline.runs.summary import collapse_of, panel_of, summary
from pipeline.runs.trace import join_trace


def deliver(
    recipe: Recipe,
    folder: RunFolder,
    identity: dict[str, Any],
    run: TrackedRun,
    trained: dict[str, Any],
) -> dict[str, Any]:
    """Package and register the encoder, draw the report, close the MLflow run.

    Args:
        recipe: of the run.
        folder: of the run, which has trained to its end.
        identity: of the run.
        run: its MLflow run.
        trained: what `train_worker` gave on rank 0.

    Returns:
        What `jobs pretrain` says of the run.
    """
    if recipe.train.trace is not None:
        corpus = load_corpus(recipe.data.with_absolute_paths().manifests)
        join_trace(folder.trace, Path(recipe.train.trace), corpus)
    scores = scores_from_json(trained)
    delete_folder(folder.package)  # a start that came this far may have left one
    with folder_to_fill(folder.package) as package:
        product = package_encoder(
            recipe, folder, identity, scores, into=package, bad_pairs=_bad_pairs(recipe, folder)
        )
    model = _register(recipe, folder, run, product, scores)
    result = {
        "run": folder.name,
        "run_id": run.run_id,
        "experiment": recipe.tracking.experiment,
        "model": model,
        **summary(folder),
        "probes": trained["probes"],
        "intervals": trained["intervals"],
        "samples": trained["samples"],
        "encoder_sha256": product.sha256,
        "tracking_uri": run.uri,
        "folder": folder.location,
    }
    report = report_or_warning(recipe, folder, result)
    listed = report.bad_pairs if report else None
    result["report"] = report.page if report else None
    result["bad_pairs"] = listed.as_json() if listed else None
    _close(run, folder, result, drawn=report.files if report else [])
    return result


def _bad_pairs(recipe: Recipe, folder: RunFolder) -> dict[str, int] | str | None:
    """How many samples of each sort the run found bad, or why that is not known."""
    recipe = with_own_exclusion(recipe, folder)
    fingerprint = load_corpus(recipe.data.manifests).fingerprint
    reader = sample_reader(recipe, fingerprint=fingerprint)
    return counts_of(bad_pairs(recipe, reader, folder))


def _register(
    recipe: Recipe,
    folder: RunFolder,
    run: TrackedRun,
    product: Product,
    scores: Mapping[str, Score],
) -> dict[str, Any] | None:
    if recipe.tracking.register_as is None:
        return None
    with folder_to_read(folder.package) as package:
        facts = facts_of(
            read_config(package),
            encoder_sha256=product.sha256,
            scores=scores,
            probe_data=probe_data_fingerprint(recipe.evaluate),
            panel=panel_of(folder),
            panel_data=panel_data_fingerprint(
                recipe.evaluate,
                data=load_corpus(recipe.data.manifests).fingerprint,
                views=recipe.views,
                seed=recipe.seed,
            ),
            collapse=collapse_of(folder),
        )
        registered = register_encoder(
            package,
            name=recipe.tracking.register_as,
            run=run,
            tags=as_tags(facts),
            parity=product.parity,
        )
    return registered.model_dump()


def _close(run: TrackedRun, folder: RunFolder, result: dict[str, Any], *, drawn: list[str]) -> None:
    last = max(r["step"] for r in records(folder.journal) if r["kind"] == "metrics")
    run.log_summary(result["probes"], step=last)
    run.tag({"encoder_sha256": result["encoder_sha256"]})
    run.log_files([folder.recipe, folder.ledger, *drawn])
    run.finish(failed=False)
