"""What users rely on changes only on purpose, and costs no heavy import before it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pipeline
from jobs.__main__ import app
from tests.public_names import FILE, as_text

pytestmark = pytest.mark.fast


def test_public_names_are_as_they_were() -> None:
    before, now = FILE.read_text().splitlines(), as_text().splitlines()
    changes = "\n".join(unified_diff(before, now, "was", "is", lineterm="", n=2))
    assert before == now, (
        f"{changes}\n\nNames that users rely on have changed. If that is meant: run\n"
        f"    python -m tests.public_names\n"
        f"which writes tests/fixtures/{FILE.name}, and add a line to CHANGELOG.md."
    )


def test_the_fixture_is_about_all_of_it() -> None:
    names = json.loads(FILE.read_text())
    assert set(names["python"]) == set(pipeline.__all__)
    assert "objective[simclr].temperature" in names["recipe"]
    assert {"pairs.miner[dbpm].noisy", "train.checkpoint.best.mode"} <= set(names["recipe"])
    assert {"steps_per_epoch", "warnings", "order"} <= set(names["results"]["plan"])
    assert {"model", "probes", "panel", "bad_pairs.counts"} <= set(names["results"]["pretrain"])
    printed = {verb.partition(" ")[0] for verb in names["results"]}
    assert set(names["verbs"]) <= printed


def loaded(code: str, cwd: Path) -> set[str]:
    """Which of the heavy libraries are there after some code in a fresh process."""
    heavy = "{'torch', 'torchvision', 'ray', 'mlflow', 'timm', 'pyarrow', 'sklearn', 'pandas'}"
    code += f"\nimport sys\nprint(*{heavy} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


VERB = """
import sys
from typer.testing import CliRunner
from jobs.__main__ import app
result = CliRunner().invoke(app, {arguments})
assert result.exit_code == {code}, result.output
"""


def test_the_front_door_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded("import pipeline; dir(pipeline); pipeline.UserError", tmp_path) == set()


@pytest.mark.parametrize("verb", ["plan", "pretrain"])
@pytest.mark.parametrize(
    "slip", ["objective.tempreture=1", "pairs.miner.kind=dbmp", "train.optimizer.kind=adamv"]
)
def test_a_misspelt_setting_is_told_without_what_trains(
    tmp_path: Path, verb: str, slip: str
) -> None:
    (tmp_path / "a.yaml").write_text(
        "data: {shards: a}\nencoder: {name: resnet18}\ntrain: {epochs: 1}\n"
    )
    code = VERB.format(arguments=[verb, "a.yaml", slip], code=2)
    assert loaded(code, tmp_path) <= {"pyarrow"}


@pytest.mark.parametrize("verb", ["plan", "pretrain"])
def test_so_is_a_misspelt_encoder(tmp_path: Path, verb: str) -> None:
    (tmp_path / "a.yaml").write_text("data: {shards: a}\nencoder: {name: a}\ntrain: {epochs: 1}\n")
    assert loaded(VERB.format(arguments=[verb, "a.yaml"], code=2), tmp_path) <= {"pyarrow"}


@pytest.mark.parametrize("verb", [["schema"], ["init"], ["--help"], ["pretrain", "--help"]])
def test_what_needs_no_training_is_done_without_what_trains(
    tmp_path: Path, verb: list[str]
) -> None:
    assert loaded(VERB.format(arguments=verb, code=0), tmp_path) <= {"pyarrow"}


@pytest.mark.parametrize(
    ("verb", "arguments", "code"),
    [
        ("shard", ["shard", "pictures.npz", "made"], 0),
        ("init", ["init", "--data", "pictures.npz"], 0),
        ("any, on mistakes", ["plan", "absent.yaml"], 2),
    ],
)
def test_what_is_printed_has_the_keys_that_were_read_from_the_code(
    verb: str,
    arguments: list[str],
    code: int,
    clipart: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictures.npz").symlink_to(clipart)
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == code
    expected = [key for key in json.loads(FILE.read_text())["results"][verb] if "." not in key]
    assert list(json.loads(done.stdout)) == expected
