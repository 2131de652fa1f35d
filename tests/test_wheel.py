"""The package works where it is installed, without a checkout: with recipes, schema, templates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "jobs")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, so that nothing is left in the checkout, and nothing of it from before."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    made = tmp_path_factory.mktemp("made")
    run(Path(sys.executable), "-c", BUILD, made, cwd=source)
    (found,) = made.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that has the wheel, and what it depends on from that of the tests."""
    home = tmp_path_factory.mktemp("installed")
    run(Path(sys.executable), "-m", "venv", "--without-pip", home, cwd=home)
    program = home / "bin" / "python"
    install = ("install", "--quiet", "--no-index", "--no-deps", "--no-compile", wheel)
    run(Path(sys.executable), "-m", "pip", "--python", program, *install, cwd=home)
    # Afterwards: pip must not take the checkout's own editable install for one to replace. That
    # one stays out of sight, because paths that a .pth file adds have no .pth files read.
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return program


def run(program: Path, *arguments: object, cwd: Path) -> str:
    """What a program prints, somewhere and with nothing of the checkout in its environment."""
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
    }
    assert held == there


def test_it_is_what_python_and_the_verbs_run(python: Path, tmp_path: Path) -> None:
    code = (
        "import json, sys, pathlib, jobs, pipeline\n"
        "folder = pathlib.Path(jobs.__file__).parent / 'recipes'\n"
        "read = [pipeline.load_recipe(path).objective.kind for path in folder.glob('*.yaml')]\n"
        "schema = json.loads((folder / 'recipe.schema.json').read_text())\n"
        "print(json.dumps([pipeline.__file__, read, schema == pipeline.recipe_schema()]))\n"
    )
    file, kinds, same = json.loads(run(python, "-c", code, cwd=tmp_path))
    assert Path(file).is_relative_to(python.parents[1])
    assert len(kinds) == len(list((ROOT / "jobs" / "recipes").glob("*.yaml")))
    assert same
    assert "pretrain" in run(python, "-m", "jobs", "--help", cwd=tmp_path)
    assert json.loads(run(python, "-m", "jobs", "schema", cwd=tmp_path))["title"]
    run(python, "-m", "jobs", "init", cwd=tmp_path)
    assert (tmp_path / "recipe.yaml").exists()
