"""Nested state as two plain files: tensors in safetensors, the rest in JSON. Nothing is pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_TENSOR, _PAIRS, _TUPLE = "$tensor", "$pairs", "$tuple"


def save_state(state: Any, stem: Path) -> list[Path]:
    """Write dicts, lists, tuples, tensors and JSON values to `stem.safetensors` and `stem.json`.

    Returns:
        The files written.

    Raises:
        TypeError: the state holds something else.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _encode(state, "", tensors)
    files = _files(stem)
    files[0].write_text(json.dumps(skeleton))
    save_file(tensors, files[1])
    return files


def load_state(stem: Path) -> Any:
    """The inverse of `save_state`; tensors on the CPU."""
    skeleton, tensors = _files(stem)
    return _decode(json.loads(skeleton.read_text()), load_file(tensors))


def _files(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in (".json", ".safetensors")]


def _encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.dtype == torch.complex128:
            raise TypeError(f"{path}: a checkpoint cannot hold a {value.layout} {value.dtype}")
        name = f"{len(tensors)}{path}"  # numbered, since paths of different keys may look alike
        # A copy, because safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        if not all(isinstance(key, str | int) for key in value):
            raise TypeError(f"{path}: a checkpoint's keys are text or whole numbers")
        pairs = [[key, _encode(item, f"{path}/{key}", tensors)] for key, item in value.items()]
        return {_PAIRS: pairs}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path}: a checkpoint cannot hold a {type(value).__name__}")


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_decode(item, tensors) for item in value[_TUPLE])
    return {key: _decode(item, tensors) for key, item in value[_PAIRS]}
