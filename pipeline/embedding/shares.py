"""How many workers of which kind there are, and what each asks of Ray, so that all find room."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ray

from pipeline.errors import Problem, UserError

_WORKERS_PER_READER = 4  # on CPUs, where an image takes far longer to encode than to decode
_LEAST_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Actors that encode and tasks that read at a time; one task more writes."""

    encoders: int
    readers: int
    gpus: int  # of each encoder: 0 or 1
    cpus: float  # of each of them

    @classmethod
    def of_cluster(cls, workers: int | None) -> Shares:
        """Divide what Ray has; a worker gets a GPU if there are any.

        Args:
            workers: encoders; None: as many as there are GPUs, or else CPUs.

        Raises:
            UserError: there are fewer GPUs than that, but some.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = [node.get("CPU", 0.0) for node in nodes]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        if gpus and workers is not None and workers > gpus:
            raise UserError(
                Problem("--workers", f"{workers}, but Ray has {gpus} GPUs, and each needs one")
            )
        encoders = workers or gpus or max(1, int(sum(cpus)))
        if gpus:
            readers = max(1, int(sum(cpus)) - encoders - 1)
        else:
            readers = math.ceil(encoders / _WORKERS_PER_READER)
        return cls(
            encoders=encoders,
            readers=readers,
            gpus=min(gpus, 1),
            cpus=_largest_share(cpus, encoders + readers + 1),
        )


def _largest_share(cpus: list[float], claims: int) -> float:
    """CPUs for each of so many claims, at most 1, such that all fit on the nodes at a time.

    Ray gives a stage that is left without a CPU no error, only silence; and a claim cannot be
    divided among nodes. The operating system shares cores out in any case.
    """
    share = min(1.0, sum(cpus) / claims)
    while sum(int(have / share + 1e-6) for have in cpus) < claims and share > _LEAST_SHARE:
        share *= 0.95
    return max(math.floor(share * 1e4) / 1e4, _LEAST_SHARE)
