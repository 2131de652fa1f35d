"""The README's commands and code, run as they stand on a folder of images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, clipart: Path) -> Path:
    """A folder as the README assumes it: a checkout with `.venv`, and the user's `photos/`."""
    for name in ("jobs", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    with np.load(clipart) as arrays:
        for number, (pixels, label) in enumerate(zip(arrays["x"], arrays["y"], strict=True)):
            path = tmp_path / "photos" / str(arrays["names"][label]) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((80, 64)).save(path)
    return tmp_path


def test_the_tour_runs_as_it_stands(home: Path) -> None:
    (tour,), (data,) = blocks("bash"), blocks("sh")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "VIRTUAL"))}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", tour + data],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with_us, without_us, *_ = blocks("python")
    picture = next((home / "photos").rglob("*.jpg"))
    code = f"from PIL import Image\nimage = Image.open({str(picture)!r})\n{with_us}\n"
    code += "assert features.shape == (1, 512)\n" + without_us
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr


def test_the_set_up_is_two_commands_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test"} <= named <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_recipe_shown_is_the_recipe_shipped() -> None:
    (shown,) = blocks("yaml")
    assert shown == (ROOT / "jobs" / "recipes" / "images.yaml").read_text()


def test_every_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
