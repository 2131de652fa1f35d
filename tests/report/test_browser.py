"""The page as a browser has it: nothing from outside, no errors, by mouse, keyboard and touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.report.drawing.page import render_page
from tests.report.browser import Browser, installed
from tests.report.report_facts import encoded, facts
from tests.report.test_comparison import other

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(installed() is None, reason="no Chromium is installed here"),
]

CARD = "document.querySelector('.map .card')"
OVERFLOWING = """[...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => { for (let p = e.parentElement; p; p = p.parentElement)
        if (getComputedStyle(p).overflowX !== 'visible') return false; return true; })
    .map(e => e.tagName + '.' + e.className).slice(0, 5)"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a run in several states."""
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "usual": facts(),
        "unlabelled": facts(encoded=encoded(labelled=False)),
        "bare": facts(encoded="there are none.", result=None, records=[], ledger=None),
        "compared": facts(against=other()),
    }
    for name, run in made.items():
        (folder / f"{name}.html").write_text(render_page(run))
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all."""
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


def test_a_page_with_faults_is_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "faults.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>throw Error('ours')</script>")
    browser.open(page, width=1200)
    assert any("ours" in told for told in browser.complaints)
    assert "http://127.0.0.1:9/x.png" in browser.asked


@pytest.mark.parametrize("name", ["usual", "unlabelled", "bare", "compared"])
def test_nothing_is_wrong_and_nothing_comes_from_outside(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.open(pages[name], width=1200)
    assert browser.complaints == []
    assert [url for url in browser.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert pages[name].stat().st_size < 10 << 20
    sizes = browser.value(
        "[...document.querySelectorAll('figure svg, figure img, .map svg, img.views')]"
        ".map(e => [e.clientWidth, e.clientHeight])"
    )
    assert (name == "bare") or len(sizes) > 10
    assert [size for size in sizes if min(size) < 5] == []
    broken = "[...document.images].filter(i => !i.closest('[hidden]') && !i.naturalWidth).length"
    assert browser.value(broken) == 0


@pytest.mark.parametrize("name", ["usual", "bare", "compared"])
@pytest.mark.parametrize("width", [360, 768])
def test_no_page_is_wider_than_a_phone(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.open(pages[name], width=width, mobile=True)
    assert browser.value(OVERFLOWING) == []
    assert browser.value("document.documentElement.scrollWidth") <= width


def test_pointing_at_a_dot_shows_its_sample(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1200)
    assert browser.value(f"{CARD}.hidden")
    browser.point(*browser.middle('circle[data-row="7"]'))
    assert not browser.value(f"{CARD}.hidden")
    shown = browser.value(f"{CARD}.querySelector('p').textContent")
    row = int(browser.value(f"{CARD}.querySelector('img').style.left").rstrip("%")) // -100
    assert shown in {
        browser.value(f"document.querySelector('circle[data-row=\"{n}\"]').dataset.text")
        for n in range(60)
    }
    assert 0 <= row < 8
    assert browser.value(f"{CARD}.querySelector('b')") is None  # a class's name is text
    browser.point(5, 5)
    assert browser.value(f"{CARD}.hidden")
    assert browser.complaints == []


def test_the_map_can_be_walked_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1200)
    browser.value("document.querySelector('.map').focus()")
    seen = set()
    for key in ("Enter", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        browser.press(key)
        assert not browser.value(f"{CARD}.hidden")
        seen.add(browser.value(f"{CARD}.querySelector('p').textContent"))
    assert len(seen) > 2
    browser.press("Escape")
    assert browser.value(f"{CARD}.hidden")


def test_a_groups_button_leaves_the_others_pale(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1200)
    groups = browser.value("document.querySelectorAll('.map g[data-group]').length")
    browser.click('.keys button[data-group="1"]')
    pale = "document.querySelectorAll('.map g.pale').length"
    assert browser.value(pale) == groups - 1
    pressed = "document.querySelectorAll('.keys button[aria-pressed=\"true\"]').length"
    assert browser.value(pressed) == 1
    browser.click('.keys button[data-group="1"]')
    assert browser.value(pale) == 0


def test_a_tap_shows_a_sample_on_a_phone(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=360, mobile=True)
    browser.tap(*browser.middle('circle[data-row="3"]'))
    assert not browser.value(f"{CARD}.hidden")
    left, right = browser.value(f"(b => [b.left, b.right])({CARD}.getBoundingClientRect())")
    assert 0 <= left <= right <= 361


def test_the_recipe_is_copied_or_chosen(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["usual"], width=1200)
    browser.click("button[data-copies]")
    told = "document.querySelector('button[data-copies]').nextElementSibling.textContent"
    assert browser.value(f"new Promise(r => setTimeout(() => r({told}), 200))") != ""
    browser.open(pages["usual"], width=1200)
    browser.value("Object.defineProperty(navigator, 'clipboard', {value: undefined}) && 1")
    browser.click("button[data-copies]")
    assert browser.value(f"new Promise(r => setTimeout(() => r({told}), 200))") != ""
    assert "seed: 0" in browser.value("getSelection().toString()")


def test_it_can_be_read_in_the_dark(browser: Browser, pages: dict[str, Path]) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.do("Emulation.setEmulatedMedia", features=dark)
    browser.open(pages["usual"], width=1200)
    colours = browser.value("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    ink, paper = (sum(map(int, c.split("(")[1].rstrip(")").split(",")[:3])) for c in colours)
    browser.do("Emulation.setEmulatedMedia", features=[])
    assert ink > 500 > 200 > paper
