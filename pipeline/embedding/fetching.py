"""A packaged encoder fetched, by the driver alone: MLflow would answer every worker anew."""

from __future__ import annotations

from pipeline.embedding.shipping import ShippedEncoder
from pipeline.evaluation.config import FeatureKind
from pipeline.registry.packages.config import CONFIG_FILE, WEIGHTS_FILE
from pipeline.registry.packages.files import autoencoder_file
from pipeline.registry.versions.lookup import pinned
from pipeline.registry.versions.resolve import encoder_folder


def fetched(
    uri_or_path: str, *, kind: FeatureKind | None, tracking_uri: str | None
) -> ShippedEncoder:
    """Fetch a package.

    Args:
        uri_or_path: see `encoder_folder`.
        kind: of the features that are wanted of it; None: what the package says.
        tracking_uri: MLflow, for a registered encoder.

    Raises:
        UserError: there is none.
    """
    uri = pinned(uri_or_path, tracking_uri=tracking_uri)
    with encoder_folder(uri, tracking_uri=tracking_uri) as folder:
        found = [folder / WEIGHTS_FILE, folder / CONFIG_FILE, autoencoder_file(folder)]
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in found
            if path.exists()
        }
    return ShippedEncoder(uri=uri, files=files, kind=kind)
