"""An `.npz` with an array of images, to be turned into shards."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.decode import encode_png
from pipeline.data.sources.manifest import class_names
from pipeline.data.sources.source import RawSample, shuffle_keys
from pipeline.errors import Problem, UserError

_UNREADABLE = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,  # of an encrypted one
    zipfile.BadZipFile,
    zlib.error,
)


class NpzSource:
    """An array of images, (N, H, W) grey or (N, H, W, 3), uint8."""

    def __init__(self, path: Path, *, labels: str | None, images: str | None) -> None:
        try:
            headers = array_headers(path)
            image_key = choose_images(path, headers, images)
            label_key = choose_labels(path, headers, labels, headers[image_key].shape[0])
            with np.load(path, allow_pickle=False) as arrays:
                self._images = np.asarray(arrays[image_key])
                self._labels = None if label_key is None else np.asarray(arrays[label_key])
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error

    def __len__(self) -> int:
        return len(self._images)

    def classes(self) -> tuple[str, ...]:
        return class_names([] if self._labels is None else self._labels.astype(str).tolist())

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        for number in np.argsort(shuffle_keys(seed, 0, len(self)), kind="stable"):
            label = str(self._labels[number]) if self._labels is not None else None
            yield RawSample(f"{number:09d}.png", encode_png(self._images[number]), label)


class Header(NamedTuple):
    """What an array is, without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def holds_images(self) -> bool:
        """Whether it is (N, H, W) or (N, H, W, 3) uint8, and not empty."""
        grey, colour = len(self.shape) == 3, len(self.shape) == 4 and self.shape[-1] == 3
        return self.dtype == np.uint8 and 0 not in self.shape and (grey or colour)


def array_headers(path: Path) -> dict[str, Header]:
    """What an `.npz` holds, by key; no array is read.

    Raises:
        UserError: it is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): _header(archive, name) for name in names}
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return Header(shape, dtype)


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(Problem(str(path), f"cannot be read as an .npz: {error}"))


def choose_images(path: Path, headers: Mapping[str, Header], key: str | None) -> str:
    """The array of images, by its key or because there is but one.

    Raises:
        UserError: there is none of that key or none at all, or several.
    """
    fitting = [name for name, header in headers.items() if header.holds_images]
    if key is None:
        if len(fitting) != 1:
            raise UserError(
                Problem(
                    "--images",
                    f"{path} has {len(fitting)} arrays of images ({', '.join(fitting)}); name one"
                    if fitting
                    else f"{path} has no uint8 array (N, H, W) or (N, H, W, 3); it has "
                    f"{', '.join(headers)}",
                )
            )
        key = fitting[0]
    if key not in fitting:
        raise UserError(
            Problem("--images", f"{key} is not one of the arrays of images: {', '.join(fitting)}")
        )
    return key


def choose_labels(
    path: Path, headers: Mapping[str, Header], key: str | None, count: int
) -> str | None:
    """The array of labels of so many images: the one named, else the only one of whole numbers.

    Raises:
        UserError: there is none of that key.
    """
    if key == "none":
        return None
    fitting = [name for name, header in headers.items() if header.shape == (count,)]
    if key is None:
        pickled = [name for name in fitting if headers[name].dtype.kind == "O"]
        if pickled:
            raise UserError(
                Problem(
                    "--labels",
                    f"{path}: {', '.join(pickled)} holds pickled objects, which are not read; save "
                    "numbers or text in its place, or give --labels none",
                )
            )
        integers = [name for name in fitting if headers[name].dtype.kind in "iu"]
        return integers[0] if len(integers) == 1 else None
    if key not in fitting:
        raise UserError(
            Problem("--labels", f"{key} is not one of {path}'s arrays of {count}: {fitting}")
        )
    return key
