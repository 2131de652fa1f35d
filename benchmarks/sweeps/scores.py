"""The page's section on scores without labels: how far they agree with a linear probe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.shared.study import Line
from benchmarks.sweeps.cell import EPOCHS
from benchmarks.sweeps.lines import (
    ALL,
    GROUPS,
    LOSSES,
    MERITS,
    NOT_RUN,
    WITH_LABELS,
    Correlation,
    correlations,
    missing,
    of_cells,
    rank_correlation,
)
from benchmarks.sweeps.run import OTHERS

_GOAL_ACROSS, _GOAL_WITHIN = 0.8, 0.9


def scores(lines: list[Line]) -> Iterator[str]:
    """Paragraphs and a table."""
    merits = {**MERITS, **WITH_LABELS}
    groups = {name: of_cells(lines, cells) for name, cells in GROUPS.items()}
    found = {name: correlations(own, merits) for name, own in groups.items()}
    found = {name: own for name, own in found.items() if own}
    if not found:
        yield NOT_RUN
        return
    titles = [f"{name} ({_count(groups[name])})" for name in found]
    rows = [f"| score | {' | '.join(titles)} |", "|---" * (len(found) + 1) + "|"]
    for score in merits:
        rows.append(f"| {score} | {' | '.join(str(own[score]) for own in found.values())} |")
    yield (
        "Spearman's correlation with the linear probe, each score turned the way in which it is "
        "said to be better (more: RankMe, LiDAR, uniformity, diffusion entropy; less: IdEst, "
        "alignment; nearer to 1: "
        "α-ReQ), so that a positive one points the right way; in brackets 95 % of a bootstrap over "
        "configurations, each with all of its seeds. kNN is there for comparison: it shows how far "
        "a score that sees labels agrees." + missing(GROUPS[ALL], groups[ALL])
    )
    yield "\n".join(rows)
    yield "\n".join(f"- {sentence}" for sentence in _goals(groups, found))


def _count(own: list[Line]) -> str:
    configurations = len({repr(sorted(x["settings"].items())) + x["objective"] for x in own})
    cells = f", {len(own)} cells" if len(own) != configurations else ""
    return f"{configurations} configurations{cells}"


def _goals(
    groups: dict[str, list[Line]], found: dict[str, dict[str, Correlation]]
) -> Iterator[str]:
    if ALL in found:
        told = _reached(found[ALL], _GOAL_ACROSS)
        yield f"Goal of {_GOAL_ACROSS} in size across objectives: {told}."
    within = [
        f"{name}: {_reached(own, _GOAL_WITHIN)}"
        for name, own in found.items()
        if name not in (ALL, *OTHERS)
    ]
    if within:
        yield f"Goal of {_GOAL_WITHIN} in size within an objective: {'; '.join(within)}."
    few = [
        f"{name}: {_reached(own, _GOAL_WITHIN)}" for name, own in found.items() if name in OTHERS
    ]
    if few:
        yield (
            f"Within those of five trials: {'; '.join(few)}. Five trials say little: by chance "
            f"alone a score has 0.9 in size in one case of twelve, and here are "
            f"{len(few) * len(MERITS)} cases."
        )
    if ALL in found and "IdEst" in found[ALL]:
        raw = -found[ALL]["IdEst"].rho
        yield (
            "IdEst's authors report about -0.8 unturned, fewer dimensions being better; unturned "
            f"it is {raw:.2f} here across objectives"
            f"{', the other way round' if raw > 0 else ''}. It is said to tell little before some "
            f"ten epochs, and here are {EPOCHS}."
        )
    if loss := correlations(groups["lejepa"], LOSSES):
        told = ", ".join(f"{name} {each}" for name, each in loss.items())
        yield (
            f"LeJEPA's own loss over its {len(groups['lejepa'])} weights λ of SIGReg, less being "
            f"better: {told}. The power is that of its paper from memory, and not verified."
        )
    if itself := _itself(groups["simclr"]):
        yield itself
    if both := _of_both_probes(groups):
        yield both


def _reached(own: dict[str, Correlation], goal: float) -> str:
    """Which scores have it, and which of them the right way."""
    rhos = {name: own[name].rho for name in MERITS if np.isfinite(own[name].rho)}
    right = {name: rho for name, rho in rhos.items() if rho >= goal}
    wrong = {name: rho for name, rho in rhos.items() if rho <= -goal}
    if right or wrong:
        told = f"reached by {_listed(right)}" if right else "reached by none the right way"
        return f"{told}; the wrong way round by {_listed(wrong)}" if wrong else told
    if not rhos:
        return "no score tells trials apart"
    largest = max(rhos, key=lambda name: abs(rhos[name]))
    return f"missed, the largest is {_listed({largest: rhos[largest]})}"


def _listed(rhos: dict[str, float]) -> str:
    return ", ".join(f"{name} ({rho:.3f})" for name, rho in rhos.items())


def _of_both_probes(groups: dict[str, list[Line]]) -> str | None:
    """The same with a target that is less noisy."""

    def told(own: list[Line]) -> str:
        target = [(line["knn"] + line["linear"]) / 2 for line in own]
        rhos = {
            name: rank_correlation([merit(line) for line in own], target)
            for name, merit in MERITS.items()
        }
        largest = sorted(rhos, key=lambda name: -abs(rhos[name]))[:4]
        return ", ".join(f"{name} {rhos[name]:.2f}" for name in largest)

    own = {name: groups[name] for name in (ALL, "simclr", "composite") if len(groups[name]) > 2}
    if not own:
        return None
    parts = [f"{name}: {told(lines)}" for name, lines in own.items()]
    return (
        "With the mean of both probes, which is less noisy than one, the largest are: "
        f"{'; '.join(parts)}."
    )


def _itself(lines: list[Line]) -> str | None:
    """How far the linear probe agrees with itself with another seed."""
    of_seeds = [
        {x["settings"]["temperature"]: x["linear"] for x in lines if x["seed"] == seed}
        for seed in range(2)
    ]
    both = sorted(of_seeds[0].keys() & of_seeds[1].keys())
    if len(both) < 3:
        return None
    rho = rank_correlation(*([each[value] for value in both] for each in of_seeds))
    return (
        "For comparison: the linear probe of one seed agrees with that of another by "
        f"{rho:.2f} over {len(both)} temperatures of SimCLR."
    )
