"""One rank's part in a snapshot and in signs of collapse; run by tests, one process a rank.

The folder has recipe.json and features.pt, an (N, D) tensor; it gets RANK.pt.
"""

from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.evaluation.collapse import collapse_signs
from pipeline.evaluation.snapshot import load_snapshot_images, take_snapshot
from pipeline.learning.learner import build_learner
from pipeline.recipe import Recipe


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
    learner = build_learner(recipe)
    images = load_snapshot_images(
        recipe.evaluate,
        views=recipe.views,
        data=recipe.data.manifests[0],
        seed=recipe.seed,
        count=recipe.evaluate.snapshot_samples,
    )
    snapshot = take_snapshot(
        images,
        encoder=learner.encoder,
        head=learner.objective,
        views=recipe.views,
        config=recipe.evaluate,
        features=recipe.features,
        batch=16,
    )
    share = torch.load(folder / "features.pt").chunk(world_size)[rank]
    torch.save(
        {
            "images": len(images.panel.labels),
            "snapshot": snapshot,
            "signs": collapse_signs(share, share.square()),
        },
        folder / f"{rank}.pt",
    )
    dist.destroy_process_group()  # gloo's threads may abort an exit that leaves them
