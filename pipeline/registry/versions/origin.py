"""From a registered encoder back to the run that it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from pipeline.errors import Problem, UserError
from pipeline.registry.versions.lookup import registry_client, version_of
from pipeline.registry.versions.register import SHA256_TAG

FOLDER_TAG = "folder"
"""Tag of an MLflow run: the folder or URI of the run."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the registry knows of where an encoder comes from."""

    run_id: str
    folder: str | None
    """Of the run, when it was last started; None: the run is older than this tag."""
    encoder_sha256: str | None
    """Of the weights' file that was registered."""


def origin_of(uri: str, *, tracking_uri: str | None) -> Origin:
    """Ask the registry.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION` of an encoder that is there, see
            `resolve.encoder_folder`.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Raises:
        UserError: it is not registered, or was not registered by a run of ours.
    """
    client, server = registry_client(tracking_uri, what=uri)
    version = version_of(uri, client)
    if not version.run_id:
        raise UserError(Problem(uri, "was registered by hand: no run made it"))
    try:
        tags = client.get_run(version.run_id).data.tags
    except MlflowException as error:
        raise UserError(
            Problem(uri, f"cannot be traced to its run in {server}: {error}")
        ) from error
    return Origin(
        run_id=version.run_id,
        folder=tags.get(FOLDER_TAG),
        encoder_sha256=version.tags.get(SHA256_TAG),
    )
