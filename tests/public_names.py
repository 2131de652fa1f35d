"""What users' code, recipes and scripts may rely on, found in the code.

    python -m tests.public_names

writes it into tests/fixtures/public_names.json, which tests/test_public_names.py compares.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from pydantic import BaseModel

import jobs.embed
import jobs.evaluate
import jobs.fetch
import jobs.init
import jobs.models
import jobs.promote
import jobs.report
import jobs.schema
import jobs.shard
import pipeline
from docs._scripts.settings import all_sections
from jobs.__main__ import app
from pipeline.errors import Problem
from pipeline.planning.found_data import FoundData
from pipeline.planning.machine import Machine
from pipeline.registry.versions.gate import Check
from pipeline.report.gathering.bad_pairs import SCHEMA, BadPairFiles
from pipeline.sweeps import conclusion
from pipeline.sweeps.winner import train_winner
from pipeline.training import delivery

FILE = Path(__file__).parent / "fixtures" / "public_names.json"


def public_names() -> dict[str, Any]:
    """All of it, as plain values."""
    return {
        "python": {name: _described(getattr(pipeline, name)) for name in sorted(pipeline.__all__)},
        "recipe": sorted(_recipe_keys()),
        "verbs": _verbs(),
        "results": _results(),
    }


def _described(value: Any) -> Any:
    """How something is called, and what it has that may be called."""
    if isinstance(value, ModuleType):
        own = vars(value).items()
        return {
            name: _signature(function)
            for name, function in own
            if inspect.isfunction(function)
            and function.__module__ == value.__name__
            and not name.startswith("_")
        }
    if isinstance(value, type) and issubclass(value, Enum):
        return [member.name for member in value]
    if isinstance(value, type) and issubclass(value, tuple):
        return list(value._fields)
    if isinstance(value, type):
        return _class(value)
    return _signature(value) if inspect.isfunction(value) else "annotation"


def _class(value: type[Any]) -> dict[str, Any]:
    own = {name: part for name, part in vars(value).items() if not name.startswith(("_", "model_"))}
    members = {
        name: _signature(getattr(value, name))
        for name, part in own.items()
        if inspect.isfunction(part) or isinstance(part, classmethod | staticmethod)
    }
    members |= {name: "property" for name, part in own.items() if isinstance(part, property)}
    if issubclass(value, BaseModel):  # its settings are the recipe's
        return {"members": members}
    if "__init__" not in vars(value) and issubclass(value, Exception):
        return {"made": "as any exception", "members": members}
    return {"made": _signature(value), "members": members}


def _signature(function: Callable[..., Any]) -> str:
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(inspect.signature(function)))


def _recipe_keys() -> Iterator[str]:
    """Dotted settings; those of one kind of several as `objective[simclr].temperature`."""
    for at, found in all_sections():
        for row in found.settings:
            name = row.key.removeprefix(f"{at}.")
            yield f"{at}[{found.kind}].{name}" if found.kind else row.key


def _verbs() -> dict[str, list[str]]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: [
            " ".join(p.opts) if p.param_type_name == "option" else str(p.name).upper()
            for p in command.params
        ]
        for name, command in sorted(commands.items())
    }


def _results() -> dict[str, list[str]]:
    """Dotted keys of what each verb prints with --json, and columns of files that it writes."""
    return {
        "init": [
            *_keys(jobs.init._facts),
            *_within("data", _fields(FoundData)),
            *_within("machine", _fields(Machine)),
        ],
        "shard": [*_keys(jobs.shard._summary), *_within("sets.PATH", _keys(jobs.shard._facts))],
        "shard --index": [
            *_keys(jobs.shard._index),
            *_within("sets.PATH", _keys(jobs.shard._facts)),
        ],
        "plan": [*_fields(pipeline.Plan), *_keys(jobs.plan.plan)],
        "sweep": [
            *_keys(conclusion.conclude),
            *_within("best", _keys(train_winner)),
        ],
        "plan, of a sweep": _within("sweep", _fields(pipeline.SweepPlan)),
        "pretrain": [*_keys(delivery.deliver), *_within("bad_pairs", _fields(BadPairFiles))],
        "report": [*_keys(jobs.report.report), *_within("bad_pairs", _fields(BadPairFiles))],
        "bad_pairs.parquet": SCHEMA.names,
        "evaluate": _keys(jobs.evaluate.evaluate),
        "embed": _keys(jobs.embed.embed),
        "models": _within("models[]", _keys(jobs.models.as_json)),
        "promote": [
            *_keys(jobs.promote.promote),
            *_within("checks[]", Check._fields),
        ],
        "fetch": _keys(jobs.fetch.fetch),
        "verify": _keys(pipeline.Verification.as_json),
        "schema --output": _keys(jobs.schema.schema),
        "any, on mistakes": ["errors", *_within("errors[]", Problem._fields)],
    }


def _fields(config: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def _within(key: str, inner: Iterable[str]) -> list[str]:
    return [f"{key}.{name}" for name in inner]


def _keys(function: Callable[..., Any]) -> list[str]:
    """Keys of the dictionary that a function returns or calls `result`, read from its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {**function.__globals__, **_imported(tree)}
    found: list[str] = []
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Return | ast.Assign | ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        named = isinstance(target, ast.Name) and target.id == "result"
        if isinstance(value, ast.Dict) and (named or target is None):
            found += _keys_of_literal(value, names)
        if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "result":
            found.append(ast.literal_eval(target.slice))
    return found


def _keys_of_literal(literal: ast.Dict, names: dict[str, Any]) -> Iterator[str]:
    for key, value in zip(literal.keys, literal.values, strict=True):
        if key is not None:
            yield ast.literal_eval(key)
        else:  # **function(…)
            assert isinstance(value, ast.Call)
            yield from _keys(names[ast.unparse(value.func)])


def _imported(tree: ast.AST) -> dict[str, Any]:
    """What a function imports where it is called."""
    return {
        alias.asname or alias.name: getattr(
            __import__(str(node.module), fromlist=[alias.name]), alias.name
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def as_text() -> str:
    """As the file has it."""
    return json.dumps(public_names(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text())
