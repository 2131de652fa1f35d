"""A run that is asked to halt leaves a checkpoint of where it is, and goes on as if it had not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils._pytree import tree_flatten

from pipeline.registry.journal import records
from pipeline.runs.checkpoint import CheckpointStore
from pipeline.runs.folder import RunFolder
from pipeline.runs.trace import join_trace
from pipeline.training import halting as halting_module
from pipeline.training.halting import HaltRequest, ask_to_halt, let_run
from tests.ranks import halting, processes
from tests.training.loops import loop_for, metrics_of, recipe_for, same

pytestmark = pytest.mark.fast

STEPS = 25


def at_time(number: int) -> Callable[[], bool]:
    """Wants to halt when it is asked for that time, from 1."""
    asked = 0

    def wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked >= number

    return wanted


def steps_kept(path: Path) -> list[int]:
    return CheckpointStore(RunFolder(str(path)).checkpoints, keep=1).steps()[::-1]


def leaves(state: Any) -> tuple[list[Any], str]:
    """What a nested state holds, and its shape."""
    values, shape = tree_flatten(state)
    return [v.numpy().tobytes() if isinstance(v, torch.Tensor) else v for v in values], str(shape)


def trace_of(path: Path) -> Any:
    join_trace(RunFolder(str(path)).trace, path / "trace.parquet")
    return pq.read_table(path / "trace.parquet")


def evaluations(path: Path) -> dict[int, dict[str, float]]:
    journal = RunFolder(str(path)).journal
    return {r["step"]: r["metrics"] for r in records(journal) if r["kind"] == "evaluation"}


@pytest.mark.parametrize("time", [1, 3])
def test_a_halted_run_ends_bit_by_bit_as_the_undisturbed_one(
    clipart_shards: Path, tmp_path: Path, time: int
) -> None:
    """With an evaluation at every eighth step, momentum, and a memory of the data's order."""
    shards = clipart_shards / "train"
    recipe = recipe_for(
        shards,
        objective={"kind": "moco", "projector": [16], "queue": 48},
        train={"trace": "by the driver"},
        evaluate={"snapshot_samples": 20, "snapshot_share": 1.0, "every": 0.8},
    )
    undisturbed = loop_for(recipe, tmp_path / "a")
    account = undisturbed.run()
    halted = loop_for(recipe, tmp_path / "b", halt=at_time(time))
    so_far = halted.run()
    assert halted.halted
    assert so_far["served"] == 5 * time * 24
    resumed = loop_for(recipe, tmp_path / "b", halt=lambda: False)
    assert resumed.run() == account
    assert not resumed.halted
    assert same(undisturbed.learner.state_dict(), resumed.learner.state_dict())
    for name in ("optimization", "data"):
        states = [
            CheckpointStore(RunFolder(str(tmp_path / run)).checkpoints, keep=1).read(STEPS, name)
            for run in "ab"
        ]
        assert leaves(states[0]) == leaves(states[1])
    losses = [[m["metrics"]["loss"] for m in metrics_of(tmp_path / run)] for run in "ab"]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 5
    assert trace_of(tmp_path / "a").equals(trace_of(tmp_path / "b"))
    found = evaluations(tmp_path / "b")
    assert found == evaluations(tmp_path / "a")
    assert list(found) == [8, 16, 24, 25]


def test_a_halted_run_leaves_a_whole_checkpoint_of_where_it_is(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(clipart_shards / "train")
    loop = loop_for(recipe, tmp_path, halt=at_time(2))
    loop.run()
    store = CheckpointStore(RunFolder(str(tmp_path)).checkpoints, keep=1)
    assert steps_kept(tmp_path) == [8, 10]
    assert store.newest() == 10
    assert [m["step"] for m in metrics_of(tmp_path)] == [5, 10]
    again = loop_for(recipe, tmp_path, halt=at_time(1))
    again.run()
    assert again.halted
    assert store.newest() == 15


def test_a_halted_run_is_not_evaluated_as_if_it_had_ended(
    clipart_shards: Path, tmp_path: Path
) -> None:
    evaluate = {"snapshot_samples": 20, "snapshot_share": 1.0, "every": 0.8}
    recipe = recipe_for(clipart_shards / "train", evaluate=evaluate)
    loop_for(recipe, tmp_path, halt=at_time(2)).run()
    assert list(evaluations(tmp_path)) == [8]


def test_nobody_asking_changes_nothing(clipart_shards: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def never() -> bool:
        asked.append(1)
        return False

    recipe = recipe_for(clipart_shards / "train")
    without, asking = loop_for(recipe, tmp_path / "a"), loop_for(recipe, tmp_path / "b", halt=never)
    assert without.run() == asking.run()
    assert same(without.learner.state_dict(), asking.learner.state_dict())
    assert not without.halted
    assert not asking.halted
    assert steps_kept(tmp_path / "a") == steps_kept(tmp_path / "b") == [24, 25]
    assert len(asked) == 4, "it is asked with every line of the journal but the last"


def test_a_run_that_is_at_its_end_ends(clipart_shards: Path, tmp_path: Path) -> None:
    loop = loop_for(recipe_for(clipart_shards / "train"), tmp_path, halt=at_time(5))
    account = loop.run()
    assert not loop.halted
    assert account["served"] == STEPS * 24


def test_ranks_halt_together_because_the_first_one_says_so(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(clipart_shards / "train", train={"steps": 9, "log_every": 2})
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json(by_alias=True))
    for name in ("undisturbed", "halted"):
        (tmp_path / name).mkdir()
    processes.run(halting.main, 2, tmp_path)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert [(run.pop("halted"), run.pop("served")) for run in found] == [
            (False, 9 * 24),
            (True, 4 * 24),
            (False, 9 * 24),
        ]
        undisturbed, halted, resumed = found
        assert same(undisturbed, resumed)
        assert not same(undisturbed, halted)


class Clock:
    """The time that a request sees."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


def test_a_request_is_a_file_that_is_looked_for_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, folder = Clock(), RunFolder(str(tmp_path / "run"))
    monkeypatch.setattr(halting_module, "time", clock)
    request = HaltRequest(folder.halt)
    assert not request()
    ask_to_halt(folder)
    assert not request()  # within the second
    clock.now += 1
    assert request()
    let_run(folder)
    clock.now += 5
    assert request()  # who halts, halts
    assert not HaltRequest(folder.halt)()
    let_run(folder)  # of which there is none
    ask_to_halt(folder)
    assert HaltRequest(folder.halt)()
