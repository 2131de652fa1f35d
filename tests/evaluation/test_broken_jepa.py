"""The alarm and an I-JEPA without twin and stop-gradient, by the script that draws docs/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import broken_jepa


def test_the_alarm_is_raised_while_the_loss_falls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "curves.svg"
    broken_jepa.main(picture, steps=100, json_=True)
    sound, broken = json.loads(capsys.readouterr().out.splitlines()[-1]).values()
    assert broken["last_loss"] < 0.1 * broken["first_loss"] < sound["last_loss"]
    assert "complete collapse" in broken["alarm"]
    assert broken["alarm_step"] < 100
    assert "complete" not in (sound["alarm"] or "")
    assert picture.read_text().count("<polyline") == 6
