"""Settings of a first recipe that fit the images and the machine; what is chosen says why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from pipeline.objectives.configs.single import SingleObjectiveConfig
from pipeline.planning.found_data import FoundData
from pipeline.planning.machine import Machine
from pipeline.section import kind_of

TEST_FRACTION = 0.2
_FEWEST_TO_SCORE = 50  # images, of which a fifth are held out

_SIZES = (32, 64, 96, 128, 224)  # pixels
_NEARLY = 0.9  # of a size, which images may be enlarged to
_LARGEST_WITHOUT_GPU = 64

_STREAMS = 8
_IMAGES_OF_A_WORKER = 16  # of a batch; fewer are not worth a process
_LARGEST_BATCH = {"cpu": 128, "gpu": 256}
_LR, _LR_BATCH = 2e-3, 128  # of AdamW, as in the shipped recipes

_EPOCHS = (5, 10, 20, 50, 100, 200, 400)
_IMAGES_ON_CPU = 1_000_000  # seen in a first run: a few hours of small images
_STEPS_ON_GPU = 20_000

_OTHER_VIEWS = ("ijepa", "dmt_jepa", "mim", "a_mim", "cmim")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Settings, and notes that go on with a comment."""

    size: int
    size_note: str
    encoder: str
    encoder_note: str
    streams: int
    batch: int
    steps_per_epoch: int
    epochs: int
    epochs_note: str
    workers: int
    lr: float
    unscored: str
    """Why there is nothing to score probes on; empty if there is."""
    like_simclr: tuple[str, ...]
    """Kinds of objectives that take the same views."""
    unlike_simclr: tuple[str, ...]


def choose(found: FoundData | None, machine: Machine) -> Choices:
    """Choose for some images, or for 5,000 small ones where nothing is known.

    Args:
        found: the images.
        machine: that is to train.
    """
    device = "gpu" if machine.gpus else "cpu"
    unscored = "" if found is None else _unscored(found)
    samples = 5000 if found is None else found.samples
    if found is None or (found.kind != "shards" and not unscored):
        samples -= round(samples * TEST_FRACTION)
    batch = _batch(samples, largest=_LARGEST_BATCH[device])
    streams = min(_STREAMS, batch, _power_of_two(samples // 8))
    size = _size(64 if found is None else found.side)
    capped = not machine.gpus and size > _LARGEST_WITHOUT_GPU
    steps = samples // streams // (batch // streams)
    return Choices(
        size=_LARGEST_WITHOUT_GPU if capped else size,
        size_note=f"; with a GPU: {size}" if capped else "",
        encoder=_encoder(size, device),
        encoder_note="" if machine.gpus else "; with a GPU a larger one, such as resnet50",
        streams=streams,
        batch=batch,
        steps_per_epoch=steps,
        epochs=_epochs(samples, steps, device),
        epochs_note="" if machine.gpus else " # what a CPU can do; several hundred pay",
        workers=_workers(machine, streams=streams, batch=batch),
        lr=float(f"{_LR * math.sqrt(batch / _LR_BATCH):.2g}"),
        unscored=unscored,
        like_simclr=tuple(k for k in _kinds() if k not in (*_OTHER_VIEWS, "simclr")),
        unlike_simclr=tuple(k for k in _kinds() if k in _OTHER_VIEWS),
    )


def _unscored(found: FoundData) -> str:
    if found.classes < 2:
        return "no labels were found" if not found.classes else "all images are of one class"
    if found.classes * 2 > found.samples:
        return f"{found.classes} classes of {found.samples} images are hardly labels"
    if found.kind == "shards":
        return "" if found.test else "there is no second set beside these"
    if found.samples < _FEWEST_TO_SCORE:
        return f"{found.samples} images are too few to hold some out"
    return ""


def _size(side: int) -> int:
    return max((size for size in _SIZES if size * _NEARLY <= side), default=_SIZES[0])


def _encoder(size: int, device: str) -> str:
    if size <= 32:
        return {"cpu": "resnet10t", "gpu": "resnet18"}[device]
    return "resnet50" if device == "gpu" and size > 128 else "resnet18"


def _batch(samples: int, *, largest: int) -> int:
    """A power of two of which an epoch has four, if that leaves enough negatives."""
    few = min(8, _power_of_two(samples // 2))
    return max(2, min(largest, max(few, _power_of_two(samples // 4))))


def _epochs(samples: int, steps: int, device: str) -> int:
    if device == "gpu":
        least, most, fit = 100, 400, _STEPS_ON_GPU / steps
    else:
        least, most, fit = 5, 100, _IMAGES_ON_CPU / samples
    return max((e for e in _EPOCHS if least <= e <= min(most, fit)), default=least)


def _workers(machine: Machine, *, streams: int, batch: int) -> int:
    """As many as the machine has room for; a power of two, as streams are."""
    room = machine.gpus or machine.cpus // 2
    return _power_of_two(min(room, streams, batch // _IMAGES_OF_A_WORKER))


def _power_of_two(most: int) -> int:
    """The largest one that is not above it, and at least 1."""
    return 1 << max(0, most.bit_length() - 1)


def _kinds() -> list[str]:
    union, _ = get_args(SingleObjectiveConfig)
    return [kind_of(config) for config in get_args(union)]
