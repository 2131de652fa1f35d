"""docs/sweeps.md says what the study's cells say, also while some are missing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.shared.study import Line
from benchmarks.sweeps import page, pruning, replay
from benchmarks.sweeps.cell import Cell
from benchmarks.sweeps.lines import (
    ALL,
    GROUPS,
    LOSSES,
    MERITS,
    correlations,
    gain,
    of_cells,
    of_temperature,
    pairing,
    rank_correlation,
    seeds_needed,
)
from benchmarks.sweeps.run import TEMPERATURE, on_test, trials, winner

pytestmark = pytest.mark.fast

STEPS = 80
BEFORE, AFTER = "# Sweeps\n\nBy hand.\n\n", "\n\nBy hand too.\n"


def line_of(cell: Cell, linear: float, *, curve: Sequence[float] | None = None) -> Line:
    """A finished cell, of which all else follows from its accuracy."""
    looks = [linear - 0.01 * (7 - look) for look in range(7)] if curve is None else curve
    return {
        **vars(cell),
        "knn": linear - 0.02,
        "linear": linear,
        "panel": {
            "rankme": 100 * linear,
            "lidar": 50 - linear,
            "alpha_req": 2 - linear,
            "idest": 20 * linear,
            "uniformity": 5 * linear,
            "alignment": 0.5,
            "diffusion_entropy": 3.0,
            "tolerance": 1 - linear,
        },
        "loss": 1 - linear,
        "curve": [
            {"step": 10 * look, "knn": score, "linear": score}
            for look, score in enumerate(looks, start=1)
        ],
        "steps": STEPS,
        "train_seconds": 90.0,
        "wall_seconds": 100.0,
    }


def accuracy(cell: Cell) -> float:
    """Best at a temperature of 0.1, and a little better with each seed."""
    settings: dict[str, Any] = {TEMPERATURE: 0.2, **cell.settings}
    temperature = settings.get("temperature", settings[TEMPERATURE])
    shift = 0.01 * sorted(GROUPS).index(cell.objective)
    shift += 0.001 * sum(map(float, (v for v in settings.values() if not isinstance(v, list))))
    return 0.4 - 0.1 * abs(math.log10(temperature) + 1) + shift + 0.003 * cell.seed


def made_up() -> list[Line]:
    """All cells of the study, each once."""
    cells = {cell.key: cell for cell in GROUPS[ALL]}
    lines = [line_of(cell, accuracy(cell)) for cell in cells.values()]
    tested = [*on_test({}), *on_test(winner(of_cells(lines, trials())))]
    return [*lines, *(line_of(cell, accuracy(cell) + 0.05) for cell in tested)]


def written(lines: list[Line], folder: Path) -> str:
    """The page of these."""
    cells, path = folder / "sweeps.jsonl", folder / "sweeps.md"
    cells.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    path.write_text(f"{BEFORE}<!-- study:begin -->\nold\n<!-- study:end -->{AFTER}")
    page.main(cells, path)
    text = path.read_text()
    assert text.startswith(BEFORE)
    assert text.endswith(AFTER)
    assert "\nold\n" not in text
    assert "nan" not in text
    return text


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def few_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "orders", lambda tried: replay.orders(tried, 3))


@pytest.mark.usefixtures("few_orders")
def test_a_whole_study_answers_all_questions(tmp_path: Path) -> None:
    lines = made_up()
    assert len(lines) == 78
    text = written(lines, tmp_path)
    assert "ot run yet" not in text
    best = max(of_cells(lines, trials()), key=lambda line: line["linear"])
    points = 100 * (best["linear"] - accuracy(Cell(objective="composite", settings={})))
    won = section(text, "The winner on test")
    assert f"linear {points:.1f} ± 0.0, better beyond the standard error" in won
    assert f"winner: {best['settings'][TEMPERATURE]}, " in won
    assert "winner is number 1 of 24" in section(text, "With and without pruning")
    assert "change the outcome of 0 of 3 orders" in text
    told = section(text, "Temperature")
    assert "linear: the best inner temperature, 0.1, is" in told
    assert told.count("an optimum in the middle") == 2
    scores = section(text, "Scores without labels")
    assert "across objectives: reached by RankMe (1.000)" in scores
    assert "the wrong way round by LiDAR (-1.000), IdEst (-1.000)" in scores
    assert "unturned it is 1.00 here across objectives, the other way round" in scores
    assert "differences in pairs have 100 % less variance" in section(text, "Seeds in pairs")
    assert section(text, "The trials").count("\n| 0.") == 24
    assert len(text.splitlines()) < 150


@pytest.mark.usefixtures("few_orders")
@pytest.mark.parametrize("many", [1, 5, 30, 60])
def test_what_is_missing_is_said(many: int, tmp_path: Path) -> None:
    text = written(made_up()[:many], tmp_path)
    assert "ot run yet" in section(text, "The winner on test")
    assert ("ot run yet" in section(text, "The trials")) == (many < 24)
    assert "Not run yet" in section(text, "Scores without labels")
    assert "ot run yet" in section(text, "Seeds in pairs")


def test_nothing_is_run_yet(tmp_path: Path) -> None:
    assert written([], tmp_path).count("\nNot run yet.\n") == 6


def test_a_winner_that_is_no_better_is_told_so(tmp_path: Path) -> None:
    settings = trials()[3].settings
    lines = [line_of(cell, 0.4) for cell in trials()]
    lines[3]["linear"] = 0.5
    for seed, (ours, theirs) in enumerate(zip((0.4, 0.5, 0.6), (0.5, 0.5, 0.5), strict=True)):
        lines.append(line_of(on_test(settings)[seed], ours))
        lines.append(line_of(on_test({})[seed], theirs))
    won = "\n".join(page._winner(lines))
    assert "linear 0.0 ± 5.8, which is not beyond the standard error" in won
    assert "| 50.0 ± 5.8 |" in won


def test_a_default_that_has_won_is_compared_with_nothing() -> None:
    lines = [line_of(cell, 0.4 - 0.01 * i) for i, cell in enumerate(trials())]
    assert "The default has won" in "\n".join(page._winner(lines))


@pytest.mark.usefixtures("few_orders")
def test_the_page_is_the_same_in_whatever_order_cells_were_finished(tmp_path: Path) -> None:
    lines = made_up()[:40]
    assert written(lines, tmp_path) == written(lines[::-1], tmp_path)


def curves(*curves: Sequence[float]) -> list[Line]:
    """Trials of nine looks, the last at the end."""
    return [
        line_of(cell, curve[-1], curve=curve[:-1])
        for cell, curve in zip(trials(), curves, strict=False)
    ]


def test_a_replay_stops_what_is_behind_at_the_first_look() -> None:
    tried = curves([0.3] * 8, [0.2] * 8, [0.1] * 8, [0.4] * 8)
    outcome = replay.replay(tried, at_a_time=1, reduction=3)
    # The first one has nobody before it; the last one is better than all.
    assert outcome.trained == 80 + 10 + 10 + 80
    assert outcome.total == 320
    assert (outcome.rank, outcome.lost) == (1, 0.0)
    assert outcome.saved == 1 - 180 / 320


def test_and_at_the_next_rung() -> None:
    late = [0.3, 0.3, 0.1, *[0.1] * 5]
    outcome = replay.replay(curves([0.2] * 8, late), at_a_time=1, reduction=3)
    assert outcome.trained == 80 + 30
    outcome = replay.replay(curves([0.2] * 8, late), at_a_time=1, reduction=4)
    assert outcome.trained == 80 + 40


def test_a_trial_that_is_late_is_lost() -> None:
    tried = curves([0.3] * 8, [0.2] * 7 + [0.5], [0.1] * 7 + [0.4])
    outcome = replay.replay(tried, at_a_time=1, reduction=3)
    assert outcome.rank == 3
    assert outcome.lost == pytest.approx(20)


def test_of_equal_pace_it_does_not_matter_how_many_are_at_a_time() -> None:
    generator = np.random.default_rng(0)
    tried = curves(*generator.uniform(0.3, 0.5, (24, 8)))
    for order in replay.orders(tried, 5):
        outcomes = {replay.replay(order, at_a_time=k, reduction=3) for k in (1, 2, 4, 24)}
        assert len(outcomes) == 1


def test_the_same_steps_are_worth_so_many_whole_trials() -> None:
    tried = curves([0.3] * 8, [0.2] * 8, [0.4] * 8, [0.1] * 8)
    outcome = replay.whole_trials(tried, trained=170)
    assert (outcome.trained, outcome.rank) == (160, 2)
    assert outcome.lost == pytest.approx(10)


def test_orders_are_of_all_trials_and_the_same_ones_again() -> None:
    tried = curves([0.3] * 8, [0.2] * 8, [0.4] * 8)
    first, again = replay.orders(tried, 20), replay.orders(tried, 20)
    assert first == again
    assert all(sorted(map(repr, order)) == sorted(map(repr, tried)) for order in first)
    assert len({repr(order) for order in first}) == 6


def test_scores_are_turned_so_that_more_is_better() -> None:
    found = correlations(of_cells(made_up(), trials()), MERITS)
    assert found["RankMe"].rho == found["α-ReQ"].rho == found["uniformity"].rho == 1
    assert found["RankMe"].low == found["RankMe"].high == 1
    assert found["IdEst"].rho == found["LiDAR"].rho == -1
    assert math.isnan(found["alignment"].rho)
    assert str(found["alignment"]) == ""


def test_an_interval_is_wide_where_nothing_is_known() -> None:
    generator = np.random.default_rng(0)
    lines = [line_of(cell, 0.4) for cell in trials()]
    for line in lines:
        line["linear"], line["panel"]["rankme"] = generator.uniform(size=2)
    found = correlations(lines, MERITS)["RankMe"]
    assert found.low < found.rho < found.high
    assert found.high - found.low > 0.4


def test_a_score_that_is_no_number_counts_for_none() -> None:
    lines = of_cells(made_up(), trials())
    lines[5]["panel"]["idest"] = math.nan
    lines[5]["panel"]["rankme"] = -1.0
    assert correlations(lines, MERITS)["RankMe"].rho == 1
    assert correlations(lines[:2], MERITS) == {}


def test_lejepas_loss_is_divided_by_a_power_of_its_weight() -> None:
    cell = Cell(objective="lejepa", settings={"sigreg": 0.01})
    plain, divided = (merit(line_of(cell, 0.5)) for merit in LOSSES.values())
    assert (plain, divided) == (-0.5, pytest.approx(-0.5 / 0.01**0.4))


def test_ties_share_a_rank() -> None:
    assert rank_correlation([1, 2, 3], [5, 6, 7]) == 1
    assert rank_correlation([1, 2, 2, 3], [1, 2, 2, 9]) == 1
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == -1


def test_pairs_scatter_less_where_seeds_are_alike_in_both() -> None:
    low, high = (
        [
            line_of(Cell(objective="simclr", settings={}, seed=seed), score)
            for seed, score in enumerate(own)
        ]
        for own in ([0.50, 0.54, 0.52, 0.58], [0.41, 0.44, 0.42, 0.48])
    )
    found = pairing(low, high[::-1], "linear")
    assert found is not None
    differences = np.array([9.0, 10.0, 10.0, 10.0])
    assert found.difference.value == pytest.approx(9.75)
    assert found.paired == pytest.approx(differences.std(ddof=1))
    assert found.unpaired == pytest.approx(
        math.hypot(np.std([50, 54, 52, 58], ddof=1), np.std([41, 44, 42, 48], ddof=1))
    )
    assert found.ratio < 0.05
    assert found.by_chance == 1 / 24
    assert pairing(low[:2], high, "linear") is None
    assert gain(low, high[1:2], "linear").value == pytest.approx(10)  # type: ignore[union-attr]
    assert gain(low[:1], high[1:], "linear") is None


def test_seeds_needed() -> None:
    assert seeds_needed(1.0, 0.5) == 16
    assert seeds_needed(1.0, -0.9) == 5
    assert seeds_needed(0.1, 5.0) == 2
    assert seeds_needed(1.0, 0.0) is None


@pytest.mark.parametrize("many", [0, 30, 78])
def test_the_figure_has_a_dot_for_each_cell_of_simclr(many: int, tmp_path: Path) -> None:
    lines = made_up()[:many]
    path = tmp_path / "sweeps.svg"
    page.draw(lines, path)
    again = tmp_path / "again.svg"
    page.draw(lines, again)
    assert path.read_bytes() == again.read_bytes()
    root = ElementTree.parse(path).getroot()
    texts = {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"uniformity", "tolerance", "kNN", "linear", "temperature", "0.05", "1"} <= texts
    cells = sum(line["objective"] == "simclr" for line in lines)
    assert cells == {0: 0, 30: 6, 78: 28}[many]
    drawn = [use for use in root.iter("{http://www.w3.org/2000/svg}use") if _is_dot(use)]
    assert len(drawn) == 4 * cells


def _is_dot(use: ElementTree.Element) -> bool:
    return "fill-opacity" in use.attrib.get("style", "")


def test_seeds_of_a_temperature() -> None:
    lines = made_up()
    assert [line["seed"] for line in of_temperature(lines, 0.1)] == [0, 1]
    assert [line["seed"] for line in of_temperature(lines, 0.1, all_seeds=True)] == [*range(8)]
    assert [line["seed"] for line in of_temperature(lines, 0.2, all_seeds=True)] == [0, 1]
