"""What an `.npz` holds: which of its arrays are images, which are labels, and their rows."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import Problem, UserError

UNREADABLE = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,  # of an encrypted one
    zipfile.BadZipFile,
    zlib.error,
)
_BYTES_TOGETHER = 8 << 20


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
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(name) as file:
        shape, _, dtype = _read_header(file)
    return Header(shape, dtype)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def rows_of(file: IO[bytes]) -> Iterator[npt.NDArray[np.uint8]]:
    """The images of an array (N, …) uint8, one after the other, few of them in memory.

    Args:
        file: the array's, in `.npy` format.

    Raises:
        ValueError: it ends early.
    """
    shape, fortran_order, _ = _read_header(file)
    size = math.prod(shape[1:])
    if fortran_order:  # its rows lie scattered over the whole of it
        whole = np.frombuffer(file.read(), dtype=np.uint8)
        yield from whole.reshape(shape, order="F")
        return
    together = max(1, _BYTES_TOGETHER // size)
    for first in range(0, shape[0], together):
        count = min(together, shape[0] - first)
        data = file.read(count * size)
        yield from np.frombuffer(data, dtype=np.uint8).reshape(count, *shape[1:])


def unreadable(path: Path, error: Exception) -> UserError:
    """That a file cannot be read as an `.npz`."""
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
