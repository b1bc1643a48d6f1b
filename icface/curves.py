"""Curves of attributes over time as a picture: one panel for each region of the face."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from icface.attributes import POSE_NAMES, AttributeSchema, unit_of
from icface.control.tables import ACTION_UNIT_WORDS, DEGREES, seconds

WIDTH = 960
"""Of the picture, px."""
PANEL = 150
"""Height of a panel's plot, px."""
LEFT, RIGHT, HEAD, FOOT = 56, 190, 26, 14
"""Around a panel's plot, px: the axis, the legend, the heading, the space below."""
INK, FAINT, GRID = (32, 33, 36), (95, 99, 104), (218, 220, 224)
COLOURS = (
    *((11, 92, 173), (200, 70, 20), (30, 130, 76), (148, 60, 160), (180, 130, 0)),
    *((0, 130, 150), (190, 40, 90), (100, 100, 100), (110, 70, 30)),
)
"""Of a panel's curves, dark enough to be read on white."""


def plot_curves(table: pd.DataFrame, schema: AttributeSchema) -> npt.NDArray[np.uint8]:
    """(H, WIDTH, 3) uint8 RGB: the attributes of a table (raw) over its time, poses in degrees, AUs as intensities.

    One panel for each region that the schema has attributes of. Attributes that the model was not trained on, or
    that the table lacks, are left out; a value that is NaN leaves a gap.
    """
    times = seconds(table)
    panels: dict[str, list[str]] = {}
    for attribute in schema.attributes:
        if attribute.trained and attribute.name in table.columns:
            panels.setdefault(attribute.region, []).append(attribute.name)
    height = HEAD + PANEL + FOOT
    sheet = Image.new("RGB", (WIDTH, max(1, len(panels)) * height + 24), "white")
    for number, (region, names) in enumerate(panels.items()):
        curves = {name: table[name].to_numpy(np.float64) for name in names}
        if region == "pose":
            curves = {name: np.degrees(values) for name, values in curves.items()}
        _panel(ImageDraw.Draw(sheet), number * height + HEAD, region, times, curves)
    return np.array(sheet)


def _panel(
    draw: ImageDraw.ImageDraw,
    top: int,
    region: str,
    times: npt.NDArray[np.float64],
    curves: dict[str, npt.NDArray[np.float64]],
) -> None:
    unit = "°" if region == "pose" else ""
    draw.text((LEFT, top - 20), region.capitalize() + (", degrees" if unit else ", intensity 0 to 5"), INK, _font(14))
    low, high = _range(list(curves.values()), symmetric=region == "pose")
    right = WIDTH - RIGHT

    def y(value: float) -> float:
        return top + PANEL * (1 - (value - low) / (high - low))

    def x(time: float) -> float:
        return LEFT + (right - LEFT) * ((time - times[0]) / max(times[-1] - times[0], 1e-9))

    for value in np.linspace(low, high, 5):
        draw.line((LEFT, y(value), right, y(value)), GRID)
        draw.text((LEFT - 8, y(value)), f"{value:.3g}{unit}", FAINT, _font(12), anchor="rm")
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = times[0] + share * (times[-1] - times[0])
        draw.text((x(at), top + PANEL + 3), f"{at:.1f} s", FAINT, _font(12), anchor="ma")
    for number, (name, values) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        for run in _runs(values):
            points = [(x(times[index]), y(float(values[index]))) for index in run]
            if len(points) == 1:
                (px, py) = points[0]
                draw.ellipse((px - 3, py - 3, px + 3, py + 3), colour)
            else:
                draw.line(points, colour, 2, joint="curve")
        line = top + 8 + 17 * number
        draw.line((right + 12, line, right + 30, line), colour, 3)
        draw.text((right + 36, line), _words(name), INK, _font(12), anchor="lm")


def _words(name: str) -> str:
    """As on the command line, with what it means.

    >>> _words("AU12"), _words("pose_yaw")
    ('AU12 smile', 'yaw')
    """
    if name in POSE_NAMES:
        return next(short for short, raw in DEGREES.items() if raw == name)
    return f"{name} {ACTION_UNIT_WORDS.get(unit_of(name), '')}".strip()


def _range(curves: Sequence[npt.NDArray[np.float64]], symmetric: bool) -> tuple[float, float]:
    """Ends of the axis: action units from 0, poses to both sides, in steps that can be read."""
    known = np.concatenate([values[np.isfinite(values)] for values in curves])
    largest = float(np.abs(known).max()) if len(known) else 0.0
    high = max(10.0, 10.0 * math.ceil(largest / 10)) if symmetric else max(1.0, float(math.ceil(largest)))
    return (-high if symmetric else 0.0), high


def _runs(values: npt.NDArray[np.float64]) -> list[npt.NDArray[np.intp]]:
    """Indices of consecutive finite values.

    >>> [run.tolist() for run in _runs(np.array([1, 2, np.nan, 3]))]
    [[0, 1], [3]]
    """
    there = np.flatnonzero(np.isfinite(values))
    return np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(there) else []


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
