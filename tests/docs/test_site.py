"""The site builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.fast

LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//")


def test_the_site_builds_and_stands_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {page.name: page.read_text() for page in tmp_path.rglob("*.html")}
    assert {"index.html", "recipe.html", "api.html"} <= pages.keys()
    assert "pipeline.PairLosses" in pages["api.html"]
    assert not list(tmp_path.rglob("_scripts"))
    assert [found for text in pages.values() for found in LOADED.findall(text)] == []
