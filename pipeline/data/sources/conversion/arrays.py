"""An `.npz` with an array of images, or several of a sample's images, read from end to end."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.decode import encode_png
from pipeline.data.sources.conversion.facts_of_files import no_column
from pipeline.data.sources.conversion.grouping import Grouping, grouping_of
from pipeline.data.sources.conversion.source import Fields, FolderLabels, Gathered, Told
from pipeline.data.sources.npz import (
    UNREADABLE,
    array_headers,
    choose_images,
    choose_labels,
    rows_of,
    unreadable,
)
from pipeline.errors import Problem, UserError


class NpzSource:
    """Arrays (N, H, W) grey or (N, H, W, 3), uint8; each image becomes a PNG."""

    keys_have_one_root = False
    folder_labels: FolderLabels = "never"

    def __init__(self, path: str, fields: Fields) -> None:
        """Look at the arrays' headers.

        Args:
            path: of the file.
            fields: images are a key; None: the only array of images. Labels are a key, or `none`;
                None: the only array of as many whole numbers. Kept are arrays of as many values.

        Raises:
            UserError: it is no `.npz`, or has no such arrays.
        """
        file, keep = Path(path), fields.keep
        headers = array_headers(file)
        images = fields.parts or (fields.image,)
        keys = tuple(choose_images(file, headers, name) for name in images)
        count = min(headers[key].shape[0] for key in keys)
        values = [name for name, header in headers.items() if header.shape == (count,)]
        problems = [no_column("--keep", [name], values) for name in keep if name not in values]
        problems += [
            Problem("--images", f"{key} has {headers[key].shape[0]} images, others {count}")
            for key in keys
            if headers[key].shape[0] != count
        ]
        if problems:
            raise UserError(problems)
        label = choose_labels(file, headers, fields.labels, count)
        self.fields = fields
        self.grouping: Grouping | None = grouping_of(fields.split_by, values)
        self._unit = NpzUnit(path, keys, label, self.grouping, keep)
        self.asked: Mapping[str, Any] = {"source": path, "images": list(keys), "label": label}

    def units(self) -> list[NpzUnit]:
        """The file is one."""
        return [self._unit]


@dataclass(frozen=True)
class NpzUnit:
    """A whole file."""

    path: str
    images: tuple[str, ...]
    label: str | None
    grouping: Grouping | None
    keep: tuple[str, ...]
    first: int = 0

    def samples(self, told: Told) -> Iterator[Gathered]:
        """See `Unit`."""
        try:
            yield from self._samples()
        except UNREADABLE as error:
            raise unreadable(Path(self.path), error) from error

    def _samples(self) -> Iterator[Gathered]:
        group = self.grouping.column if self.grouping else None
        names = [name for name in (self.label, group, *self.keep) if name is not None]
        with zipfile.ZipFile(self.path) as archive, ExitStack() as files:
            texts = {name: _texts(archive, name) for name in dict.fromkeys(names)}
            pictures = [
                rows_of(files.enter_context(archive.open(f"{key}.npy"))) for key in self.images
            ]
            for number, images in enumerate(zip(*pictures, strict=True)):
                yield Gathered(
                    f"{number:09d}.png",
                    tuple(map(encode_png, images)),
                    texts[self.label][number] if self.label else None,
                    texts[group][number] if group else None,
                    tuple(texts[name][number] for name in self.keep),
                )


def _texts(archive: zipfile.ZipFile, name: str) -> list[str]:
    with archive.open(f"{name}.npy") as file:
        values = np.lib.format.read_array(file, allow_pickle=False)
    texts: list[str] = values.astype(str).tolist()
    return texts
