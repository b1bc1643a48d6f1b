"""An evaluation as one self-contained HTML page: tables, curves, leakage, pictures."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icface.attributes import LABEL_NAMES, POSE_NAMES, unit_of
from icface.control.tables import ACTION_UNIT_WORDS
from icface.evaluation.report import HEADLINE, METRICS, GroupReport, Report, base
from icface.words import counted
from orchestration.registry.cases import Sheet
from orchestration.registry.charts import Line, heat_map, legend, line_chart
from pipelines.html_report import image, table, write_page

ASKED, REAL, MEASURED, OTHER = "#d97706", "#202124", "#2563eb", "#0f766e"
STYLE = (
    "<style>.heat td,.heat th{padding:.1rem .3rem;font-size:.75rem;text-align:center;border:0}"
    ".charts{display:flex;flex-wrap:wrap;gap:.6rem}details{margin:.8rem 0}summary{cursor:pointer}"
    "table:not(.heat){font-size:.85rem}.note{background:#fff7ed;border-left:4px solid #d97706;padding:.5rem .8rem}"
    ".key{margin-right:1.2rem}dt{font-weight:600}dd{margin:0 0 .3rem 1.2rem}</style>"
)


def write(path: str | Path, name: str, report: Report, sheets: Sequence[Sheet] = ()) -> None:
    """Write the page of `report`, an evaluation of the model `name`, whole or not at all."""
    write_page(path, f"Evaluation of {name}", [STYLE, *sections(report, sheets)])


def sections(report: Report, sheets: Sequence[Sheet] = ()) -> list[str]:
    """The page's parts as HTML."""
    parts = [_about(report), _glossary(report)]
    for group, found in report.groups.items():
        alone = replace(report, groups={group: found})
        first, everything = (table(row[1:] for row in alone.rows(only)) for only in (HEADLINE, None))
        parts.append(f"<h2>{html.escape(group)}: {_counts(found)}</h2><h3>The numbers to look at first</h3>{first}")
        parts.append(f"<details><summary>All numbers</summary>{everything}</details>")
        parts += _group(group, found, [sheet for sheet in sheets if sheet.group == group])
    return parts


def _about(report: Report) -> str:
    second = f" Second opinion: {html.escape(_analyzer(report.second))}." if report.second else ""
    parts = [
        f"<p>Pictures of {report.size} px. Measured by {html.escape(_analyzer(report.analyzer))}.{second} "
        "Every number stands beside those of copying the source, of looking up the nearest frame, of mean attributes "
        "and of the real frame (noise floor). 95 % is the interval over people; ↑ high is good, ↓ low, →1 near to 1."
        "</p>"
    ]
    notes = list(report.disagreements())
    if report.same_analyzer:
        notes.append(
            "The first analyzer labelled or taught the training: numbers named same_analyzer flatter the model. "
            "Look at those of the second analyzer too."
        )
    if report.clamped:
        values = ", ".join(f"{name} {count}" for name, count in report.clamped.items())
        notes.append(f"Values asked for beyond the model's range, which were clamped: {values}.")
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    return "".join(parts)


def _counts(group: GroupReport) -> str:
    people = "" if group.people is None else f", {counted(group.people, 'person', 'people')}"
    return f"{counted(group.pairs, 'pair')}, {counted(group.sources, 'source')}{people}"


def _analyzer(name: str) -> str:
    """Fingerprints of most begin with the name.

    >>> _analyzer("dlib dlib 20.0, geometry 1"), _analyzer("toy 1")
    ('dlib 20.0, geometry 1', 'toy 1')
    """
    first, _, rest = name.partition(" ")
    return rest if rest.startswith(f"{first} ") else name


def _glossary(report: Report) -> str:
    used = {base(metric) for group in report.groups.values() for metric in group.scores["model"]}
    words = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in METRICS.items() if name in used
    )
    return f"<details><summary>What the names mean</summary><dl>{words}</dl></details>"


def _group(name: str, group: GroupReport, sheets: Sequence[Sheet]) -> list[str]:
    parts = []
    if group.left_out:
        reasons = "; ".join(f"{unit} {why}" for unit, why in group.left_out.items())
        parts.append(f"<p>Without a part in unit_r: {html.escape(reasons)}.</p>")
    if group.curves:
        parts.append(_curves(group.curves[0]))
    if group.response:
        parts.append(_responses(group.response))
    for opinion, matrix in group.leakage.items():
        who = opinion or "the first analyzer"
        measured = [column for column in LABEL_NAMES if any(column in row for row in matrix.values())]
        parts.append(
            f"<h3>What else moves, by {html.escape(who)}</h3><p>Rows: the attribute that is stepped. Columns: the "
            "change that is measured for each unit asked (intensities and radians). The frame marks the attribute "
            f"itself, best at 1; everything else is best at 0.</p>{heat_map(matrix, measured)}"
        )
    for sheet in sheets:
        words = f"{sheet.choice}: {sheet.why}"
        parts.append(f"<h3>{html.escape(words[0].upper() + words[1:])}</h3>{image(sheet.picture, f'{name}, {words}')}")
    return parts


def _curves(curves: Mapping[str, Any]) -> str:
    charts, lines = [], []
    for attribute, series in curves.items():
        if attribute == "name":
            continue
        frames = list(range(len(series["asked"])))
        lines = [
            Line(name="real frames", x=frames, y=series["real"], colour=REAL),
            Line(name="asked", x=frames, y=series["asked"], colour=ASKED, dashed=True),
            Line(name="measured in the model's frames", x=frames, y=series["measured"], colour=MEASURED),
        ]
        charts.append(line_chart(_title(attribute), lines))
    where = html.escape(str(curves["name"]))
    return (
        f"<h3>One clip, frame by frame</h3><p>{where}; consecutive frames, pose in degrees, units 0 to 5.</p>"
        f'{legend(lines)}<div class="charts">{"".join(charts)}</div>'
    )


def _responses(response: Mapping[str, Any]) -> str:
    charts: list[str] = []
    shown: list[Line] = []
    for attribute, curves in response.items():
        steps = curves["asked"][0]
        scale = np.degrees(1) if attribute in POSE_NAMES else 1.0
        x = [float(step * scale) for step in steps]
        # Pose is stepped from one side to the other, after neutral.
        order = sorted(range(len(x)), key=x.__getitem__)
        lines = [Line(name="as asked", x=[x[i] for i in order], y=[x[i] for i in order], colour=ASKED, dashed=True)]
        for opinion, colour in zip((name for name in curves if name != "asked"), (MEASURED, OTHER), strict=False):
            rows = np.array([[np.nan if value is None else value for value in row] for row in curves[opinion]], float)
            if not np.isfinite(rows).any():
                continue
            # Each source's own zero is taken away, so that slopes can be compared.
            rows = (rows - rows[:, :1]) * scale
            known = np.isfinite(rows)
            means = np.where(known, rows, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            name = opinion.removeprefix("by ")
            line = Line(
                name=f"mean of {counted(len(rows), 'face')}, by {name or 'the first analyzer'}",
                x=[x[i] for i in order],
                y=[float(means[i]) for i in order],
                colour=colour,
                width=2.2,
            )
            lines.append(line)
        shown = max(shown, lines, key=len)
        charts.append(line_chart(_title(attribute), lines))
    return (
        "<h3>Single attributes, stepped on neutral faces</h3><p>Across: what is asked. Up: the measured change from "
        f"the neutral face. Pose in degrees.</p>{legend(shown)}"
        f'<div class="charts">{"".join(charts)}</div>'
    )


def _title(attribute: str) -> str:
    """A chart's heading.

    >>> _title("pose_yaw"), _title("AU12"), _title("AU12L")
    ('yaw, degrees', 'AU12 smile', 'AU12L smile')
    """
    if attribute in POSE_NAMES:
        return f"{attribute.removeprefix('pose_')}, degrees"
    return f"{attribute} {ACTION_UNIT_WORDS.get(unit_of(attribute), '')}".strip()
