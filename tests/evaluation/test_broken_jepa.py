"""The alarm and an I-JEPA without twin and stop-gradient, by the script that draws docs/."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_alarm_is_raised_while_the_loss_falls(tmp_path: Path) -> None:
    picture = tmp_path / "curves.svg"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.broken_jepa", picture, "--steps", "100", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    sound, broken = json.loads(done.stdout.splitlines()[-1]).values()
    assert broken["last_loss"] < 0.1 * broken["first_loss"] < sound["last_loss"]
    assert "complete collapse" in broken["alarm"]
    assert broken["alarm_step"] < 100
    assert "complete" not in (sound["alarm"] or "")
    assert picture.read_text().count("<polyline") == 6
