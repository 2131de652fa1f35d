"""What a version of a registered encoder says of itself in its tags, for lists and gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.evaluation.probes.score import Score
from pipeline.registry.packages.config import PackageConfig

FORCED_TAG = "promotion.forced"
"""What a gate said that was passed by."""

_PROBE, _INTERVAL, _PANEL = "probe.", "interval.", "panel."
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """An encoder's origin and figures; None where a version of an older release does not say."""

    run: str | None = None
    objective: str | None = None
    encoder: str | None = None  # timm's name
    features: str | None = None  # kind
    width: int | None = None  # of the features
    encoder_sha256: str | None = None
    data_fingerprint: str | None = None
    probe_data: str | None = None  # see `probe_data_fingerprint`
    scores: Mapping[str, Score] = field(default_factory=dict)
    panel: Mapping[str, float] = field(default_factory=dict)
    panel_data: str | None = None  # fingerprint of the samples that the panel is of
    collapse: str | None = None  # what the alarm said, or "none"
    parity: str | None = None

    @property
    def collapsed(self) -> bool:
        """Whether the alarm is known to have spoken."""
        return self.collapse not in (None, _NONE)


def facts_of(
    config: PackageConfig,
    *,
    encoder_sha256: str,
    scores: Mapping[str, Score],
    probe_data: str | None,
    panel: Mapping[str, float],
    panel_data: str | None,
    collapse: str | None,
) -> VersionFacts:
    """The facts of a packaged encoder.

    Args:
        config: of the package.
        encoder_sha256: of its weights' file.
        scores: of probes, by name and suffix as `pretrain` has them.
        probe_data: fingerprint of what they are of.
        panel: label-free, of the last snapshot.
        panel_data: fingerprint of what it is of.
        collapse: what the alarm said; None: nothing.
    """
    return VersionFacts(
        run=config.provenance.get("run"),
        objective=config.provenance.get("objective"),
        encoder=config.architecture,
        features=config.features.kind,
        width=config.feature_width,
        encoder_sha256=encoder_sha256,
        data_fingerprint=config.provenance.get("data_fingerprint"),
        probe_data=probe_data,
        scores=scores,
        panel=panel,
        panel_data=panel_data,
        collapse=collapse or _NONE,
    )


def as_tags(facts: VersionFacts) -> dict[str, str]:
    """Facts as a version's tags hold them."""
    plain = {
        "run": facts.run,
        "objective": facts.objective,
        "encoder": facts.encoder,
        "features": facts.features,
        "width": facts.width,
        "encoder_sha256": facts.encoder_sha256,
        "data.fingerprint": facts.data_fingerprint,
        "probe_data": facts.probe_data,
        "panel_data": facts.panel_data,
        "collapse": facts.collapse,
        "parity": facts.parity,
    }
    tags = {name: str(value) for name, value in plain.items() if value is not None}
    for name, score in facts.scores.items():
        tags[f"{_PROBE}{name}"] = f"{score.accuracy:.4f}"
        tags[f"{_INTERVAL}{name}"] = f"{score.low:.4f} {score.high:.4f}"
    for name, value in facts.panel.items():
        tags[f"{_PANEL}{name}"] = f"{value:.6g}"
    return tags


def from_tags(tags: Mapping[str, str]) -> VersionFacts:
    """What `as_tags` wrote; what somebody else wrote in their place is passed over."""
    scores = {}
    for name, value in _begun(tags, _PROBE).items():
        parts = [value, *tags.get(f"{_INTERVAL}{name}", f"{value} {value}").split()]
        numbers = [number for number in map(_number, parts) if number is not None]
        if len(numbers) == 3:
            scores[name] = Score(*numbers)
    panel = {name: _number(value) for name, value in _begun(tags, _PANEL).items()}
    width = tags.get("width", "")
    return VersionFacts(
        run=tags.get("run"),
        objective=tags.get("objective"),
        encoder=tags.get("encoder"),
        features=tags.get("features"),
        width=int(width) if width.isdecimal() else None,
        encoder_sha256=tags.get("encoder_sha256"),
        data_fingerprint=tags.get("data.fingerprint"),
        probe_data=tags.get("probe_data"),
        scores=scores,
        panel={name: value for name, value in panel.items() if value is not None},
        panel_data=tags.get("panel_data"),
        collapse=tags.get("collapse"),
        parity=tags.get("parity"),
    )


def _begun(tags: Mapping[str, str], start: str) -> dict[str, str]:
    return {key.removeprefix(start): tags[key] for key in tags if key.startswith(start)}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
