"""Which worker of pytest-xdist runs which tests: whole files, those that take longest first.

Fixtures of modules then stay what they are, and no worker is left with minutes of work at the end.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST = (
    "tests/sweeps/test_sweep.py",
    "tests/faults/test_sweep_kills.py",
    "tests/end_to_end/test_pretrain.py",
    "tests/docs/test_blocks.py",
    "tests/faults/test_ray_kills.py",
    "tests/training/test_run_identity.py",
    "tests/training/test_verify.py",
    "tests/training/test_replayed_runs.py",
    "tests/end_to_end/test_extending.py",
    "tests/faults/test_kills.py",
)
ON_ONE_RAY = (
    "tests/training/test_run_identity.py",
    "tests/training/test_verify.py",
    "tests/training/test_data_waits.py",
    "tests/training/test_evaluation_task.py",
    "tests/data/reading/test_ray_ingest.py",
    "tests/data/reading/test_remote.py",
    "tests/data/test_given_pairs.py",
    "tests/data/sources/test_indexing.py",
    "tests/data/sources/conversion/test_on_ray.py",
    "tests/embedding/test_embed.py",
    "tests/sweeps/test_sweep.py",
    "tests/sweeps/test_population.py",
)
"""Those that use `local_ray`; were they on several workers, there would be several."""


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out files in the order of collection."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        file = file_of(nodeid)
        return "on one Ray" if file in ON_ONE_RAY else file


def file_of(nodeid: str) -> str:
    """The file of a test."""
    return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeFiles | None:
    """For `--dist loadfile`."""
    return WholeFiles(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: as many as there are cores, since a test through Ray is many processes."""
    return min(len(os.sched_getaffinity(0)), 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: the longest, then whatever takes more than seconds, then the rest."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    file = file_of(item.nodeid)
    if file in LONGEST:
        return LONGEST.index(file)
    return len(LONGEST) + (item.get_closest_marker("fast") is not None)
