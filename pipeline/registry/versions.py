"""Registered encoders by number: an alias may point elsewhere in a minute, a number never does."""

from __future__ import annotations

import re

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.data import storage
from pipeline.errors import Problem, UserError
from pipeline.registry import tracking_server
from pipeline.registry.resolve import _refuse_absent


def pinned(uri_or_path: str, *, tracking_uri: str | None = None) -> str:
    """The same encoder named so that it stays the same.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a local folder.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Returns:
        `models:/NAME/VERSION`, or the absolute path.

    Raises:
        UserError: nothing has that alias.
    """
    if not uri_or_path.startswith("models:/"):
        return storage.absolute(uri_or_path)
    match = re.fullmatch(r"models:/([^@/]+)@([^/]+)", uri_or_path)
    if match is None:
        return uri_or_path
    name, alias = match.groups()
    server = tracking_server.tracking_uri(tracking_uri, tracking_server.DEFAULT_STORAGE)
    _refuse_absent(server, uri_or_path)
    try:
        found = MlflowClient(tracking_uri=server).get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise UserError(
            Problem(uri_or_path, f"cannot be fetched from {server}: {error}")
        ) from error
    return f"models:/{name}/{found.version}"
