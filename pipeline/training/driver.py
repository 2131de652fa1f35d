"""The driver of a run: checks, starts Ray Train, then packages and registers the encoder."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import LoggingConfig
from safetensors.torch import save

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.exclusion import load_exclusion
from pipeline.data.stored_folder import delete_folder, folder_to_fill, folder_to_read
from pipeline.errors import Problem, UserError
from pipeline.evaluation.probes.score import scores_from_json
from pipeline.planning.check import checked_recipe
from pipeline.planning.initial_weights import initial_weights
from pipeline.recipe import Recipe
from pipeline.registry import tracking, tracking_server
from pipeline.registry.journal import JournalTail, records
from pipeline.registry.register import register_encoder
from pipeline.registry.tracking import Forwarder, TrackedRun, TrackingError, forwarding
from pipeline.report.writing import report_or_warning
from pipeline.runs.folder import RunFolder, fresh_name, read_json, with_own_exclusion, write_json
from pipeline.runs.identity import differences, flatten, run_identity, run_name, without_effect
from pipeline.runs.product import package_encoder
from pipeline.runs.summary import summary
from pipeline.runs.trace import join_trace
from pipeline.training.cluster import connected, uses_gpu
from pipeline.training.outages import interrupted_by_outages
from pipeline.training.progress import showing_progress
from pipeline.training.worker import train_worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What `pretrain` says of a finished run."""

    result: dict[str, Any]
    already_finished: bool


def pretrain_recipe(
    path: Path, overrides: Iterable[str], *, fresh: bool = False, verbose: bool = False
) -> Pretrained:
    """Run a recipe to a registered encoder, or take up the run where it was left.

    Args:
        path: the recipe.
        overrides: settings to change, as `a.b=value`.
        fresh: start another run instead of taking up this one.
        verbose: show Ray's own log.

    Returns:
        The figures of the finished run; those of the first time if it had finished before.

    Raises:
        UserError: with every mistake that could be found before anything starts, or the one that
            stopped the training.
    """
    recipe = checked_recipe(path, overrides)
    initial = initial_weights(recipe)
    if initial is not None:
        count = len(initial.tensors)
        print(f"encoder.init: {count} tensors matched, 0 missing, 0 unexpected", file=sys.stderr)
    excluded = load_exclusion(recipe.data.exclude)
    identity = run_identity(
        recipe,
        fingerprint=load_corpus(recipe.data.manifests).fingerprint,
        init_sha256=initial.sha256 if initial else None,
        excluded=excluded,
    )
    runs = storage.join(recipe.tracking.storage, recipe.tracking.experiment)
    name = run_name(recipe, identity)
    folder = RunFolder(storage.join(runs, fresh_name(runs, name) if fresh else name))
    with folder.locked():
        done = _finished(folder, identity)
        if done is not None:
            for told in without_effect(folder, recipe):
                print(told, file=sys.stderr)
            return Pretrained(result=done, already_finished=True)
        if initial is not None:
            storage.write_file(folder.initial_weights, save(initial.tensors))
        if recipe.data.exclude is not None:
            storage.write_file(folder.excluded, excluded.to_parquet())
        return Pretrained(result=_run(recipe, folder, identity, verbose), already_finished=False)


def _finished(folder: RunFolder, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a finished run of this identity; None if there is something to do."""
    if not storage.exists(folder.identity):
        return None
    before = read_json(folder.identity)["identity"]
    problems = differences(before, identity)
    if problems:
        raise UserError(problems)
    if not storage.exists(folder.result) or before != identity:
        return None
    result: dict[str, Any] = read_json(folder.result)
    return result


def _run(
    recipe: Recipe, folder: RunFolder, identity: dict[str, Any], verbose: bool
) -> dict[str, Any]:
    with connected(recipe, verbose=verbose), interrupted_by_outages(folder.name):
        run = _open_run(recipe, folder, identity)
        try:
            trained = _follow_training(recipe, folder, run, verbose)
            result = _deliver(recipe, folder, identity, run, trained)
        except TrackingError:
            raise  # MLflow could hardly be told
        except BaseException:
            _mark_failed(run)
            raise
    write_json(folder.result, result)
    return result


def _follow_training(
    recipe: Recipe, folder: RunFolder, run: TrackedRun, verbose: bool
) -> dict[str, Any]:
    """Train, with the journal shown as it grows and copied to MLflow."""
    tail = JournalTail(folder.journal)
    tail.read()
    with forwarding(Forwarder(folder.journal, run)), showing_progress(tail):
        return _train(recipe, folder, verbose)


def _deliver(
    recipe: Recipe,
    folder: RunFolder,
    identity: dict[str, Any],
    run: TrackedRun,
    trained: dict[str, Any],
) -> dict[str, Any]:
    """Package, register and close the run; what `pretrain` says of it."""
    if recipe.train.trace is not None:
        join_trace(folder.trace, Path(recipe.train.trace))
    scores = scores_from_json(trained)
    delete_folder(folder.package)  # a start that came this far may have left one
    with folder_to_fill(folder.package) as package:
        encoder_sha256 = package_encoder(recipe, folder, identity, scores, into=package)
    model = _register(recipe, folder, run, encoder_sha256, trained["probes"])
    result = {
        "run": folder.name,
        "run_id": run.run_id,
        "experiment": recipe.tracking.experiment,
        "model": model,
        **summary(folder),
        "probes": trained["probes"],
        "intervals": trained["intervals"],
        "samples": trained["samples"],
        "encoder_sha256": encoder_sha256,
        "tracking_uri": run.uri,
        "folder": folder.location,
    }
    report = report_or_warning(recipe, folder, result)
    listed = report.bad_pairs if report else None
    result["report"] = report.page if report else None
    result["bad_pairs"] = listed.as_json() if listed else None
    _finish_run(run, folder, result, drawn=report.files if report else [])
    return result


def _mark_failed(run: TrackedRun) -> None:
    try:
        run.finish(failed=True)
    except TrackingError as error:
        log.warning("MLflow could not be told that the run failed: %s", error)


def _open_run(recipe: Recipe, folder: RunFolder, identity: dict[str, Any]) -> TrackedRun:
    """The run's folder and its MLflow run, made or taken up; `run.json` ties the two together."""
    uri = tracking_server.tracking_uri(recipe.tracking.uri, recipe.tracking.storage)
    experiment_id = tracking.open_experiment(uri, recipe.tracking.experiment)
    storage.write_file(folder.recipe, recipe.to_yaml().encode())
    # From here on the run is not finished, whatever it was before.
    for outcome in (folder.result, folder.failure):
        storage.delete_file(outcome)
    if storage.exists(folder.identity):
        noted = read_json(folder.identity)
        run = TrackedRun(noted["tracking_uri"], noted["run_id"])
        run.reopen()
    else:
        params = dict(flatten(recipe.resolved()))
        run = TrackedRun.create(uri, experiment_id, name=folder.name, params=params)
        run.tag(
            {
                "data.fingerprint": str(identity["data fingerprint"]),
                "pipeline.version": version("ssl-on-ray"),
            }
        )
    write_json(
        folder.identity,
        {"identity": identity, "run_id": run.run_id, "tracking_uri": run.uri},
    )
    return run


def _train(recipe: Recipe, folder: RunFolder, verbose: bool) -> dict[str, Any]:
    gpu = uses_gpu(recipe)
    ray_store, ray_path = storage.resolve(folder.ray)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "recipe": with_own_exclusion(recipe, folder).resolved(),
            "run": folder.location,
        },
        scaling_config=ScalingConfig(
            num_workers=_workers(recipe),
            use_gpu=gpu,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            # Ray would take up, and train on, what it finds under a name; our checkpoints decide.
            name=f"start-{uuid.uuid4().hex[:12]}",
            storage_filesystem=ray_store,
            storage_path=ray_path,
            failure_config=FailureConfig(max_failures=recipe.train.max_failures),
            logging_config=LoggingConfig(log_level="INFO" if verbose else "CRITICAL"),
        ),
    )
    try:
        trained = trainer.fit().return_value
    except TrainingFailedError:
        _raise_user_errors(folder)
        raise
    _raise_user_errors(folder)
    return dict(trained)


def _workers(recipe: Recipe) -> int | tuple[int, int]:
    """As Ray wants it: a range makes it start again with another number when nodes come or go."""
    least, most = recipe.train.workers
    return most if least == most else (least, most)


def _raise_user_errors(folder: RunFolder) -> None:
    """Raise what the workers found to be the user's mistake."""
    if storage.exists(folder.failure):
        raise UserError([Problem(**p) for p in read_json(folder.failure)])


def _register(
    recipe: Recipe,
    folder: RunFolder,
    run: TrackedRun,
    encoder_sha256: str,
    probes: dict[str, float],
) -> dict[str, Any] | None:
    if recipe.tracking.register_as is None:
        return None
    tags = {
        "run": folder.name,
        "objective": recipe.objective.kind,
        "encoder": recipe.encoder.name,
        "features": recipe.features.kind,
        "encoder_sha256": encoder_sha256,
        "data.fingerprint": load_corpus(recipe.data.manifests).fingerprint,
        **{f"probe.{name}": f"{score:.4f}" for name, score in probes.items()},
    }
    with folder_to_read(folder.package) as package:
        registered = register_encoder(package, name=recipe.tracking.register_as, run=run, tags=tags)
    return registered.model_dump()


def _finish_run(
    run: TrackedRun, folder: RunFolder, result: dict[str, Any], *, drawn: list[str]
) -> None:
    last = max(r["step"] for r in records(folder.journal) if r["kind"] == "metrics")
    run.log_summary(result["probes"], step=last)
    run.tag({"encoder_sha256": result["encoder_sha256"]})
    run.log_files([folder.recipe, folder.ledger, *drawn])
    run.finish(failed=False)
