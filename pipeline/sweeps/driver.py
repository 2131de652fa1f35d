"""The driver of a sweep: searches through Ray Tune, trains the winner again, and tells of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.data import storage
from pipeline.data.order.corpus import load_corpus
from pipeline.data.order.exclusion import load_exclusion
from pipeline.data.ray_session import ray_session
from pipeline.errors import InterruptedRunError, Problem, UserError
from pipeline.planning.initial_weights import initial_weights
from pipeline.recipe import Recipe, recipe_of
from pipeline.recipe_file import RecipeSource
from pipeline.registry.sweep_runs import SweepRuns
from pipeline.registry.tracking import TrackedRun, open_experiment
from pipeline.registry.tracking_server import tracking_uri
from pipeline.runs.folder import fresh_name, keep_inputs, read_json, with_own_exclusion, write_json
from pipeline.runs.identity import differences, flatten
from pipeline.sweeps.conclusion import conclude
from pipeline.sweeps.folder import SweepFolder
from pipeline.sweeps.identity import sweep_identity, sweep_name
from pipeline.sweeps.ledger import HALTED, RUNNING, Ledger
from pipeline.sweeps.page.writing import write_page
from pipeline.sweeps.progress import showing_trials
from pipeline.sweeps.spaces.check import checked_sweep
from pipeline.sweeps.spaces.recipes import folder_of_sweeps, sweep_config
from pipeline.sweeps.spaces.space import Params
from pipeline.sweeps.tracking import SweepForwarder, forwarding_sweep
from pipeline.sweeps.trials.room import concurrent_trials, local_cpus
from pipeline.sweeps.trials.roster import Roster, trials_of
from pipeline.sweeps.trials.search import Search, best_of
from pipeline.sweeps.trials.tuning import tune_trials
from pipeline.training.cluster import decided_device
from pipeline.training.outages import interrupted_by_outages

_PROCESSES, _TRIALS = 8, 4
"""That a trial has, and trials that at least are to be expected at a time."""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What came of a sweep."""

    figures: dict[str, Any]
    """All that `jobs sweep --json` prints."""
    already_finished: bool
    """Whether it had finished before, so that nothing was done now."""

    @property
    def folder(self) -> str:
        """Folder or URI of the sweep."""
        return str(self.figures["folder"])

    @property
    def page(self) -> str:
        """Path or URI of its page."""
        return str(self.figures["page"])

    @property
    def best(self) -> dict[str, Any]:
        """The best configuration: `params`, scores on `validation` and `test`, and its `model`."""
        return dict(self.figures["best"])


def sweep(
    recipe: RecipeSource | Recipe,
    overrides: Iterable[str] = (),
    *,
    space: RecipeSource | None = None,
    warm_start: str | None = None,
    fresh: bool = False,
    verbose: bool = False,
) -> SweepResult:
    """Search the settings of a recipe, or take up the sweep where it was left.

    Args:
        recipe: a YAML file, nested mappings, or a recipe that was read before, with a `sweep`
            section unless `space` is given.
        overrides: settings to change, as `a.b=value`, such as `sweep.trials=50`.
        space: a file with the `sweep` section, or its settings.
        warm_start: folder or URI of an earlier sweep, whose best configurations are tried first.
        fresh: start another sweep instead of taking up this one.
        verbose: show Ray's own log.

    Returns:
        The figures of the finished sweep; those of the first time if nothing is to be added.

    Raises:
        UserError: with every mistake that can be found before anything starts, or because too many
            trials failed.
        InterruptedRunError: it was interrupted; the same call takes it up.
    """
    checked = checked_sweep(recipe, overrides, space=space)
    known = _known(warm_start, checked)
    initial = initial_weights(checked)
    excluded = load_exclusion(checked.data.exclude)
    identity = sweep_identity(
        checked,
        fingerprint=load_corpus(checked.data.manifests).fingerprint,
        init_sha256=initial.sha256 if initial else None,
        excluded=excluded,
    )
    sweeps = folder_of_sweeps(checked)
    name = sweep_name(checked, identity)
    folder = SweepFolder(storage.join(sweeps, fresh_name(sweeps, name) if fresh else name))
    with folder.locked():
        _refuse_other(folder, identity)
        done = _finished(folder, checked)
        if done is not None:
            return SweepResult(figures=done, already_finished=True)
        keep_inputs(
            folder,
            initial=initial.tensors if initial else None,
            excluded=excluded if checked.data.exclude is not None else None,
        )
        had_finished = storage.exists(folder.result)
        storage.delete_file(folder.result)
        storage.delete_file(folder.halt)
        found = _run(
            checked, folder, identity, known=known, failed_too=not had_finished, verbose=verbose
        )
        write_json(folder.result, found)
    return SweepResult(figures=found, already_finished=False)


def _run(
    recipe: Recipe,
    folder: SweepFolder,
    identity: dict[str, Any],
    *,
    known: list[Params] | None,
    failed_too: bool,
    verbose: bool,
) -> dict[str, Any]:
    config = sweep_config(recipe)
    with ExitStack() as stack:
        cpus = local_cpus(recipe)
        stack.enter_context(
            ray_session(cpus=cpus, verbose=verbose, processes=_PROCESSES * max(_TRIALS, cpus))
        )
        decided = decided_device(recipe)
        # The recipe that trials read, wherever they run.
        storage.write_file(folder.recipe, with_own_exclusion(decided, folder).to_yaml().encode())
        concurrent = concurrent_trials(decided)
        stack.enter_context(interrupted_by_outages(folder.name))
        runs = _open_runs(recipe, folder, identity)
        ledger = Ledger(folder.ledger)
        search = Search(recipe, config, known=_noted(ledger, known))
        roster = Roster(config, folder, ledger, search, failed_too=failed_too)

        def draw() -> str:
            return write_page(recipe, folder, trials_of(ledger))

        forwarder = SweepForwarder(config, folder, ledger, runs, draw=draw)
        try:
            with forwarding_sweep(forwarder), showing_trials(ledger, config):
                tune_trials(recipe, folder, roster, concurrent=concurrent)
            ledger.flush()
            found = conclude(recipe, folder, roster, runs, verbose=verbose)
            runs.parent.log_files([found["page"], folder.recipe])
            runs.parent.finish(failed=False)
        except InterruptedRunError:
            runs.parent.stop_early()
            raise
        except BaseException:
            runs.parent.finish(failed=True)
            raise
    return found


def _open_runs(recipe: Recipe, folder: SweepFolder, identity: dict[str, Any]) -> SweepRuns:
    """The sweep's run in MLflow, new or taken up; `run.json` ties it to the folder."""
    uri = tracking_uri(recipe.tracking.uri, recipe.tracking.storage)
    experiment = open_experiment(uri, recipe.tracking.experiment)
    if storage.exists(folder.identity):
        noted = read_json(folder.identity)
        parent = TrackedRun(noted["tracking_uri"], noted["run_id"])
        parent.reopen()
    else:
        params = dict(flatten(recipe.resolved()))
        parent = TrackedRun.create(uri, experiment, name=folder.name, params=params)
    write_json(
        folder.identity,
        {"identity": identity, "run_id": parent.run_id, "tracking_uri": parent.uri},
    )
    return SweepRuns(parent, experiment)


def _refuse_other(folder: SweepFolder, identity: dict[str, Any]) -> None:
    if storage.exists(folder.identity):
        before = read_json(folder.identity)["identity"]
        problems = differences(before, identity)
        lengths = [n for n in ("train.epochs", "train.steps") if before.get(n) != identity.get(n)]
        if lengths and not problems:  # which a run may have more of, but trials are compared
            problems = [Problem(lengths[0], "a sweep's trials have one length; give --fresh")]
        if problems:
            raise UserError(problems)


def _finished(folder: SweepFolder, recipe: Recipe) -> dict[str, Any] | None:
    """The result of a sweep whose budget has not grown; None if there is something to do."""
    if not storage.exists(folder.result):
        return None
    config = sweep_config(recipe)
    before = sweep_config(recipe_of(yaml.safe_load(storage.read_file(folder.recipe))))
    ledger = Ledger(folder.ledger)
    if config.hours is not None and ledger.searched >= 3600 * config.hours:
        more = False
    else:
        unfinished = bool(ledger.in_states(RUNNING, HALTED))
        search = Search(recipe, config, known=[])
        count = len(ledger.trials)
        in_grid = config.searcher != "grid" or search.ask(count) is not None
        more = unfinished or (count < config.trials and in_grid)
    if more or config.winner_seeds > before.winner_seeds:
        return None
    result: dict[str, Any] = read_json(folder.result)
    return result


def _noted(ledger: Ledger, known: list[Params] | None) -> list[Params]:
    """What the sweep began with, which a sweep that is taken up has in its ledger.

    Raises:
        UserError: it is to begin with something else, and has begun.
    """
    if ledger.known is None:
        ledger.began_with(known or [])
        return known or []
    if known is not None and known != ledger.known:
        raise UserError(
            Problem(
                "warm_start",
                "the sweep has begun without these configurations; allowed: none, or --fresh",
            )
        )
    return ledger.known


def _known(warm_start: str | None, recipe: Recipe) -> list[Params] | None:
    if warm_start is None:
        return None
    ledger = SweepFolder(storage.absolute(warm_start)).ledger
    found = best_of(ledger, recipe)
    if not found:
        raise UserError(
            Problem(
                "warm_start",
                f"{warm_start}: no finished trial of a sweep there is within this space",
            )
        )
    return found
