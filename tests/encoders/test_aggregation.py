"""DMT-JEPA's neighbours and aggregation head against slow, separate computations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.configs.neighbours import Window
from pipeline.encoders.transformers.aggregation import AggregationHead
from pipeline.encoders.transformers.neighbours import most_similar, window_of

pytestmark = pytest.mark.fast

HEADS, WIDTH = 2, 8


def tokens(batch: int = 3, count: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, count, WIDTH, dtype=torch.float64, generator=generator)


def head() -> AggregationHead:
    torch.manual_seed(0)
    module = AggregationHead(width=WIDTH, heads=HEADS).double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return module


def test_the_neighbours_of_the_first_of_14_x_14_patches() -> None:
    index, exists = window_of((14, 14), "toroidal")
    assert set(index[0].tolist()) == {1, 13, 14, 15, 27, 182, 183, 195}
    assert exists.all()
    index, exists = window_of((14, 14), "clamped")
    assert set(index[0][exists[0]].tolist()) == {1, 14, 15}


@pytest.mark.parametrize("grid", [(8, 8), (5, 9)])
def test_clamped_neighbours_touch_the_patch(grid: tuple[int, int]) -> None:
    index, exists = window_of(grid, "clamped")
    for patch in range(grid[0] * grid[1]):
        row, column = divmod(patch, grid[1])
        near = {
            r * grid[1] + c
            for r in range(max(0, row - 1), min(grid[0], row + 2))
            for c in range(max(0, column - 1), min(grid[1], column + 2))
        }
        assert set(index[patch][exists[patch]].tolist()) == near - {patch}


@pytest.mark.parametrize("window", ["clamped", "toroidal"])
def test_the_most_similar_neighbours_are_chosen(window: Window) -> None:
    grid, values = (3, 4), tokens()
    index, exists = window_of(grid, window)
    near, exist = most_similar(values, index, exists, count=4)
    for image in range(3):
        for patch in range(12):
            around = index[patch][exists[patch]]
            cosines = F.cosine_similarity(values[image][around], values[image][patch], dim=-1)
            expected = set(around[cosines.argsort(descending=True)[:4]].tolist())
            assert set(near[image, patch][exist[image, patch]].tolist()) == expected


def test_neighbours_are_chosen_in_full_precision_under_autocast() -> None:
    """Neighbours resemble each other so much that half precision could not tell them apart."""
    values = (tokens() * 0.02 + 1).float()
    index, exists = window_of((3, 4), "clamped")
    chosen, _ = most_similar(values, index, exists, count=4)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast, _ = most_similar(values, index, exists, count=4)
    assert torch.equal(chosen, under_autocast)


def attention(block: torch.nn.Module, query: Tensor, seen: Tensor) -> Tensor:
    """By torch's own attention module with the same weights; query (1, D), seen (m, D)."""
    key, value = block.key_value.weight.chunk(2)
    key_bias, value_bias = block.key_value.bias.chunk(2)
    found, _ = F.multi_head_attention_forward(
        query,
        seen,
        seen,
        WIDTH,
        HEADS,
        torch.cat([block.query.weight, key, value]),
        torch.cat([block.query.bias, key_bias, value_bias]),
        None,
        None,
        False,
        0.0,
        block.output.weight,
        block.output.bias,
        need_weights=False,
    )
    return found


def test_targets_are_what_the_equations_say() -> None:
    """Equation 5.3, patch by patch: the query is the mean of the patch's own image."""
    module, values = head(), tokens()
    near, exist = most_similar(values, *window_of((3, 4), "clamped"), count=4)
    found = module.around(values, near, exist)
    for image in range(3):
        for patch in range(12):
            query = values[image].mean(dim=0, keepdim=True)
            chosen = values[image][near[image, patch][exist[image, patch]]]
            for block in (module.first, module.second):
                seen = block.norm1(torch.cat([query, chosen]))
                query = query + attention(block, block.norm1(query), seen)
                query = query + block.mlp(block.norm2(query))
            torch.testing.assert_close(found[image, patch], module.norm(query)[0])


def test_the_context_is_what_the_equations_say() -> None:
    """Equation 5.4: each block adds to all tokens what their mean sees."""
    module, values = head(), tokens(count=7)
    found = module.visible(values)
    for image in range(3):
        context = values[image]
        for block in (module.first, module.second):
            query = context.mean(dim=0, keepdim=True)
            seen = block.norm1(torch.cat([query, context]))
            context = context + attention(block, block.norm1(query), seen)
            context = context + block.mlp(block.norm2(context))
        torch.testing.assert_close(found[image], module.norm(context))


@pytest.mark.parametrize("window", ["clamped", "toroidal"])
def test_targets_of_an_image_do_not_depend_on_the_others(window: Window) -> None:
    """As they do in the released code, which gives a patch the query of another image."""
    module, values = head(), tokens()
    index, exists = window_of((3, 4), window)
    together = module.around(values, *most_similar(values, index, exists, count=4))
    for image in range(3):
        one = values[image : image + 1]
        alone = module.around(one, *most_similar(one, index, exists, count=4))
        torch.testing.assert_close(alone[0], together[image])


def test_every_weight_gets_a_gradient_from_the_context() -> None:
    module = head()
    module.visible(tokens()).square().sum().backward()
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0 or name.endswith("key_value.bias"), name
