"""The files of a registered model, fetched piece by piece: a broken download goes on.

MLflow's own download begins every file anew. Here what has come stays, and the next attempt asks
for the rest: by HTTP ranges from a tracking server's proxy, by ranged reads from a store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import urlsplit

import requests
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

from pipeline.data import storage

PART = ".part"
"""Behind the name of a file that has not come whole."""

_PIECE_BYTES = 1 << 14  # of a piece that breaks off nothing is left
_STORES = ("", "file", "s3", "gs", "hdfs")
"""Schemes that we read in ranges ourselves; the others are MLflow's to read."""


class BrokenDownloadError(OSError):
    """A download ended early; what has come is kept for the next attempt."""


class _Artifacts(Protocol):
    """Files somewhere, by name."""

    def sizes(self) -> dict[str, int | None]:
        """Bytes of each, None where the store does not tell."""

    def pieces(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        """The content from a byte on; and that byte, 0 if there is no beginning elsewhere."""


def download(location: str, folder: Path, *, tracking_uri: str) -> None:
    """Bring all files of a folder of artifacts here, but for what is here already.

    Args:
        location: URI of the artifacts, as MLflow gives it.
        folder: to fill; it may hold what an earlier attempt left.
        tracking_uri: of MLflow, whose proxy may be the only way there.

    Raises:
        BrokenDownloadError: a file did not come whole, after several attempts.
        OSError: the artifacts cannot be read or the folder not be written.
        MlflowException: the server refuses.
    """
    source = _open(location, tracking_uri)
    for name, size in source.sizes().items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise OSError(f"{location} names a file outside of it: {name}")
        if path.is_file() and size in (None, path.stat().st_size):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.retrying(lambda: _bring(source, name, size, path))  # noqa: B023 (called at once)


def _bring(source: _Artifacts, name: str, size: int | None, path: Path) -> None:
    part = path.with_name(path.name + PART)
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        have = 0
    if size is None or have < size:
        start, pieces = source.pieces(name, have)
        with part.open("ab" if start else "wb") as file:
            for piece in pieces:
                file.write(piece)
    found = part.stat().st_size if part.exists() else 0
    if size is not None and found != size:
        raise BrokenDownloadError(f"{name}: {found:,} of {size:,} bytes have come")
    with part.open("ab") as file:
        os.fsync(file.fileno())
    part.rename(path)


def _open(location: str, tracking_uri: str) -> _Artifacts:
    repository = get_artifact_repository(location, tracking_uri=tracking_uri)
    while hasattr(repository, "repo"):  # models:/ and runs:/ stand for another one
        repository = repository.repo
    if isinstance(repository, HttpArtifactRepository):
        return _Proxied(repository)
    if urlsplit(repository.artifact_uri).scheme in _STORES:
        return _Stored(repository.artifact_uri)
    return _Listed(repository)


class _Listed:
    """Files in a store that MLflow alone can read: each comes whole or begins anew."""

    def __init__(self, repository: ArtifactRepository) -> None:
        self._repository = repository

    def sizes(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        folders: list[str | None] = [None]
        while folders:
            for item in self._repository.list_artifacts(folders.pop()):
                if item.is_dir:
                    folders.append(item.path)
                else:
                    found[item.path] = item.file_size
        return found

    def pieces(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        return 0, self._whole(name)

    def _whole(self, name: str) -> Iterator[bytes]:
        with TemporaryDirectory() as folder:
            yield from storage.parts(self._repository.download_artifacts(name, folder))


class _Proxied(_Listed):
    """Files that a tracking server hands on."""

    def __init__(self, repository: HttpArtifactRepository) -> None:
        super().__init__(repository)
        self._host = repository._host_creds

    def pieces(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        # Packed bytes could not be counted.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            answer = http_request(
                *(self._host, f"/{name}", "GET"),
                stream=True,
                extra_headers=headers,
                max_retries=0,  # whoever asks for pieces does it again
            )
        except MlflowException as error:
            raise BrokenDownloadError(f"{name}: {error}") from error
        augmented_raise_for_status(answer)
        begun = start if answer.status_code == requests.codes.partial_content else 0
        return begun, answer.iter_content(_PIECE_BYTES)


class _Stored:
    """Files on a disk or in a store, which is read directly."""

    def __init__(self, location: str) -> None:
        self._root = _as_we_name_it(location)

    def sizes(self) -> dict[str, int | None]:
        root = self._root.partition("?")[0].rstrip("/")
        names = {
            location: location.partition("?")[0].removeprefix(root).lstrip("/")
            for location in storage.list_files(self._root)
        }
        return {name: storage.size_of(location) for location, name in names.items()}

    def pieces(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        location = storage.join(self._root, name)
        return start, storage.parts(location, start=start)


def _as_we_name_it(location: str) -> str:
    """A location of MLflow's as `storage` opens it, where S3 may be a server of one's own."""
    server = os.environ.get("MLFLOW_S3_ENDPOINT_URL")
    if location.startswith("s3://") and server:
        parts = urlsplit(server)
        return f"{location}?endpoint_override={parts.netloc}&scheme={parts.scheme}"
    return local_file_uri_to_path(location) if location.startswith("file:") else location
