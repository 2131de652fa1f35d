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
    files = [stem.with_suffix(".json"), stem.with_suffix(".safetensors")]
    files[0].write_text(json.dumps(skeleton))
    save_file(tensors, files[1])
    return files


def load_state(stem: Path) -> Any:
    """The inverse of `save_state`; tensors on the CPU."""
    tensors = load_file(stem.with_suffix(".safetensors"))
    return _decode(json.loads(stem.with_suffix(".json").read_text()), tensors)


def _encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # A copy, because safetensors refuses tensors that share memory.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {_TENSOR: path}
    if isinstance(value, dict):
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
