"""The colours of lines in the review page: seen by everyone, in the light and in the dark."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import groupwise.evaluation.viewer

SHEET = (Path(groupwise.evaluation.viewer.__file__).parent / "static" / "app.css").read_text()
THEMES = {"light": ":root {", "dark": ':root[data-theme="dark"] {'}

# Machado, Oliveira, Fernandes 2009, severity 1.0: what linear RGB looks like to somebody.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def colours(theme: str) -> dict[str, NDArray[np.float64]]:
    """The colours of a theme by name, as linear RGB."""
    block = SHEET.split(THEMES[theme], 1)[1].split("}", 1)[0]
    found = {}
    for name, code in re.findall(r"--(\w+): #([0-9a-f]{6});", block):
        rgb = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        found[name] = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return found


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", THEMES)
def test_lines_stand_out_from_the_page(theme: str) -> None:
    found = colours(theme)
    for i in range(6):
        light, dark = sorted((TO_XYZ[1] @ found[name] for name in (f"c{i}", "bg")), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3.0, f"c{i}"  # WCAG 1.4.11, not text


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", THEMES)
def test_lines_stand_out_from_each_other(theme: str, sight: str) -> None:
    seen = {f"c{i}": lab(np.array(SIGHT[sight]) @ colours(theme)[f"c{i}"]) for i in range(6)}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 20, (one, other)  # 2 can just be told


def test_the_dark_theme_is_the_same_by_choice_and_by_system() -> None:
    chosen = SHEET.split(THEMES["dark"], 1)[1].split("}", 1)[0]
    system = SHEET.split(':root:not([data-theme="light"]) {', 1)[1].split("}", 1)[0]
    assert chosen.split() == system.split()
