"""A checkpoint that is taken over from another run is that run's, and then one's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.data import storage
from pipeline.pairs.history import SampleHistory
from pipeline.runs.checkpoint import COMPLETE, CheckpointStore
from tests.training.loops import loop_for, recipe_for, same

pytestmark = pytest.mark.fast

RANGES = {0: (0, 50), 1: (50, 90)}


class Part:
    """Something with tensors and numbers."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class Run:
    """A store with a part, and what is known of two streams."""

    def __init__(self, root: str, *, keep: int = 3) -> None:
        self.store = CheckpointStore(root, keep=keep)
        self.part = Part()
        self.history = SampleHistory(RANGES, device=torch.device("cpu"))
        self.store.register("part", self.part)
        self.store.register_streams(self.history)

    def save(self, step: int) -> None:
        self.part.state = {"step": step, "weights": torch.full((3,), float(step))}
        self.history.add(torch.arange(90), losses=torch.arange(90.0) + step, weights=None)
        self.store.save(step, metrics={"loss": 1.0}, streams=self.store.write_streams())
        self.store.wait()

    def streams(self) -> dict[int, dict[str, Tensor]]:
        return {stream: self.history.stream_state(stream) for stream in self.history.streams}


@pytest.fixture(params=["disk", "store"])
def roots(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where two runs' checkpoints lie: on a disk, and in a store."""
    if request.param == "disk":
        return str(tmp_path / "donor"), str(tmp_path / "own")
    options = request.getfixturevalue("object_store")
    donor, own = (f"s3://runs/take-over/{name}?{options}" for name in ("donor", "own"))
    return donor, own


def test_it_loads_as_it_did_there(roots: tuple[str, str]) -> None:
    donor, own = Run(roots[0]), Run(roots[1])
    for step in (5, 10, 15):
        donor.save(step)
    own.store.take_over(donor.store, 10)
    assert own.store.steps() == [10]
    assert own.store.newest() == 10
    there, here = Run(roots[0]), Run(roots[1])
    for run in (there, here):
        run.store.load(10)
        assert run.part.state["step"] == 10
        assert run.part.state["weights"].tolist() == [10.0] * 3
    for stream, state in there.streams().items():
        assert same(state, here.streams()[stream])
        assert same(state, here.store.read_streams(10)[stream])
    assert not same(there.streams()[0], donor.streams()[0])  # which are of step 15


def test_it_stays_when_the_donors_is_gone_and_goes_when_ones_own_come(tmp_path: Path) -> None:
    donor, own = Run(str(tmp_path / "donor")), Run(str(tmp_path / "own"), keep=2)
    donor.save(10)
    own.store.take_over(donor.store, 10)
    shutil.rmtree(tmp_path / "donor")
    own.store.load(10)
    assert own.store.newest() == 10
    own.save(11)
    assert own.store.steps() == [11, 10]
    own.save(12)
    assert own.store.steps() == [12, 11]
    again = Run(str(tmp_path / "own"))
    again.store.load(12)
    for stream, state in again.streams().items():
        assert same(state, own.streams()[stream])


def test_what_is_not_there_cannot_be_taken_over(tmp_path: Path) -> None:
    donor, own = Run(str(tmp_path / "donor")), Run(str(tmp_path / "own"))
    donor.save(10)
    with pytest.raises(FileNotFoundError):
        own.store.take_over(donor.store, 5)
    assert own.store.newest() is None


def test_a_copy_that_is_cut_short_does_not_count(tmp_path: Path) -> None:
    """As when the donor drops the checkpoint meanwhile; `COMPLETE.json` comes last."""
    donor, own = Run(str(tmp_path / "donor")), Run(str(tmp_path / "own"))
    donor.save(10)
    folder = tmp_path / "donor" / "step-0000000010"
    names = sorted(path.name for path in folder.iterdir() if path.name != COMPLETE)
    for name in names:
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError):
            own.store.take_over(donor.store, 10)
        assert own.store.steps() == []
        (folder / name).write_bytes(kept)
    own.store.take_over(donor.store, 10)
    assert own.store.newest() == 10
    for name in [*names, COMPLETE]:
        copied = tmp_path / "own" / "step-0000000010" / name
        assert storage.read_file(str(copied)) == (folder / name).read_bytes()


def test_a_run_goes_on_from_anothers_checkpoint_as_that_one_did(
    clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(
        clipart_shards / "train",
        pairs={"miner": "dbpm"},
        train={"steps": 16, "checkpoint": {"every_steps": 8, "keep": 5}},
    )
    donor = loop_for(recipe, tmp_path / "donor")
    donor.run()
    roots = [str(tmp_path / name / "checkpoints") for name in ("donor", "own")]
    there, here = (CheckpointStore(root, keep=1) for root in roots)
    assert there.read_streams(8).keys() == {0, 1, 2, 3}
    here.take_over(there, 8)
    own = loop_for(recipe, tmp_path / "own")
    own.run()
    assert same(donor.learner.state_dict(), own.learner.state_dict())
