"""Promotion: an alias moves to a version that passes a gate, or it is said why not."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import Task
from pipeline.registry.evaluate import evaluate
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.versions.gate import Check, Standing, comparison
from pipeline.registry.versions.lookup import (
    registered,
    registry_client,
    tags_of,
    version_of,
    versions,
)
from pipeline.registry.versions.register import ALIAS
from pipeline.registry.versions.resolve import encoder_folder
from pipeline.registry.versions.tags import FORCED_TAG, from_tags

CHAMPION = "champion"

_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RESERVED = re.compile(rf"{ALIAS}|latest|v\d+", re.IGNORECASE)


class Promotion(NamedTuple):
    """What came of a promotion."""

    name: str
    version: int
    alias: str
    before: int | None
    """The version that had the alias; None: none."""
    checks: list[Check]
    promoted: bool
    forced: bool

    @property
    def uri(self) -> str:
        """The alias."""
        return f"models:/{self.name}@{self.alias}"


def promote(
    name: str,
    *,
    version: int | None = None,
    to: str = CHAMPION,
    force: bool = False,
    train: str | Path | None = None,
    test: str | Path | None = None,
    tracking_uri: str | None = None,
) -> Promotion:
    """Point an alias to a version of a registered encoder, if it passes the gate.

    The gate: the stored files are whole and give what the trained encoder gave, its features did
    not collapse, and its probes are not worse than those of the version that has the alias, by more
    than that one's interval, on the same probe data. Without probes the label-free panel decides.

    Args:
        name: of the registered model.
        version: of it; None: what `@candidate` points to, or the newest.
        to: the alias.
        force: move the alias whatever the gate says; a tag of the version keeps what it said.
        train: labelled shards to fit probes of both versions on, for versions that were scored on
            other data; None: the scores of their runs count.
        test: labelled shards that they are scored on.
        tracking_uri: MLflow; see `tracking_server.tracking_uri`.

    Returns:
        What was checked, and whether the alias moved.

    Raises:
        UserError: there is no such model or version, or a setting is wrong.
        InterruptedRunError: a download broke.
    """
    problems = []
    if not _ALIAS.fullmatch(to) or _RESERVED.fullmatch(to):
        told = f"{to!r} is no alias to promote to; allowed: a letter, then letters, digits, - and _"
        problems.append(Problem("--to", f"{told}; not {ALIAS}, latest or v1"))
    if (train is None) != (test is None):
        problems.append(Problem("--train, --test", "give both or neither"))
    if problems:
        raise UserError(problems)
    client, server = registry_client(tracking_uri, what=name)
    model = registered(name, client, where=name)
    number = version if version is not None else _proposed(name, dict(model.aliases), client)
    candidate = version_of(f"models:/{name}/{number}", client)
    before = model.aliases.get(to)
    standings = {
        number: Standing(f"version {number}", from_tags(tags_of(candidate))),
    }
    if before is not None and int(before) != number:
        champion = version_of(f"models:/{name}/{before}", client)
        standings[int(before)] = Standing(f"version {before}", from_tags(tags_of(champion)))
    checks = [_stored(f"models:/{name}/{number}", server, standings[number])]
    if train is not None and test is not None:
        standings = {
            at: _scored(standing, f"models:/{name}/{at}", train, test, server)
            for at, standing in standings.items()
        }
    other = standings.get(int(before)) if before is not None and int(before) != number else None
    checks += comparison(standings[number], other, alias=to)
    passed = all(check.passed for check in checks)
    if passed or force:
        client.set_registered_model_alias(name, to, str(number))
    if force and not passed:
        told = "; ".join(f"{check.name}: {check.message}" for check in checks if not check.passed)
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        client.set_model_version_tag(name, str(number), FORCED_TAG, f"{to}, {when}: {told}"[:5000])
    return Promotion(
        name=name,
        version=number,
        alias=to,
        before=int(before) if before is not None else None,
        checks=checks,
        promoted=passed or force,
        forced=force and not passed,
    )


def _proposed(name: str, aliases: dict[str, str], client: MlflowClient) -> int:
    if ALIAS in aliases:
        return int(aliases[ALIAS])
    newest = versions(name, client, at_most=1)
    if not newest:
        raise UserError(Problem(name, "is registered, but has no version"))
    return int(newest[0].version)


def _stored(uri: str, server: str, standing: Standing) -> Check:
    """Whether the stored files are those of the trained encoder."""
    try:
        with encoder_folder(uri, tracking_uri=server) as folder:
            PackagedEncoder.load(folder)
    except UserError as error:
        return Check("parity", False, f"{standing.name}: {error}")
    parity = standing.facts.parity
    if parity is None:
        told = "was registered by a release that did not compare it with the trained encoder"
        return Check("parity", False, f"{standing.name} {told}")
    return Check(
        "parity",
        True,
        f"the files of {standing.name} are whole; when it was registered, its features differed "
        f"from the trained encoder's by {parity} of the largest",
    )


def _scored(
    standing: Standing, uri: str, train: str | Path, test: str | Path, server: str
) -> Standing:
    """The standing with scores on other data in place of its run's."""
    found = evaluate(uri, train=train, test=test, tasks=[Task.probes], tracking_uri=server)
    return standing.scored_anew(found.scores, data=f"{train}, {test}")
