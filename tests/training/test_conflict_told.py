"""Where a user reads that miner and arbiter work against each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.pairs.base import Arbiter
from pipeline.registry.journal import JournalTail, records
from pipeline.runs.folder import RunFolder
from pipeline.training.progress import showing_progress
from tests.report.report_facts import top
from tests.training.loops import loop_for, recipe_for

pytestmark = pytest.mark.fast


class Raising(Arbiter):
    """Raises everything, and so what the miner turns down."""

    def weights(self, projections_VBD: Tensor, *, global_views: int) -> Tensor:
        return torch.full(projections_VBD.shape[:2], 1.5)


@pytest.mark.parametrize("steps", [20, 40], ids=["of the last epoch", "of one before"])
def test_it_is_told_once_in_journal_terminal_and_report(
    steps: int, clipart_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(
        clipart_shards / "train",
        pairs={
            "miner": {"kind": "dbpm", "warm_up": 1, "noisy": 0.5, "faulty": 0.5},
            "arbiter": {"kind": "uota", "start_epoch": 0},
        },
        train={"steps": steps},
    )
    loop = loop_for(recipe, tmp_path / "run")
    loop.learner.pairs.arbiter = Raising(start_epoch=0)
    with showing_progress(
        JournalTail(str(tmp_path / "run" / "journal.jsonl")), RunFolder(str(tmp_path / "run"))
    ):
        loop.run()
    journal = [*records(str(tmp_path / "run" / "journal.jsonl"))]
    (told,) = (record for record in journal if record.get("event") == "pairs")
    assert "1.50 for noisy ones and 1.50 for faulty ones in the last epoch" in told["message"]
    # Ten steps are an epoch, the second one is the first weighed, and journal lines are five apart.
    assert told["step"] == min(steps, 25)
    shown = capsys.readouterr().err
    assert shown.count(f"warning: {told['message']}, at step {told['step']}") == 1
    page = top(records=journal)
    assert f"Miner and arbiter work against each other step {told['step']}: pairs:" in page
