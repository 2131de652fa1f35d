"""A checkout with a user's pictures in it, and one where the README's tour has run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.docs.pages import ROOT, Block, groups

Runner = Callable[[list[Block], Path], dict[str, Any]]


def checkout(folder: Path, clipart: Path) -> Path:
    """What the pages assume: a checkout with `.venv`, the user's `photos/`, and one more photo."""
    for name in ("benchmarks", "jobs", "pipeline"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    with np.load(clipart) as arrays:
        for number, (pixels, label) in enumerate(zip(arrays["x"], arrays["y"], strict=True)):
            path = folder / "photos" / str(arrays["names"][label]) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((80, 64)).save(path)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    return folder


def run(blocks: list[Block], folder: Path) -> dict[str, Any]:
    """Run blocks in order: commands by bash, Python here, in one namespace, which is given."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if block.language == "python":
            # As many lines before it as on the page, so that a traceback names the page's line.
            code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")
            with chdir(folder):
                exec(code, namespace)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "VIRTUAL"))},
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, f"{block.where}\n{done.stdout}\n{done.stderr}"
    return namespace


@pytest.fixture(scope="session")
def toured(clipart: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A checkout in which the README's tour has run, and the names that its Python has made."""
    folder = checkout(tmp_path_factory.mktemp("tour"), clipart)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return folder, run(groups()["README.md: tour"], folder)
