"""One rank of runs that halt, or do not; run by tests, one process a rank.

The folder has recipe.json and gets RANK.pt: whether each loop halted, after how many steps, and the
learner's weights. Rank 0 alone is asked whether to halt, and says so at its second time.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.data.reading.ingest import inline
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder
from pipeline.training.loop import TrainingLoop


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
    answers = [False, True]

    def wanted() -> bool:
        assert rank == 0, "another rank was asked"
        return answers.pop(0)

    runs: list[tuple[str, Callable[[], bool]]] = [
        ("undisturbed", lambda: False),
        ("halted", wanted),
        ("halted", lambda: False),  # taken up
    ]
    found = []
    for name, halt in runs:
        loop = TrainingLoop(
            recipe=recipe,
            folder=RunFolder(str(folder / name)),
            device=torch.device("cpu"),
            ingest=inline,
            halt=halt,
        )
        account = loop.run()
        found.append(
            {"halted": loop.halted, "served": account["served"], **loop.learner.state_dict()}
        )
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()  # gloo's threads may abort an exit that leaves them
