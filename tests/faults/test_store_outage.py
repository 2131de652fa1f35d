"""An object store that fails for a while: a real S3 server, stopped and started again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.faults.conftest import Undisturbed
from tests.faults.pretraining import TRAIN, Pretraining

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


class Store:
    """An S3 server at a port of its own, whose content outlives its absence."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def go_away(self) -> None:
        self._server.stop()

    def come_back(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()

    def upload(self, folder: Path, bucket: str) -> str:
        """The URI of a new bucket with a folder's files."""
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket=bucket)
        for file in folder.iterdir():
            client.upload_file(str(file), bucket, file.name)
        endpoint = f"endpoint_override=127.0.0.1:{self._port}&scheme=http"
        return f"s3://{bucket}?{endpoint}&region=us-east-1"


@pytest.fixture
def store() -> Iterator[Store]:
    server = Store()
    yield server
    server.go_away()


@pytest.mark.slow
def test_a_short_outage_is_waited_out_and_a_longer_one_stops_the_run_resumably(
    store: Store,
    undisturbed: Callable[[dict[str, Any]], Undisturbed],
    shards: Path,
    tmp_path: Path,
) -> None:
    expected = undisturbed(TRAIN)
    run = Pretraining(
        tmp_path,
        # So small a cache that shards must be fetched again and again.
        data={"shards": store.upload(shards, "faults"), "cache_bytes": 1 << 20},
        # One restart, which finds that not even the manifest can be read.
        train={**TRAIN, "max_failures": 1},
    )
    (tmp_path / "tmp").mkdir()
    environment = {**CREDENTIALS, "TMPDIR": str(tmp_path / "tmp"), "RAY_TMPDIR": "/tmp"}
    with run.started(**environment) as process:
        run.wait_for(10, process)
        store.go_away()
        wait_until_readers_starve(run)
        store.come_back()
        run.wait_for(run.last_step() + 20, process)
        assert len(run.starts()) == 1
        store.go_away()
        (problem,) = run.result(process, code=1)["errors"]
    assert "NETWORK_CONNECTION" in problem["message"]
    assert "the same command" in problem["message"]
    assert "Traceback" not in run.stderr
    assert run.stderr.count("NETWORK_CONNECTION") == 1
    store.come_back()
    with run.started(**environment) as process:
        result = run.result(process)
    assert result["encoder_sha256"] == expected.encoder_sha256
    assert result["samples"] == expected.samples
    assert run.trace().equals(expected.trace)


def wait_until_readers_starve(run: Pretraining) -> None:
    """Wait until no step has been noted for a second."""
    step = None
    while step != run.last_step():
        step = run.last_step()
        time.sleep(1)
