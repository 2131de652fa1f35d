"""What the finished cells of the study of cMIM say of a method."""

from __future__ import annotations

from benchmarks.cmim.run import score
from benchmarks.shared.study import Line, Mean, mean_of

PROBES = {"knn": "kNN", "linear": "linear", "naive_bayes": "naive Bayes"}


def of_method(lines: list[Line], method: str, batch: int) -> list[Line]:
    """Seeds of a method with the settings that are best by now."""
    own = [line for line in lines if (line["method"], line["batch"]) == (method, batch)]
    tried = [line for line in own if line["stage"] == "settings"]
    if not tried:
        return []
    best = max(tried, key=score)["settings"]
    return [line for line in own if line["stage"] == "seeds" and line["settings"] == best]


def accuracy(lines: list[Line], probe: str) -> Mean:
    """In per cent, of a probe of the first kind of features."""
    return mean_of([100 * next(iter(line["probes"].values()))[probe] for line in lines])
