"""CPU time of a process with all that it started; Linux only."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def cpu_seconds(root: int) -> float:
    """CPU time of a process and its living descendants so far."""
    return sum(process_tree(root).values())


def process_tree(root: int) -> dict[int, float]:
    """CPU seconds of a process and of its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                pid = int(entry.name)
                children.setdefault(int(fields[1]), []).append(pid)
                ticks[pid] = int(fields[11]) + int(fields[12])
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return {pid: ticks.get(pid, 0) / os.sysconf("SC_CLK_TCK") for pid in tree}
