"""Nested state in two plain files: it comes back exactly, or is refused by name."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runs.state_files import load_state, snapshot

pytestmark = pytest.mark.fast

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.complex64,
]
NAMES = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=4)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.builds(
        lambda shape, dtype: (torch.arange(math.prod(shape)) % 2).to(dtype).reshape(shape),
        st.lists(st.integers(0, 3), max_size=3),
        st.sampled_from(DTYPES),
    )
)
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(NAMES, inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def assert_same(found: Any, expected: Any) -> None:
    """Equal in values and in types, all the way down."""
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert torch.equal(found.contiguous().view(-1).view(torch.uint8), _bytes(expected))
    elif isinstance(expected, dict):
        assert [(type(key), key) for key in found] == [(type(key), key) for key in expected]
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected or (math.isnan(found) and math.isnan(expected))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def round_trip(state: Any, folder: Path) -> Any:
    written = snapshot(state).save(folder / "part")
    assert sorted(folder.iterdir()) == sorted(written)
    return load_state(folder / "part")


@settings(deadline=None, max_examples=150)
@given(state=STATES)
def test_any_nested_state_comes_back_exactly(state: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_same(round_trip(state, Path(folder)), state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_tensors_of_every_type_and_shape_come_back(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = (torch.arange(math.prod(shape)) * 3).to(dtype).reshape(shape)
    assert_same(round_trip({"x": [tensor]}, tmp_path), {"x": [tensor]})


def test_bits_that_compare_unequal_or_equal_come_back_as_they_were(tmp_path: Path) -> None:
    state = {"x": torch.tensor([math.nan, -0.0, math.inf, -math.inf, 1e-45]), "y": math.nan}
    state["z"] = (-math.inf, -0.0)
    assert_same(round_trip(state, tmp_path), state)
    assert math.copysign(1, load_state(tmp_path / "part")["z"][1]) == -1


def test_tensors_that_share_memory_come_back_apart(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"whole": whole, "again": whole, "row": whole[1], "turned": whole.T, "step": whole[::2]}
    found = round_trip(state, tmp_path)
    assert_same(found, state)
    found["whole"].zero_()
    assert torch.equal(found["again"], torch.arange(12.0).reshape(3, 4))


def test_parameters_and_tensors_with_a_graph_are_saved_by_value(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(3.0))
    found = round_trip({"a": weight, "b": weight * 2}, tmp_path)
    assert_same(found, {"a": torch.arange(3.0), "b": torch.arange(3.0) * 2})
    assert not found["b"].requires_grad


def test_empty_containers_and_names_that_look_like_ours_come_back(tmp_path: Path) -> None:
    state = {
        "dict": {},
        "list": [],
        "tuple": ((), [], {}),
        "$tensor": "$pairs",
        "$pairs": {"$tuple": [["a", 1]], "$tensor": torch.ones(1)},
        "": {"": {"": torch.zeros(2)}},
    }
    assert_same(round_trip(state, tmp_path), state)


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_an_optimizer_goes_on_bitwise_as_if_never_saved(tmp_path: Path, kind: str) -> None:
    def build() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5))
        groups = [{"params": [*module.parameters()][:1], "lr": 0.1}]
        groups.append({"params": [*module.parameters()][1:], "lr": 0.01, "weight_decay": 0.0})
        options = {"momentum": 0.9} if kind == "SGD" else {"betas": (0.8, 0.99)}
        return module, getattr(torch.optim, kind)(groups, lr=0.1, **options)

    def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        batch = torch.randn(6, 4, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        module(batch).square().sum().backward()
        optimizer.step()

    module, optimizer = build()
    for number in range(3):
        step(module, optimizer, number)
    state = {"module": dict(module.state_dict()), "optimizer": optimizer.state_dict()}
    found = round_trip(state, tmp_path)
    assert_same(found, state)

    other, resumed = build()
    other.load_state_dict(found["module"])
    resumed.load_state_dict(found["optimizer"])
    for number in range(3, 6):
        step(module, optimizer, number)
        step(other, resumed, number)
    assert_same(dict(other.state_dict()), dict(module.state_dict()))


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"a": [1, {"b": {1, 2}}]}, "/a/1/b"),
        ({"a": (0, object())}, "/a/1"),
        ({"x": np.float32(1)}, "/x"),
        ({"x": np.arange(3)}, "/x"),
        ({"x": {"y": b"bytes"}}, "/x/y"),
        ({7: torch.float32}, "/7"),
        ({"x": 1j}, "/x"),
    ],
)
def test_what_cannot_be_held_is_refused_by_its_path(tmp_path: Path, state: Any, path: str) -> None:
    with pytest.raises(TypeError, match=f"^{path}: a checkpoint cannot hold a "):
        snapshot(state)


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"a": {(1, 2): 3}}, "/a"),
        ({"a": {torch.float32: 3}}, "/a"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, "/a"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "/a"),
    ],
    ids=["tuple as key", "object as key", "complex128", "sparse"],
)
def test_keys_and_tensors_that_cannot_be_held_are_refused_by_their_path(
    tmp_path: Path, state: Any, path: str
) -> None:
    with pytest.raises(TypeError, match=f"^{path}"):
        snapshot(state)


@pytest.mark.parametrize(
    "state",
    [
        {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}},
        {0: torch.zeros(1), "0": torch.ones(1)},
    ],
    ids=["slash", "int and text"],
)
def test_keys_that_look_alike_keep_their_own_tensors(tmp_path: Path, state: Any) -> None:
    assert_same(round_trip(state, tmp_path), state)


def test_parts_whose_names_differ_after_a_dot_have_their_own_files(tmp_path: Path) -> None:
    snapshot({"step": 1}).save(tmp_path / "miner.0")
    snapshot({"step": 2}).save(tmp_path / "miner.1")
    assert load_state(tmp_path / "miner.0") == {"step": 1}
