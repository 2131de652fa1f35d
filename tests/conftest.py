"""What tests share: real pictures, shards of them, and the commands as a person runs them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are tiny, and other tests run beside

import boto3
import pytest
import ray
import yaml
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from jobs.__main__ import app
from pipeline.data.sources.convert import shard
from pipeline.errors import UserError
from pipeline.report.facts import RunFacts

pytest_plugins = ["tests.distribution", "tests.durations"]
FIXTURES = Path(__file__).parent / "fixtures"
ROOT = Path(__file__).parent.parent
Checker = Callable[..., dict[str, str]]
SMALL = {
    "encoder": {"name": "resnet10t", "args": {"channels": [16, 16, 32, 32], "stem_width": 8}},
    "views": {"size": 16},
    "objective": {"projector": [32, 16]},
    "train": {"epochs": 3, "global_batch": 32},
}


@pytest.fixture(scope="session")
def clipart() -> Path:
    """300 public-domain pictures, 12 classes, 32 x 32, as an .npz with x and y."""
    return FIXTURES / "openclipart_ci_32.npz"


@pytest.fixture(scope="session")
def clipart_shards(clipart: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures as labelled tar shards in `train` (240) and `test` (60); read only."""
    folder = tmp_path_factory.mktemp("clipart") / "shards"
    shard(
        clipart,
        folder,
        labels="y",
        images="x",
        kind="tar",
        samples_per_shard=70,
        test_fraction=0.2,
        seed=0,
    )
    return folder


@pytest.fixture(scope="session", autouse=True)
def _credentials() -> None:
    """For the S3 server of the tests, and for Ray; processes that tests start inherit them.

    Without a token Rays that start at the same time would each write one to the home folder.
    """
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.5"  # workers end sooner than in 2 s
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture(scope="session")
def object_store(_credentials: None) -> Iterator[str]:
    """Options of a URI on an S3 server of this session, with buckets `data`, `made` and `runs`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    for bucket in ("data", "made", "runs"):
        client.create_bucket(Bucket=bucket)
    yield f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


@pytest.fixture(scope="session")
def local_ray(_credentials: None) -> Iterator[None]:
    """One Ray for all tests that need it in this process."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def jobs(tmp_path: Path) -> Verb:
    """Runs `python -m jobs …` in a folder of the test's own, as a process of its own."""

    def run(*arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "jobs", *map(str, arguments)],
            cwd=cwd,
            env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture
def jobs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """The same in this process, for what takes seconds to import and no time to do."""

    def run(*arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        words = [*map(str, arguments)]
        with monkeypatch.context() as patched:
            patched.chdir(cwd)
            patched.delenv("MLFLOW_TRACKING_URI", raising=False)
            done = CliRunner().invoke(app, words)
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return run


def last_json(process: subprocess.CompletedProcess[str]) -> Any:
    """The JSON line that a verb ends with, after checking that it is the only line on stdout."""
    lines = process.stdout.splitlines()
    assert len(lines) == 1, f"stdout: {process.stdout}\nstderr: {process.stderr}"
    return json.loads(lines[0])


@pytest.fixture
def recipe(tmp_path: Path, clipart_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the pictures' shards, without a mistake; a module may have its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"data": {"shards": f"{clipart_shards}/train"}}))
    return path


@pytest.fixture
def problems(recipe: Path) -> Checker:
    """Checks the module's recipe with overrides, and says what is wrong with which setting."""
    from pipeline.planning.check import checked_recipe

    def check(*overrides: str) -> dict[str, str]:
        with pytest.raises(UserError) as error:
            checked_recipe(recipe, overrides)
        found = dict(error.value.problems)
        assert len(found) == len(error.value.problems), f"told twice: {error.value}"
        assert str(error.value).splitlines() == [f"{w}: {m}" for w, m in found.items()]
        return found

    return check


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[RunFacts]:
    """What pages were drawn from, and they are drawn."""
    from pipeline.report import writing

    found: list[RunFacts] = []
    render = writing.render_page

    def noting(facts: RunFacts) -> str:
        found.append(facts)
        return render(facts)

    monkeypatch.setattr(writing, "render_page", noting)
    return found
