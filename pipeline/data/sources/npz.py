"""An `.npz` with an array of images, to be turned into shards."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.decode import encode_png
from pipeline.data.sources.manifest import class_names
from pipeline.data.sources.source import RawSample, shuffle_keys
from pipeline.errors import Problem, UserError


class NpzSource:
    """An array of images, (N, H, W) grey or (N, H, W, 3), uint8."""

    def __init__(self, path: Path, *, labels: str | None, images: str | None) -> None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._images = _choose_images(path, arrays, images)
                self._labels = _choose_labels(path, arrays, labels, len(self._images))
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(Problem(str(path), f"cannot be read as an .npz: {error}")) from error

    def __len__(self) -> int:
        return len(self._images)

    def classes(self) -> tuple[str, ...]:
        return class_names([] if self._labels is None else self._labels.astype(str).tolist())

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        for number in np.argsort(shuffle_keys(seed, 0, len(self)), kind="stable"):
            label = str(self._labels[number]) if self._labels is not None else None
            yield RawSample(f"{number:09d}.png", encode_png(self._images[number]), label)


def _choose_images(path: Path, arrays: Any, key: str | None) -> npt.NDArray[np.uint8]:
    fitting = [name for name in arrays.files if _holds_images(arrays[name])]
    if key is None:
        if len(fitting) != 1:
            raise UserError(
                Problem(
                    "--images",
                    f"{path} has {len(fitting)} arrays of images ({', '.join(fitting)}); name one"
                    if fitting
                    else f"{path} has no uint8 array (N, H, W) or (N, H, W, 3); it has "
                    f"{', '.join(arrays.files)}",
                )
            )
        key = fitting[0]
    if key not in fitting:
        raise UserError(
            Problem("--images", f"{key} is not one of the arrays of images: {', '.join(fitting)}")
        )
    return np.asarray(arrays[key])


def _holds_images(array: npt.NDArray[Any]) -> bool:
    grey, colour = array.ndim == 3, array.ndim == 4 and array.shape[-1] == 3
    return array.dtype == np.uint8 and array.size > 0 and (grey or colour)


def _choose_labels(path: Path, arrays: Any, key: str | None, count: int) -> npt.NDArray[Any] | None:
    if key == "none":
        return None
    fitting = [name for name in arrays.files if arrays[name].shape == (count,)]
    if key is None:
        integers = [name for name in fitting if arrays[name].dtype.kind in "iu"]
        return np.asarray(arrays[integers[0]]) if len(integers) == 1 else None
    if key not in fitting:
        raise UserError(
            Problem("--labels", f"{key} is not one of {path}'s arrays of {count}: {fitting}")
        )
    return np.asarray(arrays[key])
