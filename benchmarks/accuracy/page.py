"""Write what the study of accuracies found into docs/objectives.md.

python -m benchmarks.accuracy.page accuracy.jsonl docs/objectives.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from benchmarks.accuracy.methods import (
    FLOORS,
    GOALS,
    LIBRARIES,
    LIGHTLY,
    OURS,
    RESNET,
    SEEDS,
    VIT,
    Budget,
)
from benchmarks.accuracy.run import best_settings
from benchmarks.shared.study import Line, Mean, difference, finished, mean_of, write_between

_PROBES = {"knn": "kNN", "linear": "linear"}


def main(cells: Path, page: Path) -> None:
    """Put the tables between the page's two markers."""
    lines = finished(cells)
    write_between(page, "accuracy", [_introduction(), *_results(lines), *_tried(lines)])


def _introduction() -> str:
    return (
        f"Accuracy in per cent, mean of the seeds and its standard error ({SEEDS} seeds "
        "unless the table says otherwise), after a training on 10,000 CIFAR-10 images, probed on "
        "2,000 test images. Settings were chosen on 2,000 other images, after half as many epochs "
        f"of the remaining 8,000. {_budget(RESNET)} {_budget(VIT)} Images/s are of CPU time of one "
        "thread, views and data included; cells ran on several days beside other work, so rates "
        "are good to a factor of 1.5."
    )


def _budget(budget: Budget) -> str:
    arguments = ", ".join(f"{name} {value}" for name, value in budget.encoder["args"].items())
    return (
        f"{budget.title}: {budget.encoder['name']} ({arguments}), batch {budget.batch}, "
        f"{budget.epochs['seeds']} epochs."
    )


def _results(lines: list[Line]) -> Iterator[str]:
    rows = ["| method | settings | kNN | linear | RankMe | images/s |", "|---|---|---|---|---|---|"]
    for method in FLOORS:
        rows += _row(lines, "floor", method.name, method.name)
    for method in OURS:
        rows += _row(lines, "ours", method.name, method.name)
        rows += _row(lines, "lightly", method.name, f"{method.name}, lightly")
    yield "\n".join(rows)
    yield "\n".join(f"- {sentence}" for sentence in _criteria(lines))


def _row(lines: list[Line], library: str, name: str, title: str) -> list[str]:
    own = _of(lines, library, name, "seeds")
    if not own:
        return []
    seeds = "" if len(own) == SEEDS or name == "raw pixels" else f" ({len(own)} seeds)"
    rank = f"{np.mean([line['rankme'] for line in own]):.0f}"
    rate = "" if library == "floor" else f"{_rate(own):,.0f}"
    figures = [_mean(own, probe) for probe in _PROBES]
    chosen = _settings(own[0]["settings"])
    return [f"| {title}{seeds} | {chosen} | {figures[0]} | {figures[1]} | {rank} | {rate} |"]


def _criteria(lines: list[Line]) -> Iterator[str]:
    """A sentence for each goal and probe, computed from the cells."""
    peers = {method.name for method in LIGHTLY}
    for probe, title in _PROBES.items():
        ours = {m.name: _of(lines, "ours", m.name, "seeds") for m in OURS}
        ours = {name: own for name, own in ours.items() if own}
        floors = {m.name: _of(lines, "floor", m.name, "seeds") for m in FLOORS}
        if not ours or not all(floors.values()):
            continue
        above = {method.name: method.goal for method in OURS}
        gains = {
            name: difference(
                _mean(own, probe),
                max(_mean(floors[floor], probe) for floor in above[name].floors),
            )
            for name, own in ours.items()
        }
        for goal in GOALS:
            own = {name: gain for name, gain in gains.items() if above[name] == goal}
            short = [f"{name} ({gain})" for name, gain in own.items() if gain.value < goal.points]
            points = f"at least {goal.points:.0f} points " if goal.points else ""
            least = min(own, key=lambda name: own[name].value, default=None)
            closest = f"; the least gain is {least}'s {own[least]}" if least and not short else ""
            yield (
                f"{title}, {points}above {' and '.join(goal.floors)}: "
                f"{_verdict(short, len(own))}{closest}."
            )
        below, compared = [], 0
        for name in ours.keys() & peers:
            theirs = _of(lines, "lightly", name, "seeds")
            if not theirs:
                continue
            compared += 1
            gain = difference(_mean(ours[name], probe), _mean(theirs, probe))
            if not gain.value >= -gain.error:
                below.append(f"{name} ({gain})")
        yield (
            f"{title}, not below lightly's same method by more than the standard error of the "
            f"difference: {_verdict(sorted(below), compared)}."
        )
    missing = [m.name for m in OURS if not _of(lines, "ours", m.name, "seeds")]
    missing += [
        f"{m.name} of lightly" for m in LIGHTLY if not _of(lines, "lightly", m.name, "seeds")
    ]
    if missing:
        yield f"Not measured yet: {', '.join(missing)}."


def _verdict(misses: list[str], compared: int) -> str:
    if not compared:
        return "nothing measured yet"
    if not misses:
        return f"all {compared} that were measured"
    return f"{compared - len(misses)} of {compared}; missed by {', '.join(misses)}"


def _tried(lines: list[Line]) -> Iterator[str]:
    rows = ["| method | settings tried: mean of kNN and linear, chosen in bold |", "|---|---|"]
    for library, methods in LIBRARIES.items():
        for method in methods:
            own = _of(lines, library, method.name, "settings")
            if not own or library == "floor":
                continue
            best = best_settings(own)
            tried = []
            for settings in (line["settings"] for line in own if line["seed"] == 0):
                same = [line for line in own if line["settings"] == settings]
                score = np.mean([50 * (line["knn"] + line["linear"]) for line in same])
                seeds = f" ({len(same)} seeds)" if len(same) > 1 else ""
                text = f"{_settings(settings)}: {score:.1f}{seeds}"
                tried.append(f"**{text}**" if settings == best else text)
            title = method.name + (", lightly" if library == "lightly" else "")
            rows.append(f"| {title} | {'; '.join(tried)} |")
    if len(rows) > 2:
        yield (
            "Scores on the held-out part of the training images, of one seed, and of more where "
            "another came within a point of the best:"
        )
        yield "\n".join(rows)


def _of(lines: list[Line], library: str, method: str, stage: str) -> list[Line]:
    """Of a method; seeds are of the best settings, since a grid may have grown after they ran."""
    wanted = (library, method, stage)
    own = [line for line in lines if (line["library"], line["method"], line["stage"]) == wanted]
    if stage == "seeds" and own:
        best = best_settings(_of(lines, library, method, "settings"))
        own = [line for line in own if line["settings"] == best]
    return own


def _mean(lines: list[Line], probe: str) -> Mean:
    return mean_of([100 * line[probe] for line in lines])


def _rate(lines: list[Line]) -> float:
    return float(np.mean([line["images_per_cpu_second"] for line in lines]))


def _settings(settings: dict[str, Any]) -> str:
    shown = {name: "null" if value is None else f"{value:.3g}" for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


if __name__ == "__main__":
    typer.run(main)
