"""The recipe's `tracking` section."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.section import Section


class TrackingConfig(Section):
    """Where runs are kept and where the encoder is registered."""

    experiment: Annotated[str, Field(pattern=r"^\w[\w. -]*$", description="MLflow experiment")] = (
        "pretrain"
    )
    register_as: Annotated[
        str | None,
        Field(
            alias="register",
            pattern=r"^[^/:]+$",
            description="registered model; null: do not register",
        ),
    ] = None
    uri: Annotated[
        str | None,
        Field(description="MLflow server; null: MLFLOW_TRACKING_URI, else SQLite in `storage`"),
    ] = None
    storage: Annotated[
        str,
        Field(description="folder for runs; on a cluster a URI, or one that all mount"),
    ] = "runs"
