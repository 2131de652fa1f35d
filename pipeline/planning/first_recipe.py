"""A first recipe for a user's images on this machine, as a file with a comment at every choice.

`found_data.py` says what the images are, `machine.py` what there is to train with,
`first_choices.py` which settings fit both; here they are written down.
"""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import Problem, UserError
from pipeline.json_schema import is_schema, schema_as_text
from pipeline.planning.first_choices import TEST_FRACTION, Choices, choose
from pipeline.planning.found_data import FoundData, find_data
from pipeline.planning.machine import Machine, this_machine

SCHEMA_FILE = "recipe.schema.json"


@dataclass(frozen=True, kw_only=True)
class FirstRecipe:
    """What was written, and what comes next."""

    recipe: Path
    schema: Path | None
    """Beside it, for editors; None where a file of that name is somebody else's."""
    data: FoundData | None
    machine: Machine
    commands: list[str]
    """That follow, in their order."""


def init_recipe(
    data: str | Path | None = None, output: str | Path = "recipe.yaml", *, force: bool = False
) -> FirstRecipe:
    """Write a commented recipe that fits some images and this machine.

    Args:
        data: a folder of images, an `.npz`, Parquet, or shards that have a manifest; None: the
            recipe has placeholders.
        output: the recipe's file; the recipe's JSON schema is put beside it.
        force: write over a recipe that is there.

    Raises:
        UserError: there are no images, the file is there, or it cannot be written.
    """
    path = Path(output)
    problems = []
    if path.exists() and not force:
        message = "is there already; give another --output, or --force to replace it"
        problems.append(Problem(str(output), message))
    try:
        found = None if data is None else find_data(str(data))
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(problems)
    machine = this_machine()
    shards = _shards_to_make(found)
    schema = path.parent / SCHEMA_FILE
    ours = not schema.exists() or is_schema(schema)
    # A name that is not UTF-8 cannot stand in YAML; told before anything is written.
    try:
        recipe = write_recipe(found, machine, shards=shards, schema=ours).encode()
    except UnicodeEncodeError as error:
        message = "has a name that is not UTF-8, which a recipe cannot hold; rename it"
        raise UserError(Problem(repr(str(data)), message)) from error
    try:
        if ours:
            _replace(schema, schema_as_text().encode())
        _replace(path, recipe)
    except OSError as error:
        raise UserError(Problem(str(output), f"cannot be written: {error.strerror}")) from error
    return FirstRecipe(
        recipe=path,
        schema=schema if ours else None,
        data=found,
        machine=machine,
        commands=list(_commands(found, choose(found, machine), path, shards)),
    )


def _replace(path: Path, data: bytes) -> None:
    """In one step, so that a file that was there is whole until the new one is."""
    scratch = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_recipe(
    found: FoundData | None, machine: Machine, *, shards: str = "shards", schema: bool = False
) -> str:
    """The recipe as YAML with comments.

    Args:
        found: the images; None: placeholders stand for what depends on them.
        machine: that is to train.
        shards: folder that `jobs shard` is to write, unless the data is shards already.
        schema: whether the recipe's schema lies beside it, in `recipe.schema.json`.
    """
    chosen = choose(found, machine)
    lines = [f"# yaml-language-server: $schema={SCHEMA_FILE}"] if schema else []
    lines += [
        *_heading(found, machine),
        *_of_data(found, chosen, shards),
        *_of_model(found, chosen),
        *_of_training(found, machine, chosen),
        *_of_evaluation(found, chosen, shards),
        "tracking:",
        f"  experiment: {_scalar(_name(found))}",
        f"  register: {_scalar(_name(found) + '-encoder')} # its name in MLflow's registry",
    ]
    return "\n".join(lines) + "\n"


def _heading(found: FoundData | None, machine: Machine) -> Iterator[str]:
    gpus = f"{machine.gpus} GPUs" if machine.gpus > 1 else "a GPU" if machine.gpus else "no GPU"
    cpus = "1 CPU" if machine.cpus == 1 else f"{machine.cpus} CPUs"
    if found is None:
        yield f"# SimCLR on your own images, for {cpus} and {gpus}."
        yield "# Lines that say SET THIS are guesses."
    else:
        labels = f" of {found.classes} classes" if found.classes else ""
        yield f"# SimCLR on {_plain(found.location)}: {found.samples:,} images{labels}."
        yield f"# Chosen for them, and for {cpus} and {gpus}."
    yield "# All settings, with their defaults: docs/recipe.md, or python -m jobs schema"


def _of_data(found: FoundData | None, chosen: Choices, shards: str) -> Iterator[str]:
    train, _ = _sets(found, chosen, shards)
    yield "data:"
    if found is None:
        yield f"  shards: {_scalar(train)} # SET THIS to what `python -m jobs shard` wrote"
    elif found.kind == "shards":
        yield f"  shards: {_scalar(train)}"
    else:
        yield f"  shards: {_scalar(train)} # after: {_plain(_shard_command(found, chosen, shards))}"
    yield f"  streams: {chosen.streams} # divides the batch; the number of workers divides it"


def _of_model(found: FoundData | None, chosen: Choices) -> Iterator[str]:
    usual = "SET THIS" if found is None else f"the images' shorter side is usually {found.side}"
    yield "views:"
    yield f"  size: {chosen.size} # pixels; {usual}{chosen.size_note}"
    if found is not None and found.parts:
        pair = ", ".join(map(_scalar, found.parts[:2]))
        yield f"  from: [{pair}] # a view of each; a sample has {_plain(', '.join(found.parts))}"
    if found is not None and found.grey:
        yield "  grayscale: 0.0 # they are grey already"
    yield "  # flip: 0.0 # if a mirrored image means something else, as digits and text do"
    yield "encoder:"
    yield f"  name: {chosen.encoder} # any model of timm's{chosen.encoder_note}"
    yield "objective:"
    yield from _wrapped(
        f"{', '.join(chosen.like_simclr)} take the same views; {', '.join(chosen.unlike_simclr)} "
        "want others, as jobs/recipes has them"
    )
    yield "  kind: simclr"
    yield "  temperature: 0.2 # lower looks harder at the most similar images"


def _of_training(found: FoundData | None, machine: Machine, chosen: Choices) -> Iterator[str]:
    steps = f"; {chosen.steps_per_epoch} steps an epoch" if found else ""
    yield "train:"
    yield f"  epochs: {chosen.epochs}{chosen.epochs_note}"
    yield f"  global_batch: {chosen.batch} # images in a step, of all workers{steps}"
    each = "a GPU and a CPU" if machine.gpus else "a CPU"
    yield f"  workers: {chosen.workers} # each takes {each}, and another CPU reads for it"
    if machine.gpus:
        yield "  precision: bf16 # fp32 on GPUs before Ampere"
    yield f"  optimizer: {{kind: adamw, lr: {chosen.lr:g}}} # a larger batch bears a larger rate"
    warm_up = max(1, chosen.epochs // 2)
    yield f"# pairs: {{miner: {{kind: dbpm, warm_up: {warm_up}}}}} # lists images that disturb"


def _of_evaluation(found: FoundData | None, chosen: Choices, shards: str) -> Iterator[str]:
    train, test = _sets(found, chosen, shards)
    if test is None:
        yield f"# evaluate: {{train: …, test: …}} # labelled shards, for probes; {chosen.unscored}"
        return
    note = "SET THIS, or leave it out if you have no labels" if found is None else "by its labels"
    yield f"evaluate: # {note}"
    yield f"  train: {_scalar(train)}"
    yield f"  test: {_scalar(test)}"


def _sets(found: FoundData | None, chosen: Choices, shards: str) -> tuple[str, str | None]:
    """Where the shards to train on are, and those to score on if there are to be probes."""
    if found is not None and found.train is not None:
        return found.train, None if chosen.unscored else found.test
    if chosen.unscored:
        return shards, None
    return f"{shards}/train", f"{shards}/test"


def _commands(found: FoundData | None, chosen: Choices, recipe: Path, shards: str) -> Iterator[str]:
    if found is None:
        yield f"python -m jobs shard IMAGES {shards} --test-fraction {TEST_FRACTION:g}"
    elif found.kind != "shards":
        yield _shard_command(found, chosen, shards)
    yield f"python -m jobs plan {shlex.quote(str(recipe))}"
    yield f"python -m jobs pretrain {shlex.quote(str(recipe))}"


def _shard_command(found: FoundData, chosen: Choices, shards: str) -> str:
    part = "" if chosen.unscored else f" --test-fraction {TEST_FRACTION:g}"
    return f"python -m jobs shard {shlex.quote(found.location)} {shlex.quote(shards)}{part}"


def _shards_to_make(found: FoundData | None) -> str:
    """A folder that holds nothing yet."""
    own = f"{_name(found)}-shards"
    names = chain(("shards", own), (f"{own}-{number}" for number in count(2)))
    return next(name for name in names if not Path(name).exists())


def _name(found: FoundData | None) -> str:
    """A name for what is made of these images, of letters that MLflow and files take."""
    if found is None:
        return "images"
    path = Path(found.location.partition("?")[0]).absolute()
    telling = [part for part in path.parts[1:] if part not in ("train", "shards")]
    return re.sub(r"[^\w.-]+", "-", Path(*telling).stem).strip("-.") or "images"


def _scalar(value: Any) -> str:
    """A value as YAML has it on one line, in quotes where it needs them."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**9).strip()[1:-1]


def _wrapped(text: str) -> list[str]:
    """Text as comments in a section."""
    return textwrap.wrap(text, width=96, initial_indent="  # ", subsequent_indent="  # ")


def _plain(text: str) -> str:
    """Text on one line of a comment."""
    return " ".join(text.split())
