"""Where the time of a session went: seconds by folder of tests, under pytest-xdist too."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

import pytest

_SECONDS: Counter[str] = Counter()
_TESTS: Counter[str] = Counter()
_DEPTH = 2  # tests/data, not tests/data/order


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A phase of a test has ended, here or in a worker."""
    folder = "/".join(PurePosixPath(report.nodeid.partition("::")[0]).parent.parts[:_DEPTH])
    _SECONDS[folder] += report.duration
    _TESTS[folder] += report.when == "call"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    if len(_SECONDS) < 2:
        return
    terminalreporter.section("seconds by folder, of all workers together")
    for folder, seconds in _SECONDS.most_common():
        terminalreporter.write_line(f"{seconds:8.1f}  {folder} ({_TESTS[folder]} tests)")
    terminalreporter.write_line(f"{_SECONDS.total():8.1f}  together ({_TESTS.total()} tests)")
