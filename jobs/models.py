"""`models`: what is registered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.evaluate import TrackingOption
from jobs.output import JsonOption, print_result, reporting_errors

if TYPE_CHECKING:
    from pipeline.registry.versions.listing import ListedVersion

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(models)


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="A model, to list all its versions.", show_default=False),
    ] = None,
    tracking_uri: TrackingOption = None,
    json: JsonOption = False,
) -> None:
    """List registered encoders with their aliases, probes and age.

    Of each model the newest version and those that have an alias.

    Example: python -m jobs models
    """
    from pipeline.registry.versions import listing

    with reporting_errors(json):
        found = listing.models(name, tracking_uri=tracking_uri)
        result = {"models": [as_json(version) for version in found]}
        rows = [(_named(version), _told(version)) for version in found]
        title = f"Versions of {name}" if name else "Registered encoders"
        print_result(result, rows or [("none", "")], title=title, as_json=json)


def as_json(version: ListedVersion) -> dict[str, Any]:
    """A version as the verb's result has it."""
    facts = version.facts
    return {
        "name": version.name,
        "version": version.version,
        "uri": version.uri,
        "aliases": version.aliases,
        "created": version.created,
        "run": facts.run,
        "objective": facts.objective,
        "encoder": facts.encoder,
        "features": facts.features,
        "probes": version.probes,
        "panel": dict(facts.panel),
        "collapse": facts.collapse,
        "data_fingerprint": facts.data_fingerprint,
        "encoder_sha256": facts.encoder_sha256,
        "forced": version.forced,
    }


def _named(version: ListedVersion) -> str:
    marks = "".join(f" @{alias}" for alias in version.aliases)
    return f"{version.name}/{version.version}{marks}"


def _told(version: ListedVersion) -> str:
    facts = version.facts
    own = [probe for probe in version.probes if "_" not in probe or probe == "naive_bayes"]
    parts = [
        f"{facts.objective}, {facts.encoder}",
        " ".join(f"{probe} {version.probes[probe]:.3f}" for probe in own) or "no probes",
        _age(time.time() - version.created),
    ]
    if facts.collapsed:
        parts.append("COLLAPSED")
    if version.forced:
        parts.append("promoted by force")
    return ", ".join(parts)


def _age(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} old"
    return "new"
