"""Objectives, miners and arbiters of a user's own: modules that a recipe names."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, get_origin

from pipeline.errors import Problem, UserError
from pipeline.objectives.configs.base import ObjectiveConfig
from pipeline.pairs.config import ArbiterConfig, MinerConfig


@dataclass(frozen=True, kw_only=True)
class Extensions:
    """Classes of settings that were found, each with a kind of its own."""

    objectives: list[type[ObjectiveConfig]] = field(default_factory=list)
    miners: list[type[MinerConfig]] = field(default_factory=list)
    arbiters: list[type[ArbiterConfig]] = field(default_factory=list)


def load_extensions(modules: Sequence[str]) -> Extensions:
    """Import modules and look for subclasses of `ObjectiveConfig`, `MinerConfig`, `ArbiterConfig`.

    Their code runs here and in every worker, with all that the user may do.

    Args:
        modules: their names, as `import` takes them.

    Raises:
        UserError: one cannot be imported, or has nothing of the kind.
    """
    found = Extensions()
    problems = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except Exception as error:  # whatever a user's module raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            problems.append(Problem("extensions", f"{name!r} cannot be imported: {reason}"))
            continue
        own = list(_configs(module))
        if not own:
            problems.append(
                Problem(
                    "extensions",
                    f"{name!r} has no subclass of ObjectiveConfig, MinerConfig or ArbiterConfig "
                    "with a kind",
                )
            )
        for config in own:
            _add(found, config)
    if problems:
        raise UserError(problems)
    return found


def _configs(module: ModuleType) -> Iterator[type[Any]]:
    """Classes that the module itself defines; imported ones are somebody else's."""
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, ObjectiveConfig | MinerConfig | ArbiterConfig)
            and value.__module__ == module.__name__
            and get_origin(value.model_fields["kind"].annotation) is Literal
        ):
            yield value


def _add(found: Extensions, config: type[Any]) -> None:
    if issubclass(config, ObjectiveConfig):
        found.objectives.append(config)
    elif issubclass(config, MinerConfig):
        found.miners.append(config)
    else:
        found.arbiters.append(config)
