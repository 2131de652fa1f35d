"""The files of a packaged encoder: written with their checksums, and checked against them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import Problem, UserError
from pipeline.registry.packages.config import CONFIG_FILE, WEIGHTS_FILE, PackageConfig

AUTOENCODER_FILE = "autoencoder/autoencoder.safetensors"
"""In a folder of its own: timm takes the first weights that it finds beside `config.json`."""
CARD_FILE = "README.md"
CHECKSUMS_FILE = "SHA256SUMS"

_ONCE_AUTOENCODER_FILE = "autoencoder.safetensors"


def write_package(
    folder: Path,
    *,
    config: PackageConfig,
    weights: Mapping[str, Tensor],
    card: str,
    autoencoder: Mapping[str, Tensor] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> str:
    """Write a package into an empty or new folder.

    Args:
        folder: to write.
        config: of the package.
        weights: of the backbone.
        card: the model card.
        autoencoder: weights of what `config.autoencoder` is.
        beside: further files by name.

    Returns:
        sha256 of `encoder.safetensors`.

    Raises:
        ValueError: weights of an autoencoder without its config, or the other way round.
    """
    if (autoencoder is None) != (config.autoencoder is None):
        raise ValueError("an autoencoder needs both its config and its weights")
    folder.mkdir(parents=True, exist_ok=True)
    _save(weights, folder / WEIGHTS_FILE)
    if autoencoder is not None:
        (folder / AUTOENCODER_FILE).parent.mkdir(exist_ok=True)
        _save(autoencoder, folder / AUTOENCODER_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    (folder / CARD_FILE).write_text(card)
    for name, data in (beside or {}).items():
        (folder / name).write_bytes(data)
    sums = {name: _sha256(folder / name) for name in [*names_of(folder), *(beside or {})]}
    lines = [f"{digest}  {name}\n" for name, digest in sums.items()]
    (folder / CHECKSUMS_FILE).write_text("".join(lines))
    return sums[WEIGHTS_FILE]


def names_of(folder: Path) -> list[str]:
    """Names of a package's files, whatever else lies in the folder."""
    stated = checksums(folder)
    known = (
        CARD_FILE,
        CONFIG_FILE,
        WEIGHTS_FILE,
        AUTOENCODER_FILE,
        _ONCE_AUTOENCODER_FILE,
    )
    names = [*stated, CHECKSUMS_FILE] if stated else known
    return sorted(name for name in names if (folder / name).is_file())


def checksums(folder: Path) -> dict[str, str]:
    """sha256 by name, as a package states them; empty for one that is older than they are.

    Raises:
        UserError: they cannot be read.
    """
    path = folder / CHECKSUMS_FILE
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text(errors="replace").splitlines():
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(Problem(str(path), f"is no list of checksums: {line[:80]!r}"))
        found[name] = digest
    return found


def damaged_files(folder: Path, *, but_for: str | None = None) -> list[Problem]:
    """Files of a package that are missing, or are not what its checksums say.

    Args:
        folder: of the package.
        but_for: a file that its owner may have changed.
    """
    problems = []
    for name, digest in checksums(folder).items():
        path = folder / name
        if name == but_for:
            continue
        if not path.is_file():
            problems.append(Problem(str(path), f"is missing, {CHECKSUMS_FILE} names it"))
        elif _sha256(path) != digest:
            problems.append(Problem(str(path), f"is damaged: {CHECKSUMS_FILE} has another sha256"))
    return problems


def autoencoder_file(folder: Path) -> Path:
    """Where a package has the weights of its autoencoder; older ones had them beside the others."""
    once = folder / _ONCE_AUTOENCODER_FILE
    return once if once.is_file() else folder / AUTOENCODER_FILE


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
