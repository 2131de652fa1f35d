"""The driver and its workers killed with -9 at random steps of one run through Ray."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Undisturbed
from tests.faults.pretraining import SHORT, TRAIN, Pretraining, assert_mlflow_has_the_journal


@pytest.mark.parametrize(
    ("drivers", "workers", "ingest", "train"),
    [(1, 1, "inline", SHORT), pytest.param(2, 10, "ray", TRAIN, marks=pytest.mark.slow)],
)
def test_drivers_and_workers_killed_at_random_change_nothing(
    drivers: int,
    workers: int,
    ingest: str,
    train: dict[str, Any],
    undisturbed: Callable[[dict[str, Any]], Undisturbed],
    shards: Path,
    tmp_path: Path,
) -> None:
    expected, steps = undisturbed(train), train["steps"]
    run = Pretraining(tmp_path, data={"shards": str(shards), "ingest": ingest}, train=train)
    chance = random.SystemRandom()
    kills = ["driver"] * drivers + ["worker"] * workers
    chance.shuffle(kills)
    with ExitStack() as commands:
        process = commands.enter_context(run.started())
        for number, kill in enumerate(kills):
            done = run.last_step()
            until = done + chance.randint(1, (steps - 20 - done) // (len(kills) - number))
            run.wait_for(until, process, starts=number + 1)
            if kill == "worker":
                os.kill(chance.choice(run.starts()[-1]["workers"])["pid"], signal.SIGKILL)
            else:
                process.kill()
                process.wait()
                process = commands.enter_context(run.started())
        result = run.result(process)
    told = f"killed {kills}, trainings started at {[start['step'] for start in run.starts()]}"
    assert len(run.starts()) == len(kills) + 1, told
    assert result["encoder_sha256"] == expected.encoder_sha256, told
    assert result["samples"] == expected.samples, told
    assert run.trace().equals(expected.trace), told
    assert run.steps() == list(range(2, steps + 1, 2)), told
    assert_mlflow_has_the_journal(run, result)
