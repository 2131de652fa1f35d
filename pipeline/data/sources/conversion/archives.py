"""Tars of images, packed or not, read from end to end: a download, or WebDataset shards."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from lzma import LZMAError
from typing import IO, Any

from pipeline.data import storage
from pipeline.data.sources.conversion.grouping import Grouping, grouping_of
from pipeline.data.sources.conversion.image_files import is_image
from pipeline.data.sources.conversion.source import Fields, FolderLabels, Gathered, Told
from pipeline.errors import Problem, UserError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_READ_BYTES = 4 << 20
_LARGEST_MEMBER = 1 << 30
_NUMBERS_OF_A_FILE = 1 << 40

Member = tuple[str, bytes]
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, LZMAError, ValueError)


class ArchiveSource:
    """Members that are images; with parts, those that share a key are one sample."""

    keys_have_one_root = True

    def __init__(self, files: Sequence[str], fields: Fields) -> None:
        """Take over the archives; nothing is read.

        Args:
            files: paths or URIs, in the order of their samples' numbers.
            fields: labels are `folder` (names of the members' folders), `cls` (members `KEY.cls`)
                or `none`; None: what is there. Nothing can be kept.

        Raises:
            UserError: something is asked that archives do not have.
        """
        problems = []
        if fields.labels not in (None, "folder", "cls", "none"):
            allowed = "archives have `folder`, `cls` or `none`"
            problems.append(Problem("--labels", f"{fields.labels}, but {allowed}"))
        for setting, given in (("--keep", fields.keep), ("--images", fields.image)):
            if given:
                problems.append(Problem(setting, f"{given}, but archives have no columns"))
        if problems:
            raise UserError(problems)
        self.grouping: Grouping | None = grouping_of(fields.split_by, ())
        self._files, self.fields = files, fields
        self.asked: Mapping[str, Any] = {
            "source": [*files[:1], len(files)],
            "labels": fields.labels,
        }

    @property
    def folder_labels(self) -> FolderLabels:
        """Whether labels are the members' folders."""
        if self.fields.labels is None:
            return "mostly"
        return "always" if self.fields.labels == "folder" else "never"

    def units(self) -> list[ArchiveUnit]:
        """Each archive is one, since there is no way into its middle."""
        with_labels = self.fields.labels in (None, "cls")
        return [
            ArchiveUnit(location, number * _NUMBERS_OF_A_FILE, self.fields.parts, with_labels)
            for number, location in enumerate(self._files)
        ]


@dataclass(frozen=True)
class ArchiveUnit:
    """An archive."""

    location: str
    first: int
    parts: tuple[str, ...]
    with_labels: bool
    """Whether members `KEY.cls` are labels of the images of their key, beside which they lie."""

    def samples(self, told: Told) -> Iterator[Gathered]:
        """See `Unit`."""
        store, path = storage.resolve(self.location)
        with store.open_input_stream(path, buffer_size=_READ_BYTES, compression=None) as stream:
            for key, members in groupby(self._members(stream, told), key=lambda m: _key(m[0])):
                yield from self._of_key(key, list(members), told)

    def _members(self, stream: IO[bytes], told: Told) -> Iterator[Member]:
        try:
            with tarfile.open(fileobj=stream, mode="r|*", bufsize=_READ_BYTES) as archive:
                for member in archive:
                    base = member.name.rpartition("/")[2]
                    label = self.with_labels and base.endswith(".cls")
                    if not member.isfile() or not (label or is_image(base)):
                        continue
                    if member.size > _LARGEST_MEMBER:
                        told.leave_out("larger than 1 GiB", member.name)
                    elif file := archive.extractfile(member):
                        data = file.read()
                        if len(data) < member.size:
                            raise EOFError
                        yield member.name.removeprefix("./"), data
                if not archive.fileobj.read(tarfile.BLOCKSIZE):
                    raise EOFError  # the library takes it for the end if no member is cut
        except _DAMAGED:
            # Nothing behind a fault in the archive can be found.
            told.leave_out("damaged archive", storage.file_name(self.location))

    def _of_key(self, key: str, members: list[Member], told: Told) -> Iterator[Gathered]:
        label = next((_label(data) for name, data in members if name.endswith(".cls")), None)
        images = [(name, data) for name, data in members if is_image(name.rpartition("/")[2])]
        if not self.parts:
            yield from (Gathered(name, (data,), label, None, ()) for name, data in images)
            return
        found = {_part(name): data for name, data in images}
        lacking = [part for part in self.parts if part not in found]
        if lacking:
            told.leave_out(f"lacks {lacking[0]}", key)
        else:
            yield Gathered(key, tuple(found[part] for part in self.parts), label, None, ())


def _label(data: bytes) -> str | None:
    return data.decode("utf-8", "replace").strip() or None


def _key(name: str) -> str:
    """WebDataset's rule: a key ends at the first dot of the file's name."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _part(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].rpartition(".")[0]
