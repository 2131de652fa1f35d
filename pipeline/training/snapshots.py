"""Snapshots of a run: when they are due, and what they cost its ranks."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from pipeline import collectives
from pipeline.data.order.streams import StreamPlan
from pipeline.evaluation.snapshot import (
    SnapshotImages,
    evaluate_snapshot,
    load_snapshot_images,
    take_snapshot,
)
from pipeline.learning.learner import Learner
from pipeline.planning.length import snapshot_samples, snapshot_steps
from pipeline.recipe import Recipe
from pipeline.registry.journal import Journal
from pipeline.runs.folder import RunFolder
from pipeline.training.evaluator import Evaluator, Fit


class Snapshots:
    """Takes a run's snapshots, on every rank, and has rank 0 evaluate them aside."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        plan: StreamPlan,
        *,
        learner: Learner,
        journal: Journal | None,
        fit: Fit | None,
    ) -> None:
        """Begin to decode the images that snapshots look at. Every rank calls this.

        Args:
            recipe: of the run.
            folder: of the run.
            plan: of the run.
            learner: whose features are looked at.
            journal: rank 0's.
            fit: evaluates a saved snapshot; None: a thread of this process.
        """
        self._recipe = recipe
        self._learner = learner
        self._every = snapshot_steps(recipe, plan)
        self._evaluator: Evaluator | None = None
        self._images: Future[SnapshotImages] | None = None
        self._began = time.perf_counter()
        self._aside = 0.0
        # No more at once than training itself holds.
        share = plan.global_batch // collectives.world_size()
        self._batch = min(share, recipe.train.micro_batch or share)
        count = snapshot_samples(recipe, plan)
        if not count:
            return
        # Not before the first step, for which a run that is taken up again is waiting.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="snapshot-images")
        self._images = self._loader.submit(
            load_snapshot_images,
            recipe.evaluate,
            views=recipe.views,
            data=recipe.data.with_absolute_paths().manifests[0],
            seed=recipe.seed,
            count=count,
            excluded=plan.excluded,
        )
        if journal is not None:
            self._evaluator = Evaluator(
                folder=folder.snapshots,
                journal=journal,
                fit=fit or evaluation_of(recipe),
            )

    def is_due(self, step: int) -> bool:
        """Whether a step calls for a snapshot; the last one does so in any case."""
        return self._images is not None and self._every is not None and step % self._every == 0

    def take(self, step: int) -> None:
        """Take a snapshot after a step, unless it is there already. Every rank calls this."""
        self._take(step, last=False)

    def _take(self, step: int, *, last: bool) -> None:
        if self._images is None:
            return
        wanted = self._evaluator is not None and self._evaluator.wants(step, last=last)
        if not collectives.gather_json(wanted)[0]:
            return
        began = time.perf_counter()
        images = self._images.result()
        snapshot = take_snapshot(
            images,
            encoder=self._learner.product,
            head=self._learner.objective,
            views=self._recipe.views,
            config=self._recipe.evaluate,
            features=self._recipe.features,
            batch=self._batch,
        )
        if self._evaluator is not None:
            self._evaluator.submit(step, snapshot)
        if not last:
            self._aside += time.perf_counter() - began

    @property
    def share(self) -> float:
        """Of this rank's time since it began to train, what snapshots took; in [0, 1]."""
        return self._aside / (time.perf_counter() - self._began)

    def flush(self) -> None:
        """Return when all snapshots are in storage."""
        if self._evaluator is not None:
            self._evaluator.flush()

    def forget(self) -> None:
        """Delete snapshots whose figures are in the journal, which is in storage."""
        if self._evaluator is not None:
            self._evaluator.forget()

    def note(self) -> None:
        """Write what has been found out meanwhile into the journal."""
        if self._evaluator is not None:
            self._evaluator.note()

    def finish(self, step: int) -> None:
        """Take the last snapshot, after the last step, and wait. Every rank calls this."""
        self._take(step, last=True)
        if self._evaluator is not None:
            self._evaluator.finish()

    def close(self) -> None:
        """Stop evaluating; what is left is for a resumed run."""
        if self._images is not None:
            self._loader.shutdown(wait=False)
        if self._evaluator is not None:
            self._evaluator.close()


def evaluation_of(recipe: Recipe) -> Fit:
    """Evaluates a saved snapshot of a run, wherever it is called."""
    return partial(
        evaluate_snapshot,
        probes=recipe.evaluate.probes,
        seed=recipe.seed,
    )
