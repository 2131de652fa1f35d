"""The recipe: the user's file, typed; it composes the configs that stand beside components."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from pipeline.data.config import DataConfig
from pipeline.data.storage import absolute
from pipeline.encoders.backbone import EncoderConfig
from pipeline.encoders.features import FeaturesConfig
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.objectives.composite import CompositeConfig
from pipeline.objectives.simclr import SimCLRConfig
from pipeline.objectives.single import SingleObjectiveConfig
from pipeline.pairs.config import PairsConfig
from pipeline.recipe_errors import explain, place
from pipeline.registry.config import TrackingConfig
from pipeline.training.config import TrainConfig
from pipeline.views.parameters import ImageViews


class Recipe(BaseModel):
    """Everything that makes a run; the resolved recipe is enough to repeat it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[
        str | None,
        Field(
            pattern=r"^\w[\w.-]*$",
            description="name of the run; null: derived from the recipe and the data",
        ),
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    views: ImageViews = ImageViews()
    encoder: EncoderConfig
    objective: Annotated[SingleObjectiveConfig | CompositeConfig, Field(discriminator="kind")] = (
        SimCLRConfig()
    )
    pairs: PairsConfig = PairsConfig()
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("evaluate", mode="before")
    @classmethod
    def _nothing_if_null(cls, value: Any) -> Any:
        return {"snapshot_samples": 0} if value is None else value

    @field_validator("pairs", mode="before")
    @classmethod
    def _all_alike_if_null(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("objective", mode="before")
    @classmethod
    def _simclr_unless_told(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "kind" not in value:
            return {"kind": "simclr", **value}
        return value

    @property
    def features(self) -> FeaturesConfig:
        """What the encoder gives: `encoder.features`, or what is usual for the objective."""
        usual = "mean" if self.objective.sole_autoencoder else "pooled"
        return self.encoder.features or FeaturesConfig.model_validate(usual)

    def with_absolute_paths(self) -> Recipe:
        """The recipe with its folders spelt out, since workers run in other directories."""
        init = self.encoder.init
        if init is not None and not init.startswith("models:/"):
            init = absolute(init)
        trace = self.train.trace
        evaluate = self.evaluate
        if evaluate.sets is not None:
            train, test = map(absolute, evaluate.sets)
            evaluate = evaluate.model_copy(update={"train": train, "test": test})
        return self.model_copy(
            update={
                "data": self.data.with_absolute_paths(),
                "encoder": self.encoder.model_copy(update={"init": init}),
                "evaluate": evaluate,
                "train": self.train.model_copy(
                    update={"trace": absolute(trace) if trace is not None else None}
                ),
                "tracking": self.tracking.model_copy(
                    update={"storage": absolute(self.tracking.storage)}
                ),
            }
        )

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, every default written out."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.resolved(), sort_keys=False)


class Draft(BaseModel):
    """What could be read of a recipe: its mistakes, and a recipe if they leave one."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    recipe: Recipe | None
    problems: list[Problem]


def draft_recipe(path: Path, overrides: Iterable[str] = ()) -> Draft:
    """Read a recipe that may have mistakes.

    A setting that is wrong is reported and then left out, so that its default takes its place and
    checks of the other settings can go on: the user sees all mistakes at once.

    Raises:
        UserError: the file cannot be read, or an override is not of the form `a.b=c`.
    """
    raw = _read(path)
    _apply(overrides, raw)
    problems: list[Problem] = []
    removed: set[tuple[int | str, ...]] = set()
    while True:
        try:
            return Draft(recipe=Recipe.model_validate(raw), problems=problems)
        except ValidationError as error:
            found = {details["loc"] for details in error.errors()}
            new = [d for d in error.errors() if not _follows(d, removed=removed, found=found)]
            problems += [explain(details, Recipe) for details in new]
            removed |= {details["loc"] for details in new}
            mended = _mend(raw, error.errors())
            if mended == raw:
                return Draft(recipe=None, problems=problems)
            raw = mended


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise UserError(Problem(str(path), f"cannot be read: {error.strerror}")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(Problem(str(path), f"is not YAML: {error}")) from error
    if not isinstance(raw, dict):
        raise UserError(Problem(str(path), "is not a recipe: it has no sections"))
    return raw


_STAND_INS: dict[tuple[int | str, ...], Any] = {
    ("data",): {"shards": ""},
    ("data", "shards"): "",
    ("encoder",): {"name": ""},
    ("encoder", "name"): "",
    ("train",): {"epochs": 1},
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but 1e-3 is a number, as in YAML 1.2 and everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _apply(overrides: Iterable[str], raw: dict[str, Any]) -> None:
    problems = []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.split(".")
        if not equals or not all(keys):
            problems.append(Problem(override, "is not of the form a.b=value"))
            continue
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            problems.append(Problem(dotted, f"{text!r} is not YAML: {error}"))
            continue
        section = raw
        for key in keys[:-1]:
            if not isinstance(section.get(key), dict):
                section[key] = {}
            section = section[key]
        section[keys[-1]] = value
        if dotted in ("train.steps", "train.epochs") and value is not None:
            # Saying one on the command line means: not the other that the file has.
            section.pop("epochs" if dotted == "train.steps" else "steps", None)
    if problems:
        raise UserError(problems)


def _follows(
    details: ErrorDetails,
    *,
    removed: set[tuple[int | str, ...]],
    found: set[tuple[int | str, ...]],
) -> bool:
    """Whether an error comes of settings that are wrong, or were left out because they were."""
    loc = details["loc"]
    if details["type"] == "too_short":  # pydantic counts the items that are right
        return any(len(other) > len(loc) and other[: len(loc)] == loc for other in found)
    if loc == ("train",):
        return bool(removed & {("train", "epochs"), ("train", "steps")})
    return details["type"] == "missing" and any(gone[: len(loc)] == loc for gone in removed)


def _mend(raw: dict[str, Any], errors: Iterable[ErrorDetails]) -> dict[str, Any]:
    """The recipe without what is wrong in it, with stand-ins for what it cannot do without."""
    mended = deepcopy(raw)
    for details in errors:
        loc = place(details["loc"], Recipe).loc
        if details["type"] == "missing" and loc in _STAND_INS:
            *parents, last = loc
            section = mended
            for key in parents:
                section = section[str(key)]
            section[str(last)] = deepcopy(_STAND_INS[loc])
        elif details["type"] == "missing":
            _remove(mended, loc[:-1])
        elif loc == ("train",) and isinstance(mended.get("train"), dict):
            rest = {k: v for k, v in mended["train"].items() if k not in ("epochs", "steps")}
            mended["train"] = {**rest, "epochs": 1}
        else:
            _remove(mended, loc)
    return mended


def _remove(raw: dict[str, Any], loc: Iterable[int | str]) -> None:
    section = raw
    for key in loc:
        inner = section.get(str(key))
        if not isinstance(inner, dict) or key == tuple(loc)[-1]:
            section.pop(str(key), None)
            return
        section = inner
