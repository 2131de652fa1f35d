"""What decides about a promotion: figures of two versions, held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.evaluation.probes.score import Score
from pipeline.registry.packages.names import PROBE_NAMES
from pipeline.registry.versions.tags import VersionFacts

_MEASURE = "rankme"
_LOSS_ALLOWED = 0.1
"""Of RankMe: it has no interval, and the seeds of one recipe differ by some percent."""
_TRUST = (
    "RankMe compares encoders of one objective and width on the same samples; there its rank "
    "correlation with the linear probe was between -0.6 and 0.9 in this project's study, so this "
    "keeps out a collapse and proves no gain: give --train and --test if you have labels"
)
_ANEW = "give --train and --test to score both on the same data"


class Check(NamedTuple):
    """One condition of a gate, and the figures that decided."""

    name: str
    passed: bool
    message: str


@dataclass(frozen=True)
class Standing:
    """A version and its figures."""

    name: str
    facts: VersionFacts

    @property
    def probes(self) -> dict[str, Score]:
        """Scores of what the encoder gives, without floors."""
        return {name: self.facts.scores[name] for name in PROBE_NAMES if name in self.facts.scores}

    def scored_anew(self, scores: Mapping[str, Score], *, data: str) -> Standing:
        """The same with other scores, on data of that description."""
        return Standing(self.name, replace(self.facts, scores=dict(scores), probe_data=data))


def comparison(candidate: Standing, champion: Standing | None, *, alias: str) -> list[Check]:
    """Whether a version may take the place of another, as far as figures say.

    Args:
        candidate: that is to have the alias.
        champion: that has it; None: nobody, or the candidate itself.
        alias: which one.
    """
    return [_collapse(candidate), *_quality(candidate, champion, alias)]


def _collapse(candidate: Standing) -> Check:
    facts = candidate.facts
    if facts.collapse is None:
        told = f"{candidate.name} was registered by a release that did not tell"
        return Check("collapse", False, told)
    if facts.collapsed:
        return Check("collapse", False, f"{candidate.name}: {facts.collapse}")
    return Check("collapse", True, f"the alarm kept silent while {candidate.name} was trained")


def _quality(candidate: Standing, champion: Standing | None, alias: str) -> list[Check]:
    if champion is None:
        figures = ", ".join(f"{name} {score}" for name, score in candidate.probes.items())
        none = f"no other version is {alias}: nothing to be worse than"
        return [Check("probes", True, f"{none} ({figures})" if figures else none)]
    if candidate.probes and champion.probes:
        if candidate.facts.probe_data != champion.facts.probe_data:
            told = f"{candidate.name} and {champion.name} were scored on different data; {_ANEW}"
            return [Check("probes", False, told)]
        return _probes(candidate, champion)
    if candidate.probes or champion.probes:
        which = champion if candidate.probes else candidate
        return [Check("probes", False, f"{which.name} has no probes; {_ANEW}")]
    return [_panel(candidate, champion)]


def _probes(candidate: Standing, champion: Standing) -> list[Check]:
    both = [name for name in candidate.probes if name in champion.probes]
    if not both:
        mine, theirs = (", ".join(standing.probes) for standing in (candidate, champion))
        told = f"{candidate.name} has {mine}, {champion.name} {theirs}; {_ANEW}"
        return [Check("probes", False, told)]
    return [
        Check(
            name,
            candidate.probes[name].accuracy >= champion.probes[name].low,
            f"{candidate.name} {candidate.probes[name]}, {champion.name} {champion.probes[name]}: "
            + (
                "not worse beyond the interval"
                if candidate.probes[name].accuracy >= champion.probes[name].low
                else "worse, beyond the interval"
            ),
        )
        for name in both
    ]


def _panel(candidate: Standing, champion: Standing) -> Check:
    mine, theirs = candidate.facts, champion.facts
    differing = [
        what
        for what, same in (
            ("objectives", mine.objective == theirs.objective),
            ("widths of features", mine.width == theirs.width),
            ("samples or views of the panel", mine.panel_data == theirs.panel_data),
        )
        if not same
    ]
    if differing:
        told = f"neither has probes, and they have different {' and '.join(differing)}, so that "
        return Check("panel", False, f"{told}the label-free panel compares nothing; {_ANEW}")
    if _MEASURE not in mine.panel or _MEASURE not in theirs.panel:
        return Check(
            "panel", False, f"neither has probes, and RankMe of both is not known; {_ANEW}"
        )
    value, least = mine.panel[_MEASURE], theirs.panel[_MEASURE] * (1 - _LOSS_ALLOWED)
    figures = (
        f"RankMe {value:.4g} of {candidate.name}, {theirs.panel[_MEASURE]:.4g} of "
        f"{champion.name}, at least {least:.4g} wanted"
    )
    return Check("panel", value >= least, f"{figures}; {_TRUST}")
