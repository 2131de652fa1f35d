"""What this machine has to train with; without torch, which takes seconds to say so."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

_PATIENCE_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a run may use of it."""

    cpus: int
    """That this process may run on."""
    gpus: int
    """NVIDIA's, that CUDA may see."""


def this_machine() -> Machine:
    """The machine of this process."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cpus = os.cpu_count() or 1
    return Machine(cpus=cpus, gpus=_gpus())


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = None if visible is None else [name for name in visible.split(",") if name.strip()]
    if allowed is not None and (not allowed or allowed[0].strip() == "-1"):
        return 0
    found = _listed_gpus()
    return found if allowed is None else min(found, len(allowed))


def _listed_gpus() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if listed.returncode:
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
