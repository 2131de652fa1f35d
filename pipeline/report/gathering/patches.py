"""What a report shows of patches: masks of the first samples, and patches that are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data import storage
from pipeline.data.reading.first_views import FirstImages, first_batch
from pipeline.encoders.backbone import build_backbone
from pipeline.encoders.transformers.patches import encode_patches, patch_grid
from pipeline.recipe import Recipe
from pipeline.registry.packages.config import WEIGHTS_FILE
from pipeline.report.facts import FirstMasks, PatchSimilarity
from pipeline.report.gathering.pictures import NO_ENCODER_YET, FirstSamples, or_reason
from pipeline.runs.folder import RunFolder
from pipeline.views.arrays import Floats, Ints, Pixels
from pipeline.views.blocks import Grid
from pipeline.views.masks import PatchMasks, draw_masks
from pipeline.views.opencv import render_probe_view
from pipeline.views.parameters import ImageViews

_SHOWN = 6
_AFFORDED = 1e11  # operations, about two seconds of a core: six images of a ViT-S, one of a ViT-L


@dataclass(frozen=True, kw_only=True)
class PatchFacts:
    """What there is to show, or why it cannot be had; None where the run masks nothing."""

    masks: FirstMasks | str | None = None
    similarity: PatchSimilarity | str | None = None


def patch_facts(
    recipe: Recipe, first: FirstSamples | str, folder: RunFolder, *, finished: bool
) -> PatchFacts:
    """Gather them. The objective masks where the recipe has masks: no other run can begin.

    Args:
        recipe: of the run.
        first: its first samples, or why there are none.
        folder: of the run.
        finished: whether the package in it is of the run as it is now.
    """
    if recipe.views.masks is None:
        return PatchFacts()
    if isinstance(first, str):
        return PatchFacts(masks=first, similarity=first)
    encoder = or_reason(lambda: _without_weights(recipe), "the encoder cannot be built")
    if isinstance(encoder, str):
        return PatchFacts(masks=encoder, similarity=encoder)
    if not finished:
        similarity: PatchSimilarity | str = NO_ENCODER_YET
    else:
        similarity = or_reason(
            lambda: _similarity(recipe, first.images, encoder, folder),
            "the run's encoder cannot be read or run",
        )
    masks = or_reason(lambda: _masks(recipe, first, encoder), "drawing them failed")
    return PatchFacts(masks=masks, similarity=similarity)


def _without_weights(recipe: Recipe) -> nn.Module:
    """The encoder with tensors that hold nothing: drawing its weights would take seconds."""
    with torch.device("meta"):
        return build_backbone(recipe.encoder)


def _masks(recipe: Recipe, first: FirstSamples, encoder: nn.Module) -> FirstMasks:
    config, grid = recipe.views.masks, patch_grid(encoder, recipe.views.size)
    assert config is not None
    shown = first.views.sample_ids[:_SHOWN]
    # The public code cuts all masks to the shortest of the batch.
    drawn = first_batch(first.reader) if config.mode == "official" else np.array(shown)
    masks = draw_masks(config, grid=grid, seed=recipe.seed, epoch=0, step=0, sample_ids=drawn)
    rows = [drawn.tolist().index(sample_id) for sample_id in shown]
    return FirstMasks(
        sample_ids=shown,
        views=first.views.blocks[0][:_SHOWN, 0],
        grid=grid,
        masks=PatchMasks(
            context=masks.context[rows], targets=masks.targets[rows], sizes=masks.sizes[rows]
        ),
        mode=config.mode,
    )


def _similarity(
    recipe: Recipe, first: FirstImages, encoder: nn.Module, folder: RunFolder
) -> PatchSimilarity:
    """Of the packaged encoder."""
    grid = patch_grid(encoder, recipe.views.size)
    weights = load(storage.read_file(storage.join(folder.package, WEIGHTS_FILE)))
    count = _affordable(encoder, grid)
    images = np.stack([render_probe_view(i, recipe.views.size) for i in first.images[:count]])
    encoder.load_state_dict(weights, assign=True)
    encoder.eval()
    queries = query_patches(grid)
    return PatchSimilarity(
        sample_ids=first.sample_ids[:count].tolist(),
        images=images,
        grid=grid,
        queries=queries,
        cosines=patch_cosines(encoder, images, queries, views=recipe.views),
    )


def _affordable(encoder: nn.Module, grid: Grid) -> int:
    """How many images are encoded, so that a large encoder holds up no run's end."""
    weights = sum(parameter.numel() for parameter in encoder.parameters())
    return int(np.clip(_AFFORDED / (2 * weights * grid[0] * grid[1]), 1, _SHOWN))


def query_patches(grid: Grid) -> Ints:
    """The patch in the middle, and one a sixth of the way in from the upper left corner."""
    rows, columns = grid
    places = [(rows // 2, columns // 2), (rows // 6, columns // 6)]
    return np.array([*dict.fromkeys(row * columns + column for row, column in places)])


@torch.no_grad()
def patch_cosines(
    encoder: nn.Module, images: Pixels, queries: Ints, *, views: ImageViews
) -> Floats:
    """Cosines (n, Q, patches) of the tokens of Q patches with those of all patches of an image.

    Args:
        encoder: in eval mode, on the CPU.
        images: (n, S, S, 3) uint8.
        queries: (Q,) patches.
        views: for the mean and deviation of the pixels.
    """
    mean, std = (torch.tensor(figure).view(3, 1, 1) for figure in (views.mean, views.std))
    inputs = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    tokens = F.normalize(encode_patches(encoder, inputs).double(), dim=-1)
    cosines: Tensor = tokens[:, torch.from_numpy(queries)] @ tokens.mT
    return cosines.numpy()
