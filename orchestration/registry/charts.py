"""Small charts as inline SVG, so that a page needs nothing but itself."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Values = Sequence[float | None]

WIDTH, HEIGHT = 250, 170
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 22, 24
INK, FAINT = "#202124", "#c9ccd1"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series of a chart; None is a gap."""

    name: str
    """In the legend; empty for none."""
    x: Sequence[float]
    y: Values
    colour: str
    width: float = 1.6
    dashed: bool = False


def line_chart(title: str, lines: Sequence[Line], *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """An SVG of lines over shared axes, each with three ticks. `title` stands above it."""
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in line.y if y is not None and math.isfinite(y)]
    if not xs or not ys:
        return ""
    x_low, x_high = _range(xs)
    y_low, y_high = _range(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (width - LEFT - RIGHT)
        up = height - BOTTOM - (y - y_low) / (y_high - y_low) * (height - TOP - BOTTOM)
        return round(across, 1), round(up, 1)

    parts = [f'<text x="{LEFT}" y="14" font-size="12" font-weight="600" fill="{INK}">{html.escape(title)}</text>']
    for value, anchor in ((x_low, "middle"), ((x_low + x_high) / 2, "middle"), (x_high, "end")):
        x, y = place(value, y_low)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{y}" stroke="{FAINT}" stroke-width=".5"/>')
        parts.append(_text(x, y + 14, value, anchor))
    for value in (y_low, (y_low + y_high) / 2, y_high):
        x, y = place(x_low, value)
        parts.append(f'<line x1="{x}" x2="{width - RIGHT}" y1="{y}" y2="{y}" stroke="{FAINT}" stroke-width=".5"/>')
        parts.append(_text(x - 4, y + 4, value, "end"))
    for line in lines:
        dashes = ' stroke-dasharray="4 3"' if line.dashed else ""
        for run in _runs(line):
            points = " ".join(f"{x},{y}" for x, y in (place(x, y) for x, y in run))
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="{line.width}"{dashes}/>'
            )
    label = html.escape(f"{title}: {', '.join(line.name for line in lines if line.name)}")
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui,sans-serif">{"".join(parts)}</svg>'
    )


def legend(lines: Sequence[Line]) -> str:
    """The names of lines with their colours, as HTML."""
    marks = []
    for line in lines:
        dashes = ' stroke-dasharray="4 3"' if line.dashed else ""
        stroke = f'<line x1="0" x2="26" y1="4" y2="4" stroke="{line.colour}" stroke-width="2"{dashes}/>'
        name = html.escape(line.name)
        marks.append(f'<span class="key"><svg width="26" height="8">{stroke}</svg> {name}</span>' if name else "")
    return f"<p>{''.join(marks)}</p>"


def heat_map(rows: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> str:
    """An HTML table of numbers about 0, coloured: blue above 0, orange below, stronger the farther from it."""
    head = "".join(f"<th>{html.escape(_short(name))}</th>" for name in columns)
    lines = []
    for row, values in rows.items():
        cells = []
        for name in columns:
            value = values.get(name)
            if value is None:
                cells.append("<td></td>")
                continue
            strength = min(abs(value), 1.0) * 0.75
            colour = f"rgba(37,99,235,{strength:.2f})" if value > 0 else f"rgba(217,119,6,{strength:.2f})"
            border = ";outline:1.5px solid #202124" if name == row else ""
            text = f"{value:.1f}" if abs(value) >= 0.05 else "·"
            cells.append(f'<td style="background:{colour}{border}">{text}</td>')
        lines.append(f"<tr><th>{html.escape(_short(row))}</th>{''.join(cells)}</tr>")
    return f'<table class="heat"><tr><th></th>{head}</tr>{"".join(lines)}</table>'


def _short(name: str) -> str:
    return name.removeprefix("pose_")


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _runs(line: Line) -> list[list[tuple[float, float]]]:
    """The stretches of a line without gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if y is None or not math.isfinite(y):
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _text(x: float, y: float, value: float, anchor: str) -> str:
    shown = f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")
    shown = "0" if shown in ("-0", "") else shown
    return f'<text x="{x}" y="{y}" font-size="10" text-anchor="{anchor}" fill="{INK}">{shown}</text>'
