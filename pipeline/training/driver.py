"""The driver of a run: checks, starts Ray Train, then packages and registers the encoder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.exclusion import load_exclusion
from pipeline.errors import UserError
from pipeline.planning.check import checked_recipe
from pipeline.planning.initial_weights import initial_weights
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeSource
from pipeline.registry.journal import JournalTail
from pipeline.registry.tracking import Forwarder, TrackedRun, forwarding
from pipeline.runs.folder import RunFolder, fresh_name, keep_inputs, read_json, write_json
from pipeline.runs.identity import differences, run_identity, run_name, without_effect
from pipeline.training.cluster import connected
from pipeline.training.delivery import deliver
from pipeline.training.halting import let_run
from pipeline.training.outages import halted, interrupted_by_outages
from pipeline.training.progress import showing_progress
from pipeline.training.ray_train import train_on_ray
from pipeline.training.tracked import tracked_run


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a run."""

    figures: dict[str, Any]
    """All that `jobs pretrain --json` prints."""
    already_finished: bool
    """Whether the run had finished before, so that nothing was done now."""

    @property
    def run(self) -> str:
        """The run's name."""
        return str(self.figures["run"])

    @property
    def folder(self) -> str:
        """Folder or URI of the run."""
        return str(self.figures["folder"])

    @property
    def encoder(self) -> str:
        """Folder or URI of the packaged encoder; `load_encoder` takes a folder."""
        return RunFolder(self.folder).package

    @property
    def model(self) -> dict[str, Any] | None:
        """Name, version and URI in the registry; None: not registered."""
        return self.figures["model"]

    @property
    def probes(self) -> dict[str, float]:
        """Accuracies by probe, floors among them (`knn`, `knn_raw`, `knn_untrained` …)."""
        return dict(self.figures["probes"])


def pretrain(
    recipe: RecipeSource | Recipe,
    overrides: Iterable[str] = (),
    *,
    fresh: bool = False,
    verbose: bool = False,
) -> Result:
    """Run a recipe to a registered encoder, or take up the run where it was left.

    Args:
        recipe: a YAML file, nested mappings, or a recipe that was read before.
        overrides: settings to change, as `a.b=value`.
        fresh: start another run instead of taking up this one.
        verbose: show Ray's own log.

    Returns:
        The figures of the finished run; those of the first time if it had finished before.

    Raises:
        UserError: with every mistake that could be found before anything starts, or the one that
            stopped the training.
        InterruptedRunError: what the run needs is away; the same call takes it up.
    """
    recipe = checked_recipe(recipe, overrides)
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
    folder = _folder(recipe, identity, fresh=fresh)
    with folder.locked():
        done = _finished(folder, identity)
        if done is not None:
            for told in without_effect(folder, recipe):
                print(told, file=sys.stderr)
            return Result(figures=done, already_finished=True)
        keep_inputs(
            folder,
            initial=initial.tensors if initial else None,
            excluded=excluded if recipe.data.exclude is not None else None,
        )
        let_run(folder)
        with (
            connected(recipe, verbose=verbose) as gpu,
            interrupted_by_outages(folder.name),
            tracked_run(recipe, folder, identity) as run,
        ):
            trained = _train(recipe, folder, run, gpu=gpu, verbose=verbose)
            if "probes" not in trained:
                raise halted(folder.name)
            figures = deliver(recipe, folder, identity, run, trained)
        write_json(folder.result, figures)
    return Result(figures=figures, already_finished=False)


def _folder(recipe: Recipe, identity: dict[str, Any], *, fresh: bool) -> RunFolder:
    runs = storage.join(recipe.tracking.storage, recipe.tracking.experiment)
    name = run_name(recipe, identity)
    return RunFolder(storage.join(runs, fresh_name(runs, name) if fresh else name))


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


def _train(
    recipe: Recipe, folder: RunFolder, run: TrackedRun, *, gpu: bool, verbose: bool
) -> dict[str, Any]:
    """Train, with the journal shown as it grows and copied to MLflow."""
    tail = JournalTail(folder.journal)
    tail.read()
    with forwarding(Forwarder(folder.journal, run)), showing_progress(tail, folder):
        return train_on_ray(recipe, folder, gpu=gpu, verbose=verbose)
