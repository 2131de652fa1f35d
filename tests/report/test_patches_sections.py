"""The report's pictures of patches: masks, and which patches are alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest

from pipeline.report.drawing.page import render_page
from pipeline.report.drawing.patch_triples import edge_of, grown, over_patches, patch_tile
from pipeline.report.facts import FirstMasks, PatchSimilarity, Pixels
from pipeline.report.sections.masks import BLOCK_COLOURS, HIDDEN, masks_section
from pipeline.report.sections.similarity import heat_map, scale_start, similarity_section
from pipeline.views.masks import MultiBlockConfig, PatchMasks, draw_masks
from tests.report.report_facts import SCRIPT, Page, facts, part, pictures

pytestmark = pytest.mark.fast

GRID = (8, 8)
TILE = 160  # of a view of 32 pixels, each enlarged to 5
PATCH = 20


def first_masks(views: Pixels, **settings: Any) -> FirstMasks:
    config = MultiBlockConfig(**settings)
    ids = np.arange(len(views)) + 40
    masks = draw_masks(config, grid=GRID, seed=3, epoch=0, step=0, sample_ids=ids)
    return FirstMasks(
        sample_ids=ids.tolist(), views=views, grid=GRID, masks=masks, mode=config.mode
    )


def similarity(cosines: np.ndarray, queries: tuple[int, ...] = (36, 9)) -> PatchSimilarity:
    return PatchSimilarity(
        sample_ids=list(range(len(cosines))),
        images=noise(len(cosines)),
        grid=GRID,
        queries=np.array(queries),
        cosines=cosines,
    )


def noise(count: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def tiles(picture: Pixels) -> list[Pixels]:
    """The three pictures of a sample."""
    starts = range(0, 3 * (TILE + 2), TILE + 2)
    return [picture[:, start : start + TILE, :3] for start in starts]


def patches_in(tile: Pixels) -> Pixels:
    """The patches of a picture, (64, 20, 20, 3)."""
    return tile.reshape(8, PATCH, 8, PATCH, 3).swapaxes(1, 2).reshape(64, PATCH, PATCH, 3)


def colours_in(patch: Pixels) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(patch.reshape(-1, 3), axis=0).tolist()}


@pytest.mark.parametrize("mode", ["corrected", "official"])
def test_the_context_is_seen_and_all_else_is_grey(mode: str) -> None:
    masks = first_masks(noise(3), mode=mode)
    drawn = pictures(part(masks_section, masks=masks))
    assert len(drawn) == 3
    for row, picture in enumerate(drawn):
        view, context, _ = map(patches_in, tiles(picture))
        enlarged = np.kron(masks.views[row], np.ones((5, 5, 1), np.uint8))
        assert np.array_equal(view, patches_in(enlarged))
        seen = set(masks.masks.context[row].tolist())
        for patch in range(64):
            if patch in seen:
                assert np.array_equal(context[patch], view[patch])
            else:
                assert colours_in(context[patch]) == {tuple(grey) for grey in HIDDEN.tolist()}


def test_colours_cover_just_the_patches_of_their_whole_blocks() -> None:
    masks = padded_with_the_last_patch(first_masks(np.full((6, 32, 32, 3), 200, np.uint8)))
    pale = colours_in(np.rint(200 * 0.2 + np.full((1, 3), 236) * 0.8).astype(np.uint8))
    overlapping = 0
    for row, picture in enumerate(pictures(part(masks_section, masks=masks))):
        drawn = patches_in(tiles(picture)[2])
        blocks = [
            set(block[:size].tolist())
            for block, size in zip(masks.masks.targets[row], masks.masks.sizes[row], strict=True)
        ]
        assert all(is_rectangle(block) for block in blocks)
        for patch in range(64):
            owners = [number for number, block in enumerate(blocks) if patch in block]
            found = colours_in(drawn[patch])
            if not owners:
                assert found == pale
                continue
            allowed = [block_colours(number) for number in owners]
            assert found <= set.union(*allowed)
            assert all(found & colours for colours in allowed)
            overlapping += len(owners) > 1
    assert overlapping > 5


def padded_with_the_last_patch(first: FirstMasks) -> FirstMasks:
    """The same with other padding, which would show if it were drawn."""
    masks = first.masks
    counted = np.arange(masks.targets.shape[2]) < masks.sizes[..., None]
    assert not counted.all()
    return replace(first, masks=replace(masks, targets=np.where(counted, masks.targets, 63)))


def is_rectangle(patches: set[int]) -> bool:
    rows, columns = {patch // 8 for patch in patches}, {patch % 8 for patch in patches}
    sides = (max(values) - min(values) + 1 for values in (rows, columns))
    return len(patches) == np.prod([*sides])


def block_colours(number: int) -> set[tuple[int, ...]]:
    """Of a block's edge, and of its tint on a picture of brightness 200."""
    colour = BLOCK_COLOURS[number].astype(float)
    below = np.rint(200 * 0.6 + 236 * 0.4)
    tint = np.rint(below * 0.4 + colour * 0.6)
    return {tuple(colour.astype(int).tolist()), tuple(tint.astype(int).tolist())}


def test_a_block_has_an_outline_and_so_has_one_within_another() -> None:
    inner, outer = np.array([27, 28, 35, 36]), np.arange(18, 46)
    outer = outer[np.isin(outer % 8, (2, 3, 4, 5))]
    padded = np.stack([outer, np.append(inner, np.full(12, inner[0]))])
    masks = FirstMasks(
        sample_ids=[0],
        views=np.full((1, 32, 32, 3), 200, np.uint8),
        grid=GRID,
        masks=PatchMasks(context=np.array([[0]]), targets=padded[None], sizes=np.array([[16, 4]])),
        mode="corrected",
    )
    (picture,) = pictures(part(masks_section, masks=masks))
    drawn = tiles(picture)[2]
    assert (drawn[2 * PATCH, 2 * PATCH : 6 * PATCH] == BLOCK_COLOURS[0]).all()
    assert (drawn[3 * PATCH, 3 * PATCH : 5 * PATCH] == BLOCK_COLOURS[1]).all()


def test_the_numbers_of_the_masks_are_told() -> None:
    masks = first_masks(noise(2))
    seen, sizes = masks.masks.context.shape[1], masks.masks.sizes
    hidden = [
        {int(p) for block, size in zip(*row, strict=True) for p in block[:size]}
        for row in zip(masks.masks.targets, sizes, strict=True)
    ]
    together = sum(map(len, hidden)) / len(hidden)
    page = part(masks_section, masks=padded_with_the_last_patch(masks))
    assert "grid 8 × 8 patches" in page.words()
    assert f"context {seen} of 64 patches ({seen / 64:.0%})" in page.words()
    span = f"{sizes.min()} to {sizes.max()} patches, {sizes.mean():.1f} on average"
    assert f"targets 4 blocks of {span}" in page.words()
    assert f"targets together {together:.1f} of 64 patches" in page.words()
    assert "mode corrected" in page.words()
    assert "masks of epoch 0:" in page.words()
    assert [label.partition(":")[0] for label in page.labels] == ["Sample 40", "Sample 41"]
    official = part(masks_section, masks=first_masks(noise(2), mode="official")).words()
    assert "mode official" in official
    assert "targets 4 blocks of 12 patches" in official
    assert "masks of epoch 0 and step 0:" in official


def test_maps_have_the_colours_of_their_cosines() -> None:
    cosines = np.linspace(-0.95, 1, 64)
    flat = np.full((TILE, TILE, 3), 128, np.uint8)
    drawn = patches_in(heat_map(flat, cosines, GRID, -1.0))
    viridis = matplotlib.colormaps["viridis"]((cosines + 1) / 2, bytes=True)[:, :3]
    expected = np.rint(128 * 0.3 + viridis * 0.7)
    assert np.array_equal(drawn, np.broadcast_to(expected[:, None, None], drawn.shape))
    assert (np.diff(drawn[:, 0, 0] @ [0.2, 0.7, 0.1]) > 0).all()


def test_each_query_has_a_map_in_which_it_is_framed() -> None:
    cosines = np.zeros((2, 2, 64))
    cosines[:, 0, 32:], cosines[:, 1, :32] = 1.0, 1.0
    found = pictures(part(similarity_section, similarity=similarity(cosines)))
    assert len(found) == 3  # and the scale
    for picture, image in zip(found[:2], noise(2), strict=True):
        plain, first, second = tiles(picture)
        enlarged = np.kron(image, np.ones((5, 5, 1), np.uint8))
        for patch in (36, 9):
            assert np.array_equal(patches_in(plain)[patch], patches_in(enlarged)[patch])
        light = [patches_in(tile)[..., 0].mean(axis=(1, 2)) for tile in (first, second)]
        assert light[0][56:].min() > light[0][:8].max()
        assert light[1][:1].min() > light[1][56:].max()
        # The middle of the first query's upper frame, then of the second's.
        assert framed(plain, 4 * PATCH, 4 * PATCH + 10)
        assert framed(plain, PATCH, PATCH + 10)
        assert framed(first, 4 * PATCH, 4 * PATCH + 10)
        assert not framed(first, PATCH, PATCH + 10)
        assert framed(second, PATCH, PATCH + 10)


def framed(tile: Pixels, top: int, column: int) -> bool:
    above = tile[top - 3 : top, column, 0].tolist()
    return above == [0, 255, 255]


def test_the_scale_and_the_mean_cosines_are_told() -> None:
    cosines = np.full((3, 2, 64), 0.5)
    cosines[:, 1] = 0.25
    cosines[:, 0, 36] = cosines[:, 1, 9] = 1.0
    words = part(similarity_section, similarity=similarity(cosines)).words()
    assert "0.20 0.60 1.00" in words
    assert "0.50 of the patch in row 5, column 5, 0.25 of the patch in row 2, column 2." in words


@pytest.mark.parametrize(("least", "start"), [(0.25, 0.2), (-0.31, -0.4), (-1, -1), (0.999, 0.9)])
def test_the_scale_begins_below_all_cosines(least: float, start: float) -> None:
    assert scale_start(np.array([1.0, least])) == pytest.approx(start)


def test_runs_that_mask_nothing_have_neither_section() -> None:
    assert masks_section(facts()) is None
    assert similarity_section(facts()) is None
    html = render_page(
        facts(masks=first_masks(noise(1)), similarity=similarity(np.ones((1, 2, 64))))
    )
    sections = [*Page(html).text]
    at = sections.index("views")
    assert sections[at : at + 3] == ["views", "masks", "similarity"]
    assert {"#masks", "#similarity"} <= set(Page(html).references)


def test_what_cannot_be_had_is_told_as_text() -> None:
    found = Page(render_page(facts(masks=SCRIPT, similarity=SCRIPT)))
    assert f"The masks cannot be drawn: {SCRIPT}" in found.words("masks")
    assert f"The similarities cannot be drawn: {SCRIPT}" in found.words("similarity")
    assert found.tags.count("script") == 1


def test_patches_of_large_views_are_of_whole_pixels() -> None:
    view = np.zeros((224, 224, 3), np.uint8)
    view[16:32, 32:48] = 255
    tile = patch_tile(view, (14, 14))
    assert tile.shape == (154, 154, 3)
    assert (tile[11:22, 22:33] == 255).all()
    assert int((tile > 0).sum()) == 11 * 11 * 3
    assert patch_tile(view, (14, 28)).shape == (154, 168, 3)
    assert patch_tile(view[:64, :64], (8, 8)).shape == (128, 128, 3)


def test_patches_of_an_oblong_grid_are_counted_row_by_row() -> None:
    picture = over_patches(np.arange(6), (2, 3), (4, 6))
    assert picture[::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_edges_lie_inside_and_frames_outside() -> None:
    area = np.zeros((6, 6), np.bool_)
    area[:3, :3] = True
    assert edge_of(area, 1).sum() == 8  # the border of the picture is an edge too
    assert grown(area, 1).sum() == 16
