"""A folder of images, to be turned into shards."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.data.sources.manifest import class_names
from pipeline.data.sources.source import RawSample, shuffle_keys
from pipeline.errors import Problem, UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"})


def image_files(root: Path) -> Iterator[Path]:
    """Image files in a folder and its sub-folders, in no order, without listing them all first.

    Hidden ones are passed over, and what macOS puts beside the files of an archive.
    """
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _is_clutter(name)]
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() in EXTENSIONS and not _is_clutter(name) and path.is_file():
                yield path


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


class FolderSource:
    """A folder of image files, with labels from its sub-folders or from a csv."""

    def __init__(self, root: Path, *, labels: str | None) -> None:
        self._files = sorted(image_files(root))
        if not self._files:
            raise UserError(
                Problem(
                    str(root),
                    f"holds no image file, not even in a subfolder; looked for "
                    f"{', '.join(sorted(EXTENSIONS))}",
                )
            )
        self._root = root
        self._labels = self._find_labels(labels)

    def _find_labels(self, labels: str | None) -> dict[Path, str] | None:
        in_folders = all(path.parent != self._root for path in self._files)
        if labels == "none" or (labels is None and not in_folders):
            return None
        if labels in (None, "folder"):
            if not in_folders:
                loose = next(path for path in self._files if path.parent == self._root)
                raise UserError(Problem("--labels", f"folder, but {loose} lies in no sub-folder"))
            return {p: p.relative_to(self._root).parts[0] for p in self._files}
        return self._labels_from_csv(Path(str(labels)))

    def _labels_from_csv(self, path: Path) -> dict[Path, str]:
        if not path.is_file():
            raise UserError(
                Problem("--labels", f"{path} is neither `folder`, `none` nor a csv file")
            )
        try:
            rows = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        except UnicodeDecodeError as error:
            raise UserError(Problem(str(path), f"is not UTF-8: {error}")) from error
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            raise UserError(
                Problem(str(path), f"needs the columns file and label, has {rows.fieldnames}")
            )
        by_file = {self._root / row["file"]: row["label"] for row in rows if row["label"]}
        # What is named is meant, though hidden files are passed over where nobody names them.
        known = set(self._files)
        self._files += sorted(file for file in by_file if file not in known and file.is_file())
        unlabelled = [file for file in self._files if file not in by_file]
        if unlabelled:
            raise UserError(
                Problem(
                    str(path),
                    f"has no label for {len(unlabelled)} files, the first is "
                    f"{unlabelled[0].relative_to(self._root)}",
                )
            )
        return by_file

    def __len__(self) -> int:
        return len(self._files)

    def classes(self) -> tuple[str, ...]:
        return class_names([] if self._labels is None else list(self._labels.values()))

    def shuffled(self, seed: int) -> Iterator[RawSample]:
        for number in np.argsort(shuffle_keys(seed, 0, len(self._files)), kind="stable"):
            path = self._files[number]
            label = self._labels[path] if self._labels is not None else None
            yield RawSample(str(path.relative_to(self._root)), path.read_bytes(), label)
