"""A process killed while it writes checkpoints never leaves one that loads wrong."""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.runs.checkpoint import CheckpointStore


class Part:
    """A state whose every number is the step."""

    def __init__(self) -> None:
        self.step = 0
        self.weights = torch.zeros(300_000)

    def advance(self, step: int) -> None:
        self.step = step
        self.weights.fill_(step)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.weights = state["step"], state["weights"]


def store_of(root: str) -> tuple[CheckpointStore, list[Part]]:
    store, parts = CheckpointStore(root, keep=2), [Part(), Part()]
    for number, part in enumerate(parts):
        store.register(f"part{number}", part)
    return store, parts


def save_for_ever(root: str, first: int) -> None:
    torch.set_num_threads(1)
    store, parts = store_of(root)
    for step in range(first, 10**9):
        for part in parts:
            part.advance(step)
        store.save(step, metrics={})


def taken_up(root: str) -> int:
    """The step of the newest checkpoint, whose parts must be of that very step."""
    store, parts = store_of(root)
    newest = store.newest()
    if newest is None:
        return 0
    store.load(newest)
    for part in parts:
        assert part.step == newest
        assert (part.weights == newest).all()
    return newest


# The second is a store to our code, whose files appear piece by piece and are never renamed.
@pytest.mark.parametrize("scheme", ["", "local://"])
@pytest.mark.parametrize("kills", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_a_checkpoint_that_loads_right(
    kills: int, scheme: str, tmp_path: Path
) -> None:
    root = f"{scheme}{tmp_path}"
    chance, context, reached = random.SystemRandom(), multiprocessing.get_context("fork"), 0
    for _ in range(kills):
        process = context.Process(target=save_for_ever, args=(root, reached + 1))
        process.start()
        time.sleep(chance.uniform(0.02, 0.25))
        process.kill()
        process.join()
        now = taken_up(root)
        assert now >= reached
        reached = now
    assert reached > kills / 4


def test_what_becomes_of_the_weights_after_a_save_is_not_in_it(tmp_path: Path) -> None:
    store, parts = store_of(str(tmp_path))
    for step in (1, 2, 3):
        for part in parts:
            part.advance(step)
        store.save(step, metrics={})
        for part in parts:
            part.advance(99)
    store.wait()
    assert taken_up(str(tmp_path)) == 3


def test_a_full_disk_is_an_error_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    store, parts = store_of(str(tmp_path))
    for part in parts:
        part.advance(1)
    store.save(1, metrics={})
    store.wait()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (10, 100_000, 1_200_000):  # of JSON, of tensors, near the end of tensors
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            store.save(2, metrics={})
            with pytest.raises(OSError, match=r"File too large|step-0000000002"):
                store.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001"]
    assert taken_up(str(tmp_path)) == 1
