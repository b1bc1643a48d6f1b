"""The drawings of a data set's page, as SVG: histograms with axes, bars of the splits, marks on a face."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES, AU_RANGE, POSE_NAMES, POSE_RANGE
from icface.control.tables import ACTION_UNIT_WORDS
from pipelines.format import SPLITS

BINS = 30
BAR = 7
"""Width of a histogram's bar, pixels."""
HEIGHT = 90
LEFT, BOTTOM, TOP = 46, 34, 10
"""Room around a histogram for its axes, pixels."""
MARK = "#00d27a"
FAINT = 0.1
"""Intensity below which nobody sees an action unit."""


def histograms(labels: npt.NDArray[np.float32]) -> Iterator[str]:
    """A figure of each attribute that was measured at all, of (N, 20) raw values with NaN where not measured."""
    for index, name in enumerate(ATTRIBUTE_NAMES):
        values = labels[:, index]
        measured = values[np.isfinite(values)]
        if not len(measured):
            continue
        pose = name in POSE_NAMES
        scale = np.degrees(1.0) if pose else 1.0
        end = float(np.ceil(np.degrees(POSE_RANGE) / 10) * 10) if pose else AU_RANGE
        low, high = (-end, end) if pose else (0.0, end)
        counts, _ = np.histogram((measured * scale).clip(low, high), BINS, (low, high))
        unit = "degrees" if pose else "intensity, 0 to 5"
        title = f"{name} ({ACTION_UNIT_WORDS[name]})" if name in ACTION_UNIT_WORDS else name
        facts = f"measured on {len(measured) / len(values):.0%}"
        if not pose:
            facts += f", below {FAINT:g} on {(measured < FAINT).mean():.0%}"
        yield (
            f"<figure>{_histogram(counts, (low, high), unit, f'histogram of {name}')}"
            f"<figcaption><b>{title}</b><br>{facts}</figcaption></figure>"
        )


def _histogram(counts: npt.NDArray[np.int64], ends: tuple[float, float], unit: str, words: str) -> str:
    """Bars on a logarithmic scale from 1, so that a single frame can be seen, with both axes labelled."""
    width, low, high = BINS * BAR, *ends
    decades = max(1, int(np.ceil(np.log10(max(int(counts.max()), 2)))))
    # Half a decade below 1 is where a bar begins: log10(1) is 0, and one frame is not none.
    unit_height = HEIGHT / (decades + 0.5)

    def y(count: float) -> float:
        return TOP + HEIGHT - (np.log10(count) + 0.5) * unit_height

    parts = []
    for power in range(decades + 1):
        line = y(10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + width}" y1="{line:.1f}" y2="{line:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{line + 4:.1f}" text-anchor="end">{10**power}</text>')
    for number, count in enumerate(counts):
        if count:
            top = y(float(count))
            parts.append(
                f'<rect x="{LEFT + BAR * number}" y="{top:.1f}" width="{BAR - 1}" height="{TOP + HEIGHT - top:.1f}" '
                f'fill="#4a6fa5"><title>{_bin(number, low, high)}: {count} frames</title></rect>'
            )
    base = TOP + HEIGHT
    parts.append(f'<line x1="{LEFT}" x2="{LEFT + width}" y1="{base}" y2="{base}" stroke="#333"/>')
    for share in (0.0, 0.5, 1.0):
        place = LEFT + share * width
        parts.append(f'<line x1="{place}" x2="{place}" y1="{base}" y2="{base + 4}" stroke="#333"/>')
        parts.append(f'<text x="{place}" y="{base + 15}" text-anchor="middle">{low + share * (high - low):g}</text>')
    parts.append(f'<text x="{LEFT + width / 2}" y="{base + 29}" text-anchor="middle">{unit}</text>')
    middle = TOP + HEIGHT / 2
    parts.append(f'<text transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">frames</text>')
    size = f'width="{LEFT + width + 14}" height="{TOP + HEIGHT + BOTTOM}"'
    return f'<svg {size} font-size="11" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def _bin(number: int, low: float, high: float) -> str:
    step = (high - low) / BINS
    return f"{low + number * step:.3g} to {low + (number + 1) * step:.3g}"


def split_bars(index: pd.DataFrame) -> str:
    """Frames of each split of `index.parquet` as bars, held-out ones in a lighter colour behind."""
    longest = max(1, max(int(index.loc[index["split"] == split, "rows"].sum()) for split in SPLITS))
    lines = []
    for line, split in enumerate(SPLITS):
        chosen = index[index["split"] == split]
        total, held = int(chosen["rows"].sum()), int(chosen.loc[chosen["held_out"], "rows"].sum())
        y = 26 * line
        words = f"{total} frames" + (f", {held} of them held out" if held else "")
        lines.append(
            f'<text x="44" y="{y + 15}" text-anchor="end">{split}</text>'
            f'<rect x="50" y="{y}" width="{400 * total / longest:.1f}" height="20" fill="#a9bcd8"/>'
            f'<rect x="50" y="{y}" width="{400 * (total - held) / longest:.1f}" height="20" fill="#4a6fa5"/>'
            f'<text x="{56 + 400 * total / longest:.1f}" y="{y + 15}">{words}</text>'
        )
    return (
        f'<svg width="720" height="{26 * len(SPLITS)}" font-size="13" role="img" aria-label="frames by split">'
        f"{''.join(lines)}</svg>"
    )


def overlay(row: Mapping[str, Any]) -> str:
    """The landmarks and the box of a row of `frames`, to lie over its picture."""
    points = np.asarray(row["landmarks"], np.float64).reshape(-1, 2)
    dots = "".join(f'<circle cx="{x:.4f}" cy="{y:.4f}" r=".009" fill="{MARK}"/>' for x, y in points)
    corner = [(row[f"box_{axis}"] - row[f"crop_{axis}"]) / row["crop_size"] for axis in "xy"]
    sides = [row[f"box_{side}"] / row["crop_size"] for side in "wh"]
    box = (
        f'<rect x="{corner[0]:.4f}" y="{corner[1]:.4f}" width="{sides[0]:.4f}" height="{sides[1]:.4f}" fill="none" '
        f'stroke="{MARK}" stroke-width=".008"/>'
    )
    return f'<svg viewBox="0 0 1 1" aria-hidden="true">{box}{dots}</svg>'
