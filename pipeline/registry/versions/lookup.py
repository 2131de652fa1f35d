"""Versions of registered models by the URI that a user types, or why there is none."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from pipeline.data import storage
from pipeline.errors import Problem, UserError
from pipeline.registry import tracking_server

_SHOWN = 10
_PAGE = 100


def registry_client(tracking_uri: str | None, *, what: str) -> tuple[MlflowClient, str]:
    """A client of the registry, and where it is; see `tracking_server.tracking_uri`.

    Args:
        tracking_uri: MLflow; None: as elsewhere.
        what: is looked for there, for the message.

    Raises:
        UserError: there is no store, or the server does not answer.
    """
    server = tracking_server.tracking_uri(tracking_uri, tracking_server.DEFAULT_STORAGE)
    path = server.removeprefix(tracking_server.SQLITE)
    if path != server and not Path(path).exists():
        raise UserError(
            Problem(
                what,
                f"there is no MLflow store at {server}; run this where the run was made, set "
                "MLFLOW_TRACKING_URI, or give --tracking-uri",
            )
        )
    problem = tracking_server.unreachable(server)
    if problem:
        raise UserError(problem)
    return MlflowClient(tracking_uri=server), server


def version_of(uri: str, client: MlflowClient) -> ModelVersion:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` stands for.

    Raises:
        UserError: it is not one of these, or there is no such model, alias or version.
    """
    match = re.fullmatch(r"models:/([^@/]+)(?:@([^/]+)|/(\d+))", uri)
    if match is None:
        raise UserError(Problem(uri, "is neither models:/NAME@ALIAS nor models:/NAME/VERSION"))
    name, alias, number = match.groups()
    model = registered(name, client, where=uri)
    if alias is not None:
        if alias not in model.aliases:
            raise UserError(Problem(uri, f"{name} has no alias {alias}; {_aliases(model)}"))
        number = model.aliases[alias]
    try:
        return client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        newest = ", ".join(str(v.version) for v in versions(name, client, at_most=_SHOWN))
        raise UserError(
            Problem(uri, f"{name} has no version {number}; the newest: {newest or 'none'}")
        ) from error


def pinned(uri_or_path: str, *, tracking_uri: str | None = None) -> str:
    """The same encoder by a name that stays the same: an alias may point elsewhere in a minute.

    Args:
        uri_or_path: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a local folder.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Returns:
        `models:/NAME/VERSION`, or the absolute path.

    Raises:
        UserError: there is no such version.
    """
    if not uri_or_path.startswith("models:/"):
        return storage.absolute(uri_or_path)
    client, _ = registry_client(tracking_uri, what=uri_or_path)
    version = version_of(uri_or_path, client)
    return f"models:/{version.name}/{version.version}"


def registered(name: str, client: MlflowClient, *, where: str) -> RegisteredModel:
    """A registered model.

    Raises:
        UserError: there is none of this name; the message has names that are like it.
    """
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        names = [model.name for model in client.search_registered_models(max_results=_PAGE)]
        near = difflib.get_close_matches(name, names, n=3) or sorted(names)[:_SHOWN]
        there = f"there are: {', '.join(near)}" if near else "nothing is registered"
        raise UserError(Problem(where, f"no model {name} is registered; {there}")) from error


def versions(name: str, client: MlflowClient, *, at_most: int) -> list[ModelVersion]:
    """The newest versions of a model, the newest first."""
    found = client.search_model_versions(
        named(name), max_results=at_most, order_by=["version_number DESC"]
    )
    return list(found)


def named(name: str) -> str:
    """The filter for a model's name, as searches take it; a name may hold one kind of quotes."""
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def tags_of(version: ModelVersion) -> dict[str, Any]:
    """Its tags."""
    return dict(version.tags or {})


def _aliases(model: RegisteredModel) -> str:
    if not model.aliases:
        return "it has none"
    known = (f"{alias} (version {number})" for alias, number in sorted(model.aliases.items()))
    return f"there are: {', '.join(known)}"
