"""Nested state as two plain files: tensors in safetensors, the rest in JSON. Nothing is pickled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

_TENSOR, _PAIRS, _TUPLE = "$tensor", "$pairs", "$tuple"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A state as it was, on the CPU; what becomes of the original does not touch it."""

    skeleton: str  # JSON
    tensors: dict[str, torch.Tensor]

    def save(self, stem: Path) -> list[Path]:
        """Write `stem.json` and `stem.safetensors`, which are returned.

        Raises:
            OSError: they cannot be written.
        """
        files = _files(stem)
        files[0].write_text(self.skeleton)
        try:
            save_file(self.tensors, files[1])
        except SafetensorError as error:  # of a full disk too
            raise OSError(f"{files[1]}: {error}") from error
        return files


def snapshot(state: Any) -> Snapshot:
    """Copy dicts, lists, tuples, tensors and JSON values.

    Raises:
        TypeError: the state holds something else.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = json.dumps(_encode(state, "", tensors))
    return Snapshot(skeleton=skeleton, tensors=tensors)


def load_state(stem: Path) -> Any:
    """What a snapshot was saved of; tensors on the CPU."""
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
