"""Normal noise that is a function of what it is for, computed on the device."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

Words = int | str | Tensor


def _signed(word: int) -> int:
    """The int64 with the bits of a uint64."""
    return word - 2**64 if word >= 2**63 else word


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MUL_1 = _signed(0xBF58476D1CE4E5B9)
_MUL_2 = _signed(0x94D049BB133111EB)


def mix(*words: Words) -> Tensor:
    """Hash words as `randomness.mix` does, bit by bit, elementwise with broadcasting.

    Args:
        words: ints, int64 tensors, or short strings that name the purpose of a draw; at least one
            tensor, whose device is the result's.

    Returns:
        int64 of the broadcast shape, with the bits of numpy's uint64.
    """
    device = next(word.device for word in words if isinstance(word, Tensor))
    state = torch.zeros((), dtype=torch.int64, device=device)
    for word in words:
        state = (state ^ _as_int64(word)) + _GOLDEN
        state = (state ^ _shifted(state, 30)) * _MUL_1
        state = (state ^ _shifted(state, 27)) * _MUL_2
        state = state ^ _shifted(state, 31)
    return state


def uniform(*words: Words, count: int) -> Tensor:
    """Uniform numbers in (0, 1) named by words.

    Args:
        words: as `mix` takes them; tensors are (...).
        count: K, of the numbers for each element.

    Returns:
        (..., K) float64.
    """
    tensors = [word[..., None] if isinstance(word, Tensor) else word for word in words]
    device = next(word.device for word in words if isinstance(word, Tensor))
    bits = mix(*tensors, torch.arange(count, device=device))
    return (_shifted(bits, 11).double() + 0.5) * 2.0**-53


def normal(*words: Words, count: int) -> Tensor:
    """Standard normal numbers named by words; as `uniform`."""
    return torch.special.ndtri(uniform(*words, count=count))


def _as_int64(word: Words) -> Tensor | int:
    if isinstance(word, str):
        return zlib.crc32(word.encode())
    return word if isinstance(word, Tensor) else _signed(word)


def _shifted(values: Tensor, places: int) -> Tensor:
    """To the right, with zeros coming in, as for unsigned numbers."""
    return (values >> places) & (2 ** (64 - places) - 1)
