"""What pages name exists: files that links lead to, commands and their options, modules."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from jobs.__main__ import app
from pipeline.recipe_file import draft_recipe
from tests.docs.pages import (
    ALL_BLOCKS,
    PAGES,
    ROOT,
    anchors,
    code_spans,
    commands,
    links,
    name_of,
)

pytestmark = pytest.mark.fast

JOBS = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_pages_were_found() -> None:
    assert {"README.md", "docs/data.md", "docs/decisions/index.md"} <= set(map(name_of, PAGES))


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        there = file.is_file() and (not anchor or anchor in anchors(file))
        lost += [] if there else [target]
    assert lost == []


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    """Of paths with a folder, `data/order/streams.py` is one of the package's."""
    path = re.compile(r"[\w./-]+/[\w.-]+\.(py|yaml)")
    named = [span for span in code_spans(page) if path.fullmatch(span)]
    roots = (ROOT, ROOT / "pipeline")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


@each_page
def test_rooms_that_are_named_are_there(page: Path) -> None:
    room = re.compile(r"(pipeline|jobs|tests)/[\w/]*")
    named = [span for span in code_spans(page) if room.fullmatch(span)]
    named += [f"pipeline/{room}" for room in rooms_of(page)]
    assert [name for name in named if not (ROOT / name).exists()] == []


def rooms_of(page: Path) -> list[str]:
    """The first column of the table of rooms, but for `jobs/`."""
    return re.findall(r"^\| `((?!jobs)[a-z]+/|collectives\.py)` \|", page.read_text(), flags=re.M)


def test_every_room_is_on_the_page_of_rooms() -> None:
    rooms = {f"{p.parent.name}/" for p in (ROOT / "pipeline").glob("*/__init__.py")}
    assert set(rooms_of(ROOT / "docs" / "architecture.md")) == rooms | {"collectives.py"}


@each_page
def test_commands_that_are_named_exist(page: Path) -> None:
    told = code_spans(page)
    for block in ALL_BLOCKS:
        if block.page == page and block.language in ("bash", "sh"):
            told += commands(block)
    faults = [fault for command in told if (fault := fault_of(command))]
    assert faults == []


def test_settings_that_commands_change_are_settings() -> None:
    """Of blocks that are not run, too; recipes of the reader's own stand for a shipped one."""
    lines = [line for block in ALL_BLOCKS if block.language != "python" for line in commands(block)]
    seen = set()
    for line in lines:
        for verb, words in re.findall(r"python -m jobs (plan|pretrain) (.*)", line):
            context = JOBS.commands[verb].make_context(verb, shlex.split(words, comments=True))
            recipe, overrides = context.params["recipe"], context.params["overrides"] or []
            shipped = recipe if (ROOT / recipe).is_file() else "jobs/recipes/images.yaml"
            assert draft_recipe(ROOT / shipped, overrides).problems == [], line
            seen.update(overrides)
    assert "objective.temperature=0.3" in seen


def fault_of(command: str) -> str | None:
    """What is wrong with a line of shell, or with a part of one, as prose has it."""
    for target in re.findall(r"\bmake ([a-z-]+)", command):
        if target not in TARGETS:
            return f"make has no {target}"
    for module in re.findall(r"\bpython -m (benchmarks[\w.]*)", command):
        path = ROOT / module.replace(".", "/")
        if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
            return f"there is no {module}"
    for path in re.findall(r"\b(?:tests/|jobs/recipes/)[\w./-]+", command):
        if not (ROOT / path).exists():
            return f"there is no {path}"
    parts = re.split(r"\bpython -m jobs\s+", command)
    return next((fault for part in parts[1:] if (fault := _fault_of_verb(part))), None)


def _fault_of_verb(words: str) -> str | None:
    """Parsed as it would be run, where it is a whole command and not a verb named in prose."""
    verb, *arguments = shlex.split(words, comments=True)
    if verb in ("VERB", "…", "NAME"):
        return None
    if verb not in JOBS.commands:
        return f"jobs has no verb {verb}"
    if arguments:
        try:
            JOBS.commands[verb].make_context(verb, arguments)
        except Exception as error:
            return f"{words}: {error}"
    return None


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make demo  # and more", None),
        ("make tea", "make has no tea"),
        ("python -m benchmarks.cmim.page docs/cmim.jsonl docs/cmim.md", None),
        ("python -m benchmarks.cmim", "there is no benchmarks.cmim"),
        ("pytest -m slow tests/no_such.py", "there is no tests/no_such.py"),
        ("python -m jobs plan jobs/recipes/none.yaml", "there is no jobs/recipes/none.yaml"),
        ("python -m jobs plan", None),
        ("python -m jobs paln RECIPE", "jobs has no verb paln"),
        ("python -m jobs shard photos/ shards/ --append", None),
        ("python -m jobs shard photos/ shards/ --apend", "--apend"),
        ("ray job submit -- python -m jobs fetch models:/encoder@candidate", "DEST"),
    ],
)
def test_a_wrong_command_is_found(command: str, fault: str | None) -> None:
    found = fault_of(command)
    assert found is None if fault is None else fault.lower() in str(found).lower()
