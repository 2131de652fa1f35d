"""How much of the differences between scores each setting explains."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from pipeline.report.sections.section import Section
from pipeline.sweeps.ledger import Trial
from pipeline.sweeps.page.drawing import USUAL, picture, spread
from pipeline.sweeps.page.facts import SweepFacts, value_of
from pipeline.sweeps.page.rendering import Picture, picture_section
from pipeline.sweeps.page.texts import counted, direction, plain_text, value_text
from pipeline.sweeps.spaces.scores import MEASURES, Score
from pipeline.sweeps.spaces.space import Space

_FEWEST = 8
_MOST = 120
"""Trials: a forest of more takes longer than it tells."""
_TREES, _SEED = 32, 0
_GROUPS = 6
_NOTES = (
    "The share of the variance of the score that each setting explains by itself (fANOVA; Hutter "
    "et al., 2014). What the bars lack to 1 is what settings do together, "
    "and chance.",
    "It is about this space only: a setting whose range is narrow here counts for little here.",
)


def importance_section(sweep: SweepFacts) -> Section:
    """Bars for the settings that all trials have, and for those that some have."""
    pictures: list[Picture] = []
    why_not = ""
    for score in sweep.scores:
        for title, trials, paths in _groups(sweep):
            found = importances(trials, sweep.config.space, paths, score)
            if isinstance(found, str):
                why_not = why_not or found
            else:
                caption = direction(score) + (f", {title}" if title else "")
                pictures.append(
                    Picture(
                        title=caption,
                        drawing=_bars(found, sweep.names, caption),
                        notes=[f"Of {counted(min(len(trials), _MOST), 'finished trial')}."],
                    )
                )
    if not pictures:
        return picture_section("importance", "Importance of settings", lead=[why_not])
    return picture_section("importance", "Importance of settings", broad=pictures, notes=_NOTES)


def _groups(sweep: SweepFacts) -> Iterator[tuple[str, list[Trial], list[str]]]:
    """Finished trials that have the same settings, with those: all trials, then some of them."""
    space = sweep.config.space
    yield "", sweep.finished, [path for path, dimension in space.items() if not dimension.when]
    conditions = {_condition(space[path].when): space[path].when for path in space}
    for text, when in [*conditions.items()][: _GROUPS + 1]:
        if not when:
            continue
        own = [path for path in space if space[path].when == when]
        trials = [trial for trial in sweep.finished if set(own) <= set(trial.params)]
        paths = [path for path in space if trials and all(path in t.params for t in trials)]
        yield f"of trials with {text}", trials, paths


def _condition(when: Mapping[str, object]) -> str:
    return ", ".join(f"{plain_text(path)} {value_text(value)}" for path, value in when.items())


def importances(
    trials: Sequence[Trial], space: Space, paths: Sequence[str], score: Score
) -> dict[str, float] | str:
    """Shares of the variance by setting, the largest first; or why there are none.

    Args:
        trials: finished, each with a score.
        space: of the sweep.
        paths: settings that all of them have.
        score: that is explained.
    """
    known = [
        trial
        for trial in trials
        if all(path in trial.params and space[path].allows(trial.params[path]) for path in paths)
    ]
    if len(known) < _FEWEST:
        return (
            f"It takes {_FEWEST} finished trials with these settings to say anything; there "
            f"{'is' if len(known) == 1 else 'are'} {len(known)}."
        )
    varied = [p for p in paths if len({json.dumps(t.params[p], default=str) for t in known}) > 1]
    if not varied:
        return "All finished trials have the same settings."
    if len({value_of(trial, score) for trial in known}) == 1:
        return "All finished trials have the same score."
    return _fanova(spread(known, _MOST), space, varied, score)


def _fanova(
    trials: Sequence[Trial], space: Space, paths: Sequence[str], score: Score
) -> dict[str, float] | str:
    import optuna  # takes a while
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    optuna.logging.set_verbosity(logging.ERROR)
    # By their shares, since Optuna weighs all of a range alike, and trials all factors of a
    # logarithmic one; by their places, since it takes no lists for choices.
    distributions: dict[str, BaseDistribution] = {}
    for path in paths:
        listed = space[path].listed
        distributions[path] = (
            FloatDistribution(0, 1)
            if listed is None
            else CategoricalDistribution([*range(len(listed))])
        )
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        value = value_of(trial, score)
        assert value is not None
        params = {path: _place(space, path, trial) for path in paths}
        study.add_trial(
            optuna.create_trial(
                value=MEASURES[score].merit(value), params=params, distributions=distributions
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator, normalize=False
            )
        except RuntimeError as error:  # says that the trees see no difference
            return f"There is none: {plain_text(str(error))}"
    return {path: float(share) for path, share in found.items()}


def _place(space: Space, path: str, trial: Trial) -> float | int:
    listed = space[path].listed
    if listed is not None:
        return listed.index(trial.params[path])
    share = space[path].share_of(trial.params[path])
    assert share is not None
    return share


def _bars(found: Mapping[str, float], names: Mapping[str, str], caption: str) -> Markup:
    paths = [*found]

    def draw(axes: Axes) -> None:
        axes.barh([*range(len(paths))], [found[path] for path in paths], color=USUAL, height=0.6)
        for place, path in enumerate(paths):
            axes.text(found[path] + 0.01, place, f"{found[path]:.2f}", va="center", fontsize=8)
        texts = [plain_text(names[path], letters=32) for path in paths]
        axes.set_yticks([*range(len(paths))], texts)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(paths) - 0.4, -0.6)
        axes.set_xlim(0, max(1.0, 1.1 * max(found.values())))

    told = "; ".join(f"{names[path]} {share:.2f}" for path, share in found.items())
    return picture(
        draw,
        alt=f"Importance for {caption}: {told}",
        size=(7.2, 0.75 + 0.26 * len(paths)),
        xlabel="share of the variance",
        left=2.3,
    )
