"""Checkpoints: what is saved comes back exactly, and a damaged one is never used."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest

from pipeline.learning.config import BestConfig
from pipeline.runs.checkpoint import COMPLETE, CheckpointError, CheckpointStore

pytestmark = pytest.mark.fast


class Part:
    """Something with a state that says which step it belongs to."""

    def __init__(self) -> None:
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "text": "x" * 50}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


class Run:
    """A store with two parts, as after so many steps."""

    def __init__(self, root: Path, *, keep: int = 3, best: BestConfig | None = None) -> None:
        self.root = root
        self.store = CheckpointStore(str(root), keep=keep, best=best)
        self.parts = [Part(), Part()]
        for name, part in zip(("optimization", "data"), self.parts, strict=True):
            self.store.register(name, part)

    def save(self, step: int, **metrics: float) -> Path:
        for part in self.parts:
            part.step = step
        self.store.save(step, metrics=metrics)
        self.store.wait()
        return self.root / f"step-{step:010d}"

    def resume(self) -> list[int]:
        """The step of each part after taking up the newest checkpoint."""
        newest = self.store.newest()
        assert newest is not None
        self.store.load(newest)
        return [part.step for part in self.parts]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "checkpoints")


FILES = ["data.json", "data.safetensors", "optimization.json", "optimization.safetensors"]


def test_there_is_no_checkpoint_before_the_first(run: Run) -> None:
    assert run.store.newest() is None


def test_every_part_comes_back(run: Run, tmp_path: Path) -> None:
    folder = run.save(7)
    assert sorted(path.name for path in folder.iterdir()) == [COMPLETE, *FILES]
    assert Run(tmp_path / "checkpoints").resume() == [7, 7]


def test_a_part_registers_once(run: Run) -> None:
    with pytest.raises(ValueError, match="data is registered already"):
        run.store.register("data", Part())


def test_the_newest_ones_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=2)
    for step in (5, 9, 10, 99, 100):
        run.save(step)
    assert sorted(int(path.name.removeprefix("step-")) for path in tmp_path.iterdir()) == [99, 100]
    assert run.resume() == [100, 100]


def test_a_step_can_be_saved_again(run: Run) -> None:
    run.save(1)
    run.save(2)
    run.save(2)
    assert run.resume() == [2, 2]
    assert len(list(run.root.iterdir())) == 2


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [flip, truncate, empty, lengthen, zero, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    run: Run, caplog: pytest.LogCaptureFixture, name: str, damage: Any
) -> None:
    run.save(1)
    newest = run.save(2)
    damage(newest / name)
    with caplog.at_level(logging.WARNING):
        assert run.resume() == [1, 1]
    assert str(newest) in caplog.text
    assert name in caplog.text


def test_any_flipped_byte_of_any_file_is_noticed(run: Run) -> None:
    run.save(1)
    newest = run.save(2)
    for name in FILES:
        whole = (newest / name).read_bytes()
        for position in range(len(whole)):
            (newest / name).write_bytes(
                whole[:position] + bytes([whole[position] ^ 32]) + whole[position + 1 :]
            )
            assert run.resume() == [1, 1]
        (newest / name).write_bytes(whole)
    assert run.resume() == [2, 2]


@pytest.mark.parametrize("text", ["", "{", "garbage", "{}", '{"files": ', "\0" * 40, "\x85"])
def test_a_list_of_files_that_cannot_be_read_is_damage(
    run: Run, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    run.save(1)
    newest = run.save(2)
    (newest / COMPLETE).write_bytes(text.encode("latin-1"))
    assert run.resume() == [1, 1]
    assert f"{newest} is damaged ({COMPLETE} cannot be read" in caplog.text


@pytest.mark.parametrize(
    "text", ["null", "3", "[]", '{"files": []}', '{"files": {"data.json": {"sise": 1}}}']
)
def test_a_list_of_files_with_other_json_is_damage(run: Run, text: str) -> None:
    run.save(1)
    newest = run.save(2)
    (newest / COMPLETE).write_text(text)
    assert run.resume() == [1, 1]


def test_any_flipped_byte_of_the_list_of_files_is_noticed_or_harmless(run: Run) -> None:
    run.save(1)
    newest = run.save(2)
    whole = (newest / COMPLETE).read_bytes()
    for position in range(len(whole)):
        flipped = bytes([whole[position] ^ 1])
        (newest / COMPLETE).write_bytes(whole[:position] + flipped + whole[position + 1 :])
        assert run.resume() in ([1, 1], [2, 2])


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 3)])
def test_the_best_is_kept_beside_the_newest(
    tmp_path: Path, mode: Literal["min", "max"], best: int
) -> None:
    run = Run(tmp_path, keep=2, best=BestConfig(metric="loss", mode=mode))
    for step, loss in enumerate([3.0, 1.0, 4.0, 2.0, 3.5, 2.5], start=1):
        run.save(step, loss=loss)
    assert run.store.best() == best
    run.save(7)  # before anything was logged
    assert run.store.best() == best
    kept = sorted(int(path.name.removeprefix("step-")) for path in tmp_path.iterdir())
    assert kept == [best, 6, 7]
    assert run.resume() == [7, 7]


def test_without_a_metric_there_is_no_best(run: Run) -> None:
    run.save(1, loss=1.0)
    assert run.store.best() is None


def test_when_all_are_damaged_each_is_named_and_none_is_used(run: Run) -> None:
    folders = [run.save(step) for step in (1, 2, 3)]
    for folder in folders:
        flip(folder / "optimization.safetensors")
    with pytest.raises(CheckpointError) as error:
        run.store.newest()
    assert all(str(folder) in str(error.value) for folder in folders)


def test_the_only_one_being_damaged_is_an_error_and_no_fresh_start(run: Run) -> None:
    truncate(run.save(1) / "data.json")
    with pytest.raises(CheckpointError):
        run.store.newest()


def test_without_its_list_of_files_a_checkpoint_does_not_exist(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    (run.save(1) / COMPLETE).unlink()
    assert run.store.newest() is None
    run.save(2)
    (run.save(3) / COMPLETE).unlink()
    assert run.resume() == [2, 2]
    assert caplog.text == ""


def test_a_save_interrupted_anywhere_leaves_the_one_before(run: Run, tmp_path: Path) -> None:
    run.save(1)
    done = run.save(2)
    whole = {name: (done / name).read_bytes() for name in [*FILES, COMPLETE]}
    order = ["optimization.json", "optimization.safetensors", "data.json", "data.safetensors"]
    stages = [*order, f"{COMPLETE}.partial"]
    shutil.rmtree(done)
    for count in range(len(stages) + 1):
        for share in (0, 0.5, 1):
            done.mkdir()
            for name in stages[:count]:
                (done / name).write_bytes(whole[name.removesuffix(".partial")])
            if count:
                torn = (done / stages[count - 1]).read_bytes()
                (done / stages[count - 1]).write_bytes(torn[: round(share * len(torn))])
            assert run.resume() == [1, 1]
            shutil.rmtree(done)
    run.save(2)
    assert run.resume() == [2, 2]


def test_a_damaged_newest_one_does_not_push_out_the_good_ones(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=1)
    flip(run.save(20) / "data.json")
    run.save(15)
    assert run.resume() == [15, 15]


def test_the_list_of_files_tells_the_step(run: Run) -> None:
    listed = json.loads((run.save(12) / COMPLETE).read_text())
    assert listed["step"] == 12
    assert sorted(listed["files"]) == FILES
