"""Colours of the console: whatever is written in one of them can be read, in light and dark."""

from __future__ import annotations

import re
from itertools import product

import pytest

from serving.console.files import FOLDER

LEAST = 4.5
"""Contrast of plain text (WCAG 2.2, 1.4.3)."""

WRITTEN = ("ink", "muted", "blue", "green", "orange", "red", "pink")
GROUNDS = ("surface", "ground")


def luminance(colour: str) -> float:
    values = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_it_is_written_on(theme: str) -> None:
    sheet = (FOLDER.parent / "src" / "style.css").read_text()
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", sheet)
    tokens = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", blocks[theme == "dark"]))
    found = {(text, on): contrast(tokens[text], tokens[on]) for text, on in product(WRITTEN, GROUNDS)}
    assert {pair: round(ratio, 2) for pair, ratio in found.items() if ratio < LEAST} == {}
