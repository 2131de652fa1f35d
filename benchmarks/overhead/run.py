"""Steps a second of a run through Ray, against a plain torch loop of the same learner and batches.

    python -m benchmarks.overhead.run --json

Both have one training process with one thread and one reader. All contenders are started; then they
take short turns, and while one runs all processes of the others are stopped: so a machine that
drifts hits them alike. A turn counts from the first journal line in it to the last.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmarks.ingest.data import build_workloads
from benchmarks.shared.places import ROOT
from benchmarks.shared.processes import process_tree
from pipeline.registry.journal import records

_PLAIN = "plain"
_SETTLE = 1.0  # seconds of a turn that do not count: what timers have to catch up on
_WARM_UP = 40.0  # seconds after the first journal line, until as much is read ahead as may be
_NICENESS = 15  # Ray gives it to its workers; other people's work would hit a loop without it less


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A learner and its data."""

    name: str
    shards: Path
    size: int  # side of a view in pixels
    encoder: dict[str, Any]
    batch: int
    log_every: int

    def recipe(self, *, ingest: str, folder: Path) -> dict[str, Any]:
        """Of a run that goes on until it is stopped."""
        return {
            "name": ingest,
            "data": {"shards": str(self.shards), "ingest": ingest},
            "views": {"size": self.size},
            "encoder": self.encoder,
            "objective": {"kind": "simclr"},
            "train": {
                "steps": 10**6,
                "global_batch": self.batch,
                "log_every": self.log_every,
                # What a checkpoint costs is for benchmarks.recovery to say.
                "checkpoint": {"every_steps": 10**6},
            },
            "tracking": {"experiment": self.name, "storage": str(folder / "runs")},
        }


def main(
    json_: Annotated[bool, typer.Option("--json", help="End with a JSON line on stdout.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender.")] = 6,
    seconds: Annotated[float, typer.Option(help="Length of a turn.")] = 12.0,
    only: Annotated[str, typer.Option(help="Cases whose name contains this.")] = "",
) -> None:
    """Compare runs with either ingest to the plain loop, where the model dominates and not."""
    with tempfile.TemporaryDirectory() as folder:
        results = {
            case.name: _measure(case, Path(folder), rounds=rounds, seconds=seconds)
            for case in _cases(Path(folder))
            if only in case.name
        }
    for name, result in results.items():
        for contender, figures in result.items():
            print(name, contender, figures, file=sys.stderr)
    if json_:
        print(json.dumps({"rounds": rounds, "seconds": seconds, "cases": results}))


def _cases(folder: Path) -> list[_Case]:
    photographs, _, cliparts, _ = build_workloads(folder, photographs=1024, cliparts=16384)
    return [
        _Case(
            name="photographs",
            shards=photographs.images.shards,
            size=64,
            encoder={"name": "resnet18"},
            batch=16,
            log_every=1,
        ),
        _Case(
            name="small-images",
            shards=cliparts.images.shards,
            size=32,
            encoder={"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            batch=256,
            log_every=5,
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """What a contender did while the others were stopped."""

    steps: int
    seconds: float
    trainer_cpu: float  # seconds for each step, of the training process
    all_cpu: float  # seconds for each step, of all its processes

    @property
    def steps_per_s(self) -> float:
        """Speed by the clock."""
        return self.steps / self.seconds


def _measure(case: _Case, folder: Path, *, rounds: int, seconds: float) -> dict[str, Any]:
    turns: dict[str, list[_Turn]] = {}
    with ExitStack() as stack:
        contenders = {
            name: stack.enter_context(_started(case, name, folder))
            for name in (_PLAIN, "ray", "inline")
        }
        for number in range(rounds):
            for name, contender in contenders.items():
                turns.setdefault(name, []).append(contender.turn(seconds))
                print(f"{case.name} {number} {name}: {turns[name][-1]}", file=sys.stderr)
    return {name: _summary(turns[name], turns[_PLAIN]) for name in turns}


def _summary(turns: list[_Turn], plain: list[_Turn]) -> dict[str, Any]:
    pairs = list(zip(turns, plain, strict=True))
    ratios = [ours.steps_per_s / other.steps_per_s for ours, other in pairs]
    cpu_ratios = [other.trainer_cpu / ours.trainer_cpu for ours, other in pairs]
    return {
        "seconds": round(sum(turn.seconds for turn in turns), 1),
        "steps_per_s": round(statistics.median(turn.steps_per_s for turn in turns), 3),
        "trainer_cpu_s_per_step": round(statistics.median(turn.trainer_cpu for turn in turns), 4),
        "all_cpu_s_per_step": round(statistics.median(turn.all_cpu for turn in turns), 4),
        "ratio_plain": round(statistics.median(ratios), 3),
        "ratio_plain_of_each_round": [round(ratio, 3) for ratio in ratios],
        "trainer_cpu_ratio_plain": round(statistics.median(cpu_ratios), 3),
        "trainer_cpu_ratio_plain_of_each_round": [round(ratio, 3) for ratio in cpu_ratios],
    }


class _Contender:
    """A training process with all that belongs to it, stopped unless it has its turn."""

    def __init__(self, process: subprocess.Popen[bytes], journal: Path) -> None:
        self._process = process
        self._journal = journal
        while not self._lines():
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}")
            time.sleep(0.1)
        (workers,) = (r["workers"] for r in records(str(journal)) if r.get("event") == "training")
        self._trainer: int = workers[0]["pid"]
        time.sleep(_WARM_UP)
        self._signal(signal.SIGSTOP)

    def turn(self, seconds: float) -> _Turn:
        """Let it train for so long."""
        self._signal(signal.SIGCONT)
        time.sleep(_SETTLE)
        began, before = time.time(), process_tree(self._process.pid)
        time.sleep(seconds)
        ended, after = time.time(), process_tree(self._process.pid)
        self._signal(signal.SIGSTOP)
        lines = [line for line in self._lines() if began <= line["time"] <= ended]
        if len(lines) < 2:
            raise RuntimeError(f"no two journal lines in {seconds} seconds; give turns more")
        steps = lines[-1]["step"] - lines[0]["step"]
        lasted = lines[-1]["time"] - lines[0]["time"]
        in_turn = steps / lasted * (ended - began)
        return _Turn(
            steps=steps,
            seconds=lasted,
            trainer_cpu=(after[self._trainer] - before[self._trainer]) / in_turn,
            all_cpu=(sum(after.values()) - sum(before.values())) / in_turn,
        )

    def _signal(self, number: signal.Signals) -> None:
        for pid in process_tree(self._process.pid):
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, number)

    def _lines(self) -> list[dict[str, Any]]:
        return [record for record in records(str(self._journal)) if record["kind"] == "metrics"]


@contextmanager
def _started(case: _Case, name: str, folder: Path) -> Iterator[_Contender]:
    """A contender that has trained for a while and is stopped; killed in the end."""
    home = folder / case.name / name
    home.mkdir(parents=True)
    recipe = home / "recipe.yaml"
    ingest = "ray" if name == _PLAIN else name
    recipe.write_text(yaml.safe_dump(case.recipe(ingest=ingest, folder=home)))
    if name == _PLAIN:
        journal = home / "journal.jsonl"
        module = [sys.executable, "-m", "benchmarks.overhead.plain"]
        command = ["nice", "-n", str(_NICENESS), *module, str(recipe), str(journal)]
    else:
        journal = home / "runs" / case.name / name / "journal.jsonl"
        command = [sys.executable, "-m", "jobs", "pretrain", str(recipe)]
    process = subprocess.Popen(
        command,
        cwd=ROOT if name == _PLAIN else home,
        # As Ray sets it for a worker with one CPU.
        env=os.environ | ({"OMP_NUM_THREADS": "1"} if name == _PLAIN else {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield _Contender(process, journal)
    finally:
        for pid in process_tree(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    typer.run(main)
