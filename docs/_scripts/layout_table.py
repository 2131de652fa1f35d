"""Writes the table of docs/data.md: shards, reading CPUs and cache by number and size of images.

python -m docs._scripts.layout_table

Sizes and rates are read from the table of docs/benchmarks.md, which a person measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.planning.layout import ImageSet, layout

PAGE = Path(__file__).parents[1] / "data.md"
BENCHMARKS = Path(__file__).parents[1] / "benchmarks.md"

IMAGES_PER_SECOND = 1000
STREAMS, SHUFFLE_WINDOW = 8, 4096  # the defaults, on one node
_SAMPLES = {"10⁵": 10**5, "10⁷": 10**7, "10⁹": 10**9}
_ROWS = {  # of the benchmark's table, and what they are called here
    "32 px PNG": "32 px PNG",
    "at most 256 px": "256 px JPEG",
    "at most 640 px": "12 MP, `--max-side 640`",
    "12 megapixels": "12 MP JPEG",
}
_HEAD = ("images", "of", "bytes", "shards", "samples a shard", "CPUs", "cache of a node")
_BETWEEN = re.compile(r"(?<=<!-- layout:begin -->\n).*?(?=<!-- layout:end -->)", re.DOTALL)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def page() -> str:
    """The whole page, with the table as it should be."""
    text, found = _BETWEEN.subn(lambda _: "\n" + "\n".join(_table()) + "\n\n", PAGE.read_text())
    if found != 1:
        raise ValueError(f"{PAGE.name} lacks its two markers of the layout")
    return text


def measured() -> dict[str, tuple[float, float]]:
    """Bytes of an image and images per CPU second, by the rows' names in the benchmark."""
    rows = re.findall(
        r"^\| ([^|]+?) \| ([\d.,]+) \| [^|]+ \| [^|]+ \| ([\d,]+) \|",
        BENCHMARKS.read_text(),
        flags=re.MULTILINE,
    )
    numbers = {
        name: (1e3 * float(kilobytes.replace(",", "")), float(rate.replace(",", "")))
        for name, kilobytes, rate in rows
    }
    return {name: numbers[name] for name in _ROWS}


def _table() -> Iterator[str]:
    yield _line(_HEAD)
    yield _line(["---"] * len(_HEAD))
    rates = measured()
    for written, samples in _SAMPLES.items():
        for row, name in _ROWS.items():
            sample_bytes, rate = rates[row]
            images = ImageSet(
                samples=samples, sample_bytes=sample_bytes, images_per_cpu_second=rate
            )
            yield _line(_cells(written, name, images))


def _cells(written: str, name: str, images: ImageSet) -> Iterator[str]:
    found = layout(
        images,
        images_per_second=IMAGES_PER_SECOND,
        streams=STREAMS,
        shuffle_window=SHUFFLE_WINDOW,
    )
    yield written
    yield name
    yield _bytes(images.bytes)
    yield f"{found.shards:,}"
    yield f"{found.samples_per_shard:,}"
    yield f"{found.ingest_cpus}"
    yield _bytes(found.cache_bytes)


def _bytes(number: float) -> str:
    unit = 0
    while number >= 999.5:
        number, unit = number / 1000, unit + 1
    return f"{number:.{0 if number >= 9.95 else 1}f} {_UNITS[unit]}"


def _line(cells: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page())
