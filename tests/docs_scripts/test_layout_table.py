"""docs/data.md has the table that follows from what docs/benchmarks.md measured."""

from __future__ import annotations

import re

import pytest

from docs._scripts.layout_table import PAGE, measured, page

pytestmark = pytest.mark.fast


def test_the_table_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make reference`"


def test_every_number_and_size_has_a_row() -> None:
    table = page().partition("<!-- layout:begin -->")[2].partition("<!-- layout:end -->")[0]
    rows = [row.strip("| ").split(" | ") for row in re.findall(r"^\| 10.*$", table, flags=re.M)]
    assert len(rows) == 12
    assert len({(row[0], row[1]) for row in rows}) == 12
    assert {len(row) for row in rows} == {7}


def test_larger_images_are_read_more_slowly() -> None:
    found = list(measured().values())
    assert found == sorted(found)
    assert [rate for _, rate in found] == sorted((rate for _, rate in found), reverse=True)
