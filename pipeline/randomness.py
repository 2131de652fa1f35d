"""Random numbers without state: each is a hash of the words that name it.

A generator object remembers how often it was asked, so its numbers depend on who else asked and in
which process. Here the number for (seed, epoch, sample, view, slot) is the same wherever, whenever
and in whatever batch it is computed, and does not change with numpy's version.
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import numpy.typing as npt

Words = int | str | npt.NDArray[np.integer]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MUL_1 = np.uint64(0xBF58476D1CE4E5B9)
_MUL_2 = np.uint64(0x94D049BB133111EB)


def _as_uint64(word: Words) -> npt.NDArray[np.uint64]:
    if isinstance(word, str):
        return np.asarray(zlib.crc32(word.encode()), dtype=np.uint64)
    return np.asarray(word).astype(np.int64).astype(np.uint64)


def mix(*words: Words) -> npt.NDArray[np.uint64]:
    """Hash words to uint64, elementwise with broadcasting.

    Each word is folded in by the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable
    pseudorandom number generators, OOPSLA 2014), so the order of words matters.

    Args:
        words: ints, int arrays, or short strings that name the purpose of a draw.

    Returns:
        uint64 array of the broadcast shape.
    """
    state = np.asarray(0, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            state = (state ^ _as_uint64(word)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MUL_1
            state = (state ^ (state >> np.uint64(27))) * _MUL_2
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*words: Words) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) named by the words, elementwise with broadcasting; float64."""
    return (mix(*words) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, *words: Words) -> npt.NDArray[np.int64]:
    """A permutation of range(count) named by the words; int64."""
    return np.argsort(mix(*words, np.arange(count)), kind="stable")


def seed_for(*words: int | str) -> int:
    """A seed below 2**63 for a library's own generator (torch), named by the words."""
    digest = hashlib.sha256(repr(words).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
