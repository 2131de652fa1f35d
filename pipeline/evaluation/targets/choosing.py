"""From shards, or a table beside them, to what is to be told of which samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.data import storage
from pipeline.data.sources.manifest import load_manifest
from pipeline.errors import Problem, UserError
from pipeline.evaluation.config import TargetKind
from pipeline.evaluation.probe_set import labelled_samples
from pipeline.evaluation.targets.kinds import encode, is_missing, kind_of
from pipeline.evaluation.targets.table import (
    KEY,
    SAMPLE_ID,
    Ids,
    MatchedTable,
    match,
    table_columns,
)
from pipeline.evaluation.targets.target import Target, TargetedSamples


class TargetTable(NamedTuple):
    """What a user says of a table of targets; locations are paths or URIs."""

    location: str
    test_location: str | None = None
    column: str | None = None
    kind: TargetKind | None = None


class _Told(NamedTuple):
    """What a table says of the samples of a set, in the order of their ids."""

    ids: Ids
    values: list[Any]
    without: int


def labels_of_shards(train: str, test: str, *, max_samples: int) -> Target:
    """The classes of both sets; samples without a label are passed over.

    Args:
        train: the shards.
        test: those of the test set.
        max_samples: largest number of each.

    Raises:
        UserError: a set has no labels, the sets have other classes, or but one is left.
    """
    names = load_manifest(train).classes
    problems, sets = [], []
    for folder in (train, test):
        try:
            found = labelled_samples(folder, at_most=max_samples)
        except UserError as error:
            problems += error.problems
        else:
            sets.append(TargetedSamples(ids=found.ids, values=found.labels, without=found.without))
    if not problems and names != load_manifest(test).classes:
        problems.append(Problem("--test", "has other classes than --train"))
    if not problems and len(classes := np.unique(sets[0].values)) < 2:
        problems.append(
            Problem(
                "--train",
                f"all {len(sets[0].ids)} samples that have a label are {names[classes[0]]!r}; two "
                "classes at least are needed",
            )
        )
    if problems:
        raise UserError(problems)
    return Target(kind=TargetKind.classes, names=names, train=sets[0], test=sets[1])


def targets_of_table(table: TargetTable, train: str, test: str, *, max_samples: int) -> Target:
    """What a table says of both sets; samples of which it says nothing are passed over.

    Args:
        table: by `key` or `sample_id`; of both sets, unless it names another for the test set.
        train: the shards.
        test: those of the test set.
        max_samples: largest number of each.

    Raises:
        UserError: with all that is wrong with the table.
    """
    matched = _matched(table, train, test)
    told, problems = {}, []
    for name, (found, where) in matched.tables.items():
        try:
            told[name] = _told(found, name, where, max_samples=max_samples)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    where = f"--target {matched.column}"
    fit, check = told["train"], told["test"]
    kind = table.kind or kind_of([*fit.values, *check.values])
    if not isinstance(kind, TargetKind):
        raise UserError(Problem(where, kind))
    encoded = encode(kind, fit.values, check.values, inferred=table.kind is None)
    if isinstance(encoded, str):
        raise UserError(Problem(where, f"as {kind}: {encoded}"))
    return Target(
        kind=kind,
        names=encoded.names,
        train=TargetedSamples(ids=fit.ids, values=encoded.train, without=fit.without),
        test=TargetedSamples(ids=check.ids, values=encoded.test, without=check.without),
        column=matched.column,
        lines_without_sample=matched.lines_without_sample,
    )


class _Matched(NamedTuple):
    tables: dict[str, tuple[MatchedTable, str]]  # by set, with the location
    column: str
    lines_without_sample: int


def _matched(table: TargetTable, train: str, test: str) -> _Matched:
    folders = {"train": train, "test": test}
    if table.test_location is None:
        columns = table_columns(table.location, table.column)
        same = storage.absolute(train) == storage.absolute(test)
        if columns.by == SAMPLE_ID and not same:
            raise UserError(
                Problem(
                    table.location,
                    f"names samples by {SAMPLE_ID}, which counts from 0 in --train and in --test: "
                    f"give --test-targets too, or a column {KEY}",
                )
            )
        found = match(columns, folders)
        if not same and found.lines_of_both:
            raise UserError(
                Problem(
                    table.location,
                    f"{found.lines_of_both} of its lines name a sample of --train and one of "
                    "--test by the same key; give --test-targets too",
                )
            )
        sets = dict.fromkeys(folders, (found, table.location))
        return _Matched(sets, columns.target, found.lines_without_sample)
    problems, each = [], {}
    for name, location in (("train", table.location), ("test", table.test_location)):
        try:
            each[name] = table_columns(location, table.column)
        except UserError as error:
            problems += error.problems
    if not problems and each["train"].target != each["test"].target:
        problems.append(
            Problem(
                "--target",
                f"is {each['train'].target} in {table.location} and {each['test'].target} in "
                f"{table.test_location}; name one that both have",
            )
        )
    if problems:
        raise UserError(problems)
    sets = {
        name: (match(columns, {name: folders[name]}), columns.location)
        for name, columns in each.items()
    }
    unknown = sum(found.lines_without_sample for found, _ in sets.values())
    return _Matched(sets, each["train"].target, unknown)


def _told(found: MatchedTable, name: str, location: str, *, max_samples: int) -> _Told:
    """The first samples of a set of which the table says something."""
    ids, values = found.matches[name].all_ids(), found.matches[name].all_values()
    if not len(ids):
        raise UserError(
            Problem(
                location,
                f"none of its lines names a sample of --{name}; the first one names "
                f"{found.example!r}, and of the shards the first is {found.sample_names[name]!r}",
            )
        )
    twice, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise UserError(
            Problem(
                location,
                f"{(counts > 1).sum()} samples of --{name} have several lines, sample "
                f"{twice[counts > 1][0]} for one",
            )
        )
    rows = [row for row in np.argsort(ids).tolist() if not is_missing(values[row])][:max_samples]
    if not rows:
        raise UserError(Problem(location, f"says nothing of the samples of --{name} that it names"))
    chosen = ids[rows]
    return _Told(chosen, [values[row] for row in rows], int(chosen[-1]) + 1 - len(chosen))
