"""Numbers named by words: uniform, unrelated to each other, and the same for ever."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.randomness import mix, permutation, seed_for, uniform

pytestmark = pytest.mark.fast

COUNT = 20_000


def assert_uniform(values: np.ndarray) -> None:
    """Kolmogorov-Smirnov at a level of about one in a million."""
    assert values.min() >= 0
    assert values.max() < 1
    steps = np.arange(len(values)) / len(values)
    assert np.abs(np.sort(values) - steps).max() < 2.7 / np.sqrt(len(values))


def test_the_stream_never_changes() -> None:
    assert mix(0).tolist() == 16294208416658607535
    assert mix(1, 2).tolist() == 13608149317741381227
    assert mix("view", 7, -1, 2**62).tolist() == 5032395484081982927
    assert mix("order", np.arange(3)).tolist() == [
        12069709909241597669,
        7742514175113771162,
        13535334648890178219,
    ]
    assert uniform("view", 0, 1, 2, "flip").tolist() == 0.030711555721978034
    assert permutation(10, "order", 0, 1).tolist() == [0, 2, 3, 8, 9, 1, 7, 5, 4, 6]
    assert seed_for("init", 0) == 1767612405945309802


def test_uniform_numbers_are_uniform_along_every_word() -> None:
    numbers = np.arange(COUNT)
    for words in (
        (numbers,),
        ("view", numbers, 0),
        ("view", 0, numbers),
        ("view", 3, numbers * 1024, "flip"),
        (numbers - COUNT // 2, "negative"),
        (2**40 + numbers,),
    ):
        values = uniform(*words)
        assert_uniform(values)
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 5 / np.sqrt(COUNT)
        assert_uniform((mix(*words) & np.uint64(0xFFFF)) / 2**16)


def test_every_bit_of_a_word_flips_each_bit_of_the_hash_half_of_the_time() -> None:
    numbers = (mix("numbers", np.arange(4000)) >> np.uint64(1)).astype(np.int64)
    base = mix("a", numbers)
    for bit in (0, 1, 7, 20, 40, 62):
        changed = base ^ mix("a", numbers ^ (1 << bit))
        flips = np.unpackbits(changed.view(np.uint8)).reshape(4000, 64).mean(axis=0)
        assert np.abs(flips - 0.5).max() < 5 * 0.5 / np.sqrt(4000)


def test_streams_with_other_names_are_unrelated() -> None:
    numbers = np.arange(COUNT)
    streams = [("a",), ("b",), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, "a"), ("a", 0)]
    values = np.array([uniform(*words, numbers) for words in streams])
    related = np.corrcoef(values) - np.eye(len(streams))
    assert np.abs(related).max() < 5 / np.sqrt(COUNT)


def test_the_order_and_the_number_of_words_matter() -> None:
    words = [
        (1, 2),
        (2, 1),
        (1,),
        (2,),
        (1, 2, 0),
        (0, 1, 2),
        (12,),
        (1, "2"),
        ("1", "2"),
        (0,),
        (),
    ]
    assert len({int(mix(*some)) for some in words}) == len(words)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=4, unique=True))
def test_words_in_another_order_give_another_number(words: list[int]) -> None:
    orders = list(itertools.permutations(words))
    assert len({int(mix(*order)) for order in orders}) == len(orders)


def test_seeds_and_epochs_do_not_collide() -> None:
    seeds, epochs = np.arange(300)[:, None], np.arange(300)
    assert len(np.unique(mix("order", seeds, epochs))) == 300 * 300


def test_arrays_are_hashed_elementwise_with_broadcasting() -> None:
    rows, columns = np.arange(4)[:, None], np.arange(3, dtype=np.int32)
    table = mix("x", rows, columns, 9)
    assert table.shape == (4, 3)
    assert table.dtype == np.uint64
    for row, column in itertools.product(range(4), range(3)):
        assert table[row, column] == mix("x", row, column, 9)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 300), seed=st.integers(0, 2**31))
def test_a_permutation_is_one(count: int, seed: int) -> None:
    order = permutation(count, "p", seed)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_every_permutation_of_four_is_as_frequent_as_any_other() -> None:
    orders = [tuple(permutation(4, "p", seed).tolist()) for seed in range(6000)]
    counts = [orders.count(order) for order in itertools.permutations(range(4))]
    assert np.abs(np.array(counts) - 250).max() < 5 * np.sqrt(250)


def test_permutations_have_no_favourite_place() -> None:
    places = np.array([permutation(50, "p", seed) for seed in range(2000)])
    assert np.abs(places.mean(axis=0) - 24.5).max() < 5 * 14.5 / np.sqrt(2000)


def test_seeds_for_libraries_fit_in_63_bits_and_differ() -> None:
    seeds = [seed_for("dropout", 0, step) for step in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for("a", 1) != seed_for("a1")
    assert seed_for(1, 2) != seed_for(12)


def test_a_read_task_never_imports_torch_ray_or_mlflow() -> None:
    code = (
        "import sys, pipeline.data.reading.slice_reader; "
        "print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
