"""A run as its report is told of it, and a page taken apart."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

from pipeline.report.drawing.page import render_page
from pipeline.report.encoded_facts import EncodedFacts, EncodedSamples
from pipeline.report.facts import FirstViews, Ledger, Pixels, RunFacts
from pipeline.report.gathering.encoded import encoded_facts
from pipeline.report.gathering.encoded_samples import Encoded
from pipeline.report.sections.heading import heading
from pipeline.report.sections.section import Section

SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "hr", "link", "input"}
COLLAPSE_METRICS = (
    "feature_spread",
    "feature_rank",
    "feature_deviation",
    "projection_spread",
    "projection_rank",
    "projection_deviation",
)


class Page(HTMLParser):
    """A page taken apart: text by section, tags, and every place something is fetched from."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: dict[str, str] = {"": ""}
        self.tags: list[str] = []
        self.references: list[str] = []
        self.labels: list[str] = []
        self._section = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = given["id"] or ""
            self.text[self._section] = ""
        self.references += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "action", "data")
        ]
        self.labels += [value or "" for name, value in attrs if name in ("aria-label", "alt")]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or (self._open and self._open[-1] != tag):
            raise AssertionError(f"</{tag}> closes {self._open[-1:]}")
        self._open.pop()
        self.text[self._section] += " "
        if tag == "section":
            self._section = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text[self._section] += data

    def words(self, section: str = "") -> str:
        return " ".join(self.text[section].split())


def pictures(page: Page) -> list[Pixels]:
    """The PNGs of a page, in order."""
    prefix = "data:image/png;base64,"
    sources = [r.removeprefix(prefix) for r in page.references if r.startswith(prefix)]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(s)))) for s in sources]


def metrics(step: int, **values: float) -> dict[str, Any]:
    return {"kind": "metrics", "time": 1.8e9 + step, "step": step, "metrics": values}


def evaluation(step: int, knn: float, rankme: float) -> dict[str, Any]:
    return {
        "kind": "evaluation",
        "time": 1.8e9 + step,
        "step": step,
        "metrics": {"eval/knn": knn, "eval/rankme": rankme},
        "intervals": {"eval/knn": [knn - 0.05, knn + 0.05]},
    }


def training(step: int) -> dict[str, Any]:
    event = {"kind": "event", "event": "training", "step": step, "total_steps": 100, "workers": []}
    return {"time": 1.8e9 + step, **event}


RECORDS = [
    training(0),
    *(
        metrics(
            step,
            loss=5 - step / 50,
            epoch=step / 25,
            learning_rate=0.01,
            gradient_norm=1.5,
            images_per_second=512.0,
            data_wait=0.25,
            quarantined=0.0,
            temperature=0.5,
        )
        for step in range(10, 60, 10)
    ),
    evaluation(50, 0.625, 12.25),
    training(40),
    *(metrics(step, loss=4 - step / 50, epoch=step / 25) for step in range(60, 110, 10)),
    evaluation(100, 0.75, 13.5),
]
RESULT = {
    "model": {"name": "encoder", "version": 3, "uri": "models:/encoder/3"},
    "probes": {"knn": 0.912, "knn_untrained": 0.401, "knn_raw": 0.655, "linear_last_layers": 0.934},
    "intervals": {
        "knn": [0.9, 0.923],
        "knn_untrained": [0.38, 0.42],
        "knn_raw": [0.63, 0.68],
        "linear_last_layers": [0.921, 0.945],
    },
    "panel": {"rankme": 13.5, "alpha_req": math.nan, "dead_dimensions": 0.0},
    "samples": {"planned": 10123, "served": 9600, "repeated": 0, "quarantined": 3, "dropped": 520},
    "encoder_sha256": "ab" * 32,
}
ENTRY = {
    "sample_id": 77,
    "shard": "train-000001.tar",
    "key": "photo-77",
    "offset": 4096,
    "error": "cannot be decoded",
    "epoch": 1,
}


def first_views(count: int = 12) -> FirstViews:
    noise = np.random.default_rng(0)
    return FirstViews(
        sample_ids=list(range(100, 100 + count)),
        blocks=(
            noise.integers(0, 256, (count, 2, 32, 32, 3), np.uint8),
            noise.integers(0, 256, (count, 3, 16, 16, 3), np.uint8),
        ),
    )


@lru_cache(maxsize=2)
def encoded(*, labelled: bool = True) -> EncodedFacts:
    """Samples in four clusters, of classes whose names are a stranger's."""
    noise = np.random.default_rng(0)
    clusters = noise.integers(0, 4, 60)
    centres = noise.normal(size=(4, 12))
    names = ("<b>cats</b>", "dogs & wolves", "birds", None)
    found = encoded_facts(
        Encoded(
            samples=EncodedSamples(
                source="test samples of the evaluation",
                available=600,
                sample_ids=np.arange(200, 260),
                labels=[names[cluster] if labelled else None for cluster in clusters],
                thumbnails=noise.integers(0, 256, (60, 32, 32, 3), np.uint8),
            ),
            features=(centres[clusters] + 0.1 * noise.normal(size=(60, 12))).astype(np.float32),
        ),
        seed=0,
    )
    assert not isinstance(found, str)
    return found


def facts(**changes: Any) -> RunFacts:
    usual = RunFacts(
        name="simclr-resnet18-0123abcd",
        identity={
            "objective.kind": "simclr",
            "encoder.name": "resnet18",
            "data fingerprint": "f1" * 32,
            "encoder.init sha256": None,
        },
        records=RECORDS,
        recipe_yaml="seed: 0\n",
        views=first_views(),
        encoded=encoded(),
        result=RESULT,
        ledger=Ledger(entries=[ENTRY], total=1),
    )
    return replace(usual, **changes)


@lru_cache(maxsize=1)
def usual_html() -> str:
    return render_page(facts())


def usual_page() -> Page:
    return Page(usual_html())


def top(**changes: Any) -> str:
    return Page(str(heading(facts(**changes)))).words()


def part(section: Callable[[RunFacts], Section], **changes: Any) -> Page:
    return Page(str(section(facts(**changes)).body))
