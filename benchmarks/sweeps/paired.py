"""The page's section on seeds: whether runs of the same seeds tell settings apart sooner."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from benchmarks.shared.study import Line
from benchmarks.sweeps.lines import (
    NOT_RUN,
    PROBES,
    Pairing,
    gain,
    of_temperature,
    pairing,
    seeds_needed,
)
from benchmarks.sweeps.run import LINE, PAIRS, TOLD_APART

_DISTANCES = (1.0, 0.5)


def pairs(lines: list[Line]) -> Iterator[str]:
    """Paragraphs and a table."""
    low, high = TOLD_APART
    both = [of_temperature(lines, value, all_seeds=True) for value in TOLD_APART]
    found = {probe: pairing(both[0], both[1], probe) for probe in PROBES}
    told = {probe: each for probe, each in found.items() if each is not None}
    if not told:
        yield NOT_RUN
        return
    many = len({x["seed"] for x in both[0]} & {x["seed"] for x in both[1]})
    rows = [
        f"| probe | {low:g} less {high:g} | deviation, same seed | different seeds | variance, "
        "same by different | ways to pair that scatter as little | seeds for this | "
        + " | ".join(f"for {distance:.1f} points" for distance in _DISTANCES)
        + " |",
        "|---" * (7 + len(_DISTANCES)) + "|",
    ]
    for probe, each in told.items():
        needed = [_needed(each, d) for d in (each.difference.value, *_DISTANCES)]
        rows.append(
            f"| {PROBES[probe]} | {each.difference} | {each.paired:.2f} | {each.unpaired:.2f} | "
            f"{each.ratio:.2f} | {100 * each.by_chance:.0f} % | {' | '.join(needed)} |"
        )
    yield (
        f"Temperatures {low:g} and {high:g} of SimCLR with the same {many} seeds. *Same seed*: "
        "differences between runs with the same order, views and first weights; *different "
        "seeds*: between those of two. *Seeds*: until the difference is two standard errors long, "
        "at least 2, in pairs / not in pairs; for other differences were the deviation the same."
        f"{'' if many == PAIRS else f' Of {PAIRS} seeds the others are not run yet.'}"
    )
    yield "\n".join(rows)
    sentences = [_worth(probe, each) for probe, each in told.items()]
    sentences += [closest for probe in told if (closest := _closest(lines, told[probe], probe))]
    yield "\n".join(f"- {sentence}" for sentence in sentences)


def _needed(each: Pairing, distance: float) -> str:
    needed = (seeds_needed(deviation, distance) for deviation in (each.paired, each.unpaired))
    return " / ".join("no number" if number is None else str(number) for number in needed)


def _worth(probe: str, each: Pairing) -> str:
    """Whether pairs scatter less."""
    if each.ratio >= 1:
        return f"{PROBES[probe]}: differences in pairs scatter no less, so pairs gain nothing here."
    return (
        f"{PROBES[probe]}: differences in pairs have {100 * (1 - each.ratio):.0f} % less variance; "
        f"{100 * each.by_chance:.0f} % of all ways to pair the seeds have as little, so that this "
        f"{'is hardly' if each.by_chance <= 0.05 else 'may be'} chance."
    )


def _closest(lines: list[Line], each: Pairing, probe: str) -> str | None:
    """How many seeds the nearest two temperatures would take."""
    means = {value: own for value in LINE if len(own := of_temperature(lines, value)) > 1}
    gains = {
        (one, other): found
        for one, other in combinations(means, 2)
        if (found := gain(means[one], means[other], probe)) is not None
    }
    if not gains:
        return None
    (one, other), found = min(gains.items(), key=lambda item: abs(item[1].value))
    return (
        f"{PROBES[probe]}: the closest two temperatures are {one:g} and {other:g}, "
        f"{found._replace(value=abs(found.value))} apart with two seeds, which is little, and the "
        f"least of {len(gains)} differences is small by chance too. With the deviations above that "
        f"takes {_needed(each, found.value)} seeds."
    )
