"""What a rank computes with: the same steps give the same bits only where this is the same."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

CPU = "cpu"
"""The device that is no GPU."""

_CPU_FACTS = Path("/proc/cpuinfo")


def environment(device: torch.device) -> dict[str, Any]:
    """What this process computes with, as plain values.

    Returns:
        `package` and `torch`, their versions; `device`, `cpu` or the GPU's name; `cpu`, its model
        and the instructions that torch uses of it; `threads`, by whose number sums are cut.
    """
    return {
        "package": version("ssl-on-ray"),
        "torch": torch.__version__,
        "device": CPU if device.type == "cpu" else torch.cuda.get_device_name(device),
        "cpu": f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
    }


def changes_of_environment(
    then: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]]
) -> list[str]:
    """In what the environments of ranks differ from those before, in words; facts of both only."""
    before, after = list(then), list(now)
    found = []
    for name in before[0] if before else ():
        old, new = (_values(name, ranks) for ranks in (before, after))
        if new and old != new:
            found.append(f"{name} was {old} and is {new}")
    return found


def _values(name: str, ranks: Iterable[Mapping[str, Any]]) -> str:
    return " and ".join(sorted({str(rank[name]) for rank in ranks if name in rank}))


def _cpu_model() -> str:
    """As Linux calls it; elsewhere the architecture must do."""
    if _CPU_FACTS.exists():
        for line in _CPU_FACTS.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
