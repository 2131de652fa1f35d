"""The driver of a sweep killed with -9, and interrupted: the same command takes it up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.registry.journal import records
from pipeline.sweeps.folder import SweepFolder
from tests.sweeps.sweeping import children, folder_in, ledger_events, recipe_for, starts_of

STEPS = 200
SWEEP = {
    "space": {"objective.temperature": {"choice": [0.1, 0.2, 0.4, 0.8]}},
    "searcher": "random",
    "scheduler": None,
    "trials": 2,
    "concurrent": 2,
    "looks": 10,
}
MARK = "SWEEP_OF_TEST"
"""Variable that the processes of the test's sweeps, and of their Rays, have."""
_PATIENCE = 240.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clipart_shards: Path) -> Path:
    """A folder with the recipe of a sweep."""
    folder = tmp_path_factory.mktemp("killed")
    recipe = recipe_for(clipart_shards, folder, **SWEEP)
    recipe["train"] |= {"steps": STEPS, "global_batch": 120, "checkpoint": {"every_steps": 10}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`jobs sweep` in a process of its own, which is ended if the test fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "sweep", "recipe.yaml", "--json"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        | {MARK: str(folder)},
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr").open("a"),
        text=True,
        # Ignored, as in what a shell starts in the background, it would be for this one too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """Return when it is so.

    Raises:
        AssertionError: the process ended before, or it takes too long.
    """
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        assert process.poll() is None, "the sweep ended before"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def looked(sweep: SweepFolder) -> list[dict[str, Any]]:
    """The looks that are in the ledger."""
    return ledger_events(sweep, "looked") if Path(sweep.ledger).exists() else []


def left_of(folder: Path) -> list[str]:
    """Command lines of living processes that the sweeps of a folder started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"{MARK}={folder}\0".encode() in environment:
                found.append(command)
    return found


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """Of a sweep killed at its first looks, interrupted later, and then left alone."""
    sweep = folder_in(folder)
    with started(folder) as process:
        wait_until(process, lambda: bool(looked(sweep)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with started(folder) as process:
        wait_until(process, lambda: any(len(starts_of(sweep, n)) > 1 for n in range(2)))
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=_PATIENCE) == 1
        (line,) = process.stdout or ()
        assert "will go on" in json.loads(line)["errors"][0]["message"]
    with started(folder) as process:
        stdout, _ = process.communicate(timeout=600)
        assert process.returncode == 0
    (line,) = stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_no_trial_is_begun_twice_and_all_finish(folder: Path, result: dict[str, Any]) -> None:
    started = [record["trial"] for record in ledger_events(folder_in(folder), "started")]
    assert started == [0, 1]
    assert result["trials"] == result["finished"] == 2


def test_running_trials_went_on_from_their_checkpoints(
    folder: Path, result: dict[str, Any]
) -> None:
    sweep = folder_in(folder)
    resumed = {record["trial"] for record in ledger_events(sweep, "resumed")}
    assert resumed
    for number in resumed:
        first, *others = starts_of(sweep, number)
        assert first == 0
        assert all(0 < step < STEPS for step in others), others
        journal = records(sweep.run(number, 0, 0).journal)
        steps = [r["step"] for r in journal if r["kind"] == "metrics"]
        assert steps == list(range(1, STEPS + 1)), "a step is missing, or there twice"


def test_trials_that_were_interrupted_left_a_checkpoint_of_where_they_were(
    folder: Path, result: dict[str, Any]
) -> None:
    """Of more than the start that was interrupted had begun with, a moment before."""
    sweep = folder_in(folder)
    ends = [r for r in ledger_events(sweep, "ended") if r["state"] == "halted"]
    compared = 0
    for end in ends:
        begun = max(r["time"] for r in ledger_events(sweep, "begun") if r["time"] < end["time"])
        journal = list(records(sweep.run(end["trial"], 0, 0).journal))
        starts = [r for r in journal if r.get("event") == "training"]
        within = [s["step"] for s in starts if begun < s["time"] < end["time"]]
        after = [s["step"] for s in starts if s["time"] > end["time"]]
        if within:  # else it was told to halt before it trained
            assert len(within) == len(after) == 1
            assert after[0] > within[0]
            compared += 1
    assert compared


def test_looks_are_in_the_ledger_once(folder: Path, result: dict[str, Any]) -> None:
    looks = [(look["trial"], look["step"]) for look in looked(folder_in(folder))]
    assert len(set(looks)) == len(looks)


def test_mlflow_has_one_ended_run_for_each_trial(folder: Path, result: dict[str, Any]) -> None:
    parent, trials = children(folder)
    assert sorted(trials) == [0, 1]
    assert {run.info.status for run in [parent, *trials.values()]} == {"FINISHED"}


def test_no_process_is_left(folder: Path, result: dict[str, Any]) -> None:
    deadline = time.monotonic() + 30
    while (left := left_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == []
