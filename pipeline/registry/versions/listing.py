"""What is registered: encoders, their versions, and what these say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from pipeline.errors import Problem, UserError
from pipeline.registry.versions.lookup import named, registered, registry_client, tags_of
from pipeline.registry.versions.register import SHA256_TAG
from pipeline.registry.versions.tags import FORCED_TAG, VersionFacts, from_tags

_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class ListedVersion:
    """A version of a registered encoder."""

    name: str
    version: int
    aliases: list[str]
    created: float  # seconds since 1970
    facts: VersionFacts
    forced: str | None  # what a gate said that was passed by

    @property
    def uri(self) -> str:
        """As `fetch` takes it."""
        return f"models:/{self.name}/{self.version}"

    @property
    def probes(self) -> dict[str, float]:
        """Accuracies by probe, floors among them."""
        return {name: score.accuracy for name, score in self.facts.scores.items()}


def models(name: str | None = None, *, tracking_uri: str | None = None) -> list[ListedVersion]:
    """Registered encoders.

    Args:
        name: of a model, to list all of its versions; None: of every model its newest version and
            those that have an alias.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Returns:
        By name, the newest version first. Models that are no encoders of ours are left out.

    Raises:
        UserError: there is no such model, or MLflow does not answer.
    """
    client, server = registry_client(tracking_uri, what=name or "models")
    try:
        if name is not None:
            model = registered(name, client, where=name)
            return _described(model, list(_all_versions(name, client)))
        found = []
        for model in _all_models(client):
            found += _described(model, _shown(model, client))
        return found
    except MlflowException as error:
        raise UserError(Problem(server, f"cannot be listed: {error}")) from error


def _all_models(client: MlflowClient) -> Iterator[RegisteredModel]:
    token = None
    while True:
        page = client.search_registered_models(
            max_results=_PAGE, order_by=["name ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _all_versions(name: str, client: MlflowClient) -> Iterator[ModelVersion]:
    token = None
    while True:
        page = client.search_model_versions(
            named(name),
            max_results=_PAGE,
            order_by=["version_number DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _shown(model: RegisteredModel, client: MlflowClient) -> list[ModelVersion]:
    newest = client.search_model_versions(
        named(model.name), max_results=1, order_by=["version_number DESC"]
    )
    numbers = {int(version.version) for version in newest} | {*map(int, model.aliases.values())}
    return [client.get_model_version(model.name, str(number)) for number in sorted(numbers)[::-1]]


def _described(model: RegisteredModel, found: list[ModelVersion]) -> list[ListedVersion]:
    listed = []
    for version in found:
        tags: dict[str, Any] = tags_of(version)
        if SHA256_TAG not in tags:
            continue
        number = int(version.version)
        listed.append(
            ListedVersion(
                name=model.name,
                version=number,
                aliases=sorted(a for a, at in model.aliases.items() if int(at) == number),
                created=version.creation_timestamp / 1000,
                facts=from_tags(tags),
                forced=tags.get(FORCED_TAG),
            )
        )
    return listed
