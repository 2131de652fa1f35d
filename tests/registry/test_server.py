"""Against a real `mlflow server`: broken downloads, two at once, names that are taken."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from pipeline.errors import InterruptedRunError, UserError
from pipeline.registry.tracking import TrackedRun, open_experiment
from pipeline.registry.versions.download import download
from pipeline.registry.versions.register import refuse_taken
from pipeline.registry.versions.resolve import fetch
from tests.mlflow_server import MLflowServer
from tests.registry.packages import make_package, new_run, register


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    """A running server."""
    server = MLflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package"), seed=0)


class Cable:
    """A port that hands bytes on to a server, and is cut after some that come back."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.left: int | None = None
        self.asked: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                self.asked.append(data)
                server.sendall(data)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(4096):
                # Only what is asked for in part or whole files is long enough to be cut.
                if self.left is not None and b"encoder.safetensors" in b"".join(self.asked[-1:]):
                    data = data[: self.left]
                    self.left -= len(data)
                client.sendall(data)
                if self.left == 0:
                    break
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_broken_download_goes_on_where_it_was(
    server: MLflowServer, package: Path, tmp_path: Path
) -> None:
    register(package, name="cut", run=new_run(server.uri, "cut"), tags={})
    whole = (package / "encoder.safetensors").read_bytes()
    cable = Cable(server.port)
    cable.left = len(whole) // 2
    destination = tmp_path / "fetched"
    with pytest.raises(InterruptedRunError, match="the same command goes on with it"):
        fetch("models:/cut@candidate", destination, tracking_uri=cable.uri)
    assert not destination.exists()
    (part,) = tmp_path.rglob("encoder.safetensors.part")
    have = part.stat().st_size
    assert 0 < have < len(whole)
    assert part.read_bytes() == whole[:have]

    cable.left = None
    cable.asked.clear()
    fetch("models:/cut@candidate", destination, tracking_uri=cable.uri)
    assert f"Range: bytes={have}-".encode() in b"".join(cable.asked)
    for file in package.iterdir():
        assert (destination / file.name).read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["fetched"]


def test_a_server_that_is_killed_and_started_again_lets_a_download_go_on(
    server: MLflowServer, package: Path, tmp_path: Path
) -> None:
    register(package, name="restarted", run=new_run(server.uri, "restarted"), tags={})
    server.kill()
    with pytest.raises(UserError, match="does not answer"):
        fetch("models:/restarted@candidate", tmp_path / "fetched", tracking_uri=server.uri)
    server.start()
    fetch("models:/restarted@candidate", tmp_path / "fetched", tracking_uri=server.uri)


REGISTER = """
import sys
from pathlib import Path
from tests.registry.packages import new_run, register
folder, uri = sys.argv[1:]
made = register(Path(folder), name="both", run=new_run(uri, folder), tags={"folder": folder})
print(made.version)
"""


def test_two_runs_that_register_at_once_get_a_version_each(
    server: MLflowServer, tmp_path: Path
) -> None:
    folders = [make_package(tmp_path / str(seed), seed) for seed in (1, 2)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, str(folder), server.uri],
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]
    numbers = [process.communicate(timeout=300)[0].split()[-1] for process in running]
    assert sorted(numbers) == ["1", "2"]
    for folder, number in zip(folders, numbers, strict=True):
        fetched = tmp_path / f"fetched-{number}"
        fetch(f"models:/both/{number}", fetched, tracking_uri=server.uri)
        one, other = (load_file(place / "encoder.safetensors") for place in (folder, fetched))
        assert all(one[name].equal(other[name]) for name in one)


def test_a_name_of_somebody_elses_is_refused(server: MLflowServer) -> None:
    client = MlflowClient(tracking_uri=server.uri)
    client.create_registered_model("classifier")
    refuse_taken(server.uri, "classifier")  # nobody has a version of it yet
    refuse_taken(server.uri, "nobodys")
    run = client.get_run(new_run(server.uri, "classifier").run_id)
    client.create_model_version("classifier", f"{run.info.artifact_uri}/model", run.info.run_id)
    with pytest.raises(UserError, match=r"tracking.register: classifier is taken by something"):
        refuse_taken(server.uri, "classifier")


def test_an_experiment_that_was_deleted_is_named(server: MLflowServer) -> None:
    number = open_experiment(server.uri, "gone")
    MlflowClient(tracking_uri=server.uri).delete_experiment(number)
    with pytest.raises(UserError, match=r"tracking.experiment: gone was deleted in MLflow"):
        open_experiment(server.uri, "gone")


def test_artifacts_in_a_store_are_read_from_there_and_only_what_is_missing(
    object_store: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(option.split("=") for option in object_store.split("&"))
    endpoint = f"{options['scheme']}://{options['endpoint_override']}"
    store = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    for file in package.iterdir():
        store.upload_file(str(file), "made", f"encoder-of-a-run/package/{file.name}")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    whole = (package / "encoder.safetensors").read_bytes()
    (tmp_path / "package").mkdir()
    # A beginning that is recognisably not from the store: it stays, so it was not read again.
    (tmp_path / "package" / "encoder.safetensors.part").write_bytes(bytes(100))
    download("s3://made/encoder-of-a-run", tmp_path, tracking_uri="sqlite:///unused.db")
    names = sorted(path.name for path in (tmp_path / "package").iterdir())
    assert names == sorted(file.name for file in package.iterdir())
    found = (tmp_path / "package" / "encoder.safetensors").read_bytes()
    assert found == bytes(100) + whole[100:]


def test_an_encoder_whose_artifacts_are_in_a_store_is_registered_and_fetched(
    object_store: str,
    package: Path,
    tmp_path: Path,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = dict(option.split("=") for option in object_store.split("&"))
    endpoint = f"{options['scheme']}://{options['endpoint_override']}"
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
    uri = f"sqlite:///{storage}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    number = client.create_experiment("in a store", artifact_location="s3://made/experiment")
    run = TrackedRun.create(uri, number, name="stored", params={})
    register(package, name="stored", run=run, tags={})
    fetch("models:/stored@candidate", tmp_path / "fetched", tracking_uri=uri)
    for file in package.iterdir():
        assert (tmp_path / "fetched" / file.name).read_bytes() == file.read_bytes()


def test_mlflow_serves_a_thousand_images(package: Path, server: MLflowServer) -> None:
    import base64
    import io
    import os

    import numpy as np
    import requests
    from PIL import Image

    register(package, name="served", run=new_run(server.uri, "served"), tags={})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["models", "serve", "--model-uri", "models:/served@candidate", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--env-manager", "local", "--workers", "1"],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": server.uri,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            with suppress(requests.ConnectionError):
                if requests.get(f"{address}/ping", timeout=5).ok:
                    break
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        files = []
        for pixels in np.random.default_rng(0).integers(0, 256, (1000, 20, 30, 3), np.uint8):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG")
            files.append(base64.b64encode(file.getvalue()).decode())
        answer = requests.post(f"{address}/invocations", json={"inputs": files}, timeout=120)
        assert answer.status_code == 200, answer.text
        features = np.array(answer.json()["predictions"])
        assert features.shape == (1000, 32)
        again = requests.post(f"{address}/invocations", json={"inputs": files[:1]}, timeout=60)
        np.testing.assert_allclose(again.json()["predictions"], features[:1], rtol=1e-4, atol=1e-5)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
