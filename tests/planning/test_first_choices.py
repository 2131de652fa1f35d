"""What a first recipe chooses for images and a machine, and what a machine is found to have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import pipeline
from pipeline.planning import machine
from pipeline.planning.first_choices import choose
from pipeline.planning.first_recipe import write_recipe
from pipeline.planning.found_data import FoundData
from pipeline.planning.machine import Machine

pytestmark = pytest.mark.fast

LAPTOP = Machine(cpus=4, gpus=0)
SERVER = Machine(cpus=32, gpus=2)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program stands that is called as NVIDIA's is."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.touch(mode=0o755)
    return program


def found_images(samples: int, side: int, *, classes: int = 0) -> FoundData:
    return FoundData(
        location="a", kind="folder", samples=samples, classes=classes, side=side, grey=False
    )


@pytest.mark.parametrize("machine", [LAPTOP, SERVER, Machine(cpus=1, gpus=0)])
@pytest.mark.parametrize("samples", [2, 3, 9, 10, 63, 64, 1000, 50_000, 1_300_000, 10**9])
def test_batch_streams_and_workers_divide_each_other(machine: Machine, samples: int) -> None:
    chosen = choose(found_images(samples, 300), machine)
    assert chosen.batch % chosen.streams == chosen.streams % chosen.workers == 0
    assert chosen.batch <= samples // chosen.streams * chosen.streams
    assert chosen.steps_per_epoch >= 1
    assert chosen.workers <= max(1, machine.gpus or machine.cpus // 2)


def test_what_is_chosen_follows_images_and_machine() -> None:
    small, large = found_images(5000, 33), found_images(1_000_000, 500, classes=1000)
    on_laptop, on_server = choose(small, LAPTOP), choose(large, SERVER)
    assert (on_laptop.size, on_laptop.encoder, on_laptop.epochs) == (32, "resnet10t", 100)
    assert (on_server.size, on_server.encoder, on_server.epochs) == (224, "resnet50", 100)
    assert (on_laptop.workers, on_server.workers) == (2, 2)
    assert (choose(large, LAPTOP).size, choose(large, LAPTOP).epochs) == (64, 5)
    text = write_recipe(large, SERVER)
    assert yaml.safe_load(text)["train"]["precision"] == "bf16"
    assert "1,000,000 images of 1000 classes" in text


@pytest.mark.parametrize(
    ("samples", "classes", "reason"),
    [(1000, 0, "no labels"), (1000, 1, "of one class"), (49, 2, "too few"), (90, 60, "hardly")],
)
def test_there_are_probes_only_if_labels_are_of_use(
    samples: int, classes: int, reason: str
) -> None:
    text = write_recipe(found_images(samples, 32, classes=classes), LAPTOP)
    assert "evaluate" not in yaml.safe_load(text)
    assert re.search(rf"^# evaluate: .*{reason}", text, re.MULTILINE)


def test_every_objective_is_named_in_it() -> None:
    schema = pipeline.recipe_schema()
    names = (
        section["$ref"].split("/")[-1] for section in schema["properties"]["objective"]["oneOf"]
    )
    kinds = {schema["definitions"][name]["properties"]["kind"]["const"] for name in names}
    assert kinds - {"composite"} <= set(re.findall(r"\w+", write_recipe(None, LAPTOP)))


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, 2), ("0", 1), ("0,1", 2), ("0,1,2", 2), ("", 0), ("-1", 0)],
)
def test_gpus_are_those_that_cuda_may_see(
    driver: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: int
) -> None:
    driver.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: a)'\necho 'GPU 1: A (UUID: b)'\n")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.this_machine().gpus == expected


def test_a_machine_whose_driver_does_not_answer_has_no_gpu(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'cannot talk to the driver'\nexit 9\n")
    assert machine.this_machine().gpus == 0
    assert machine.this_machine().cpus >= 1
