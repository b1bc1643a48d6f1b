"""One HTML page to judge a data set, and the analyzer that labelled it, by."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.control.tables import ACTION_UNIT_WORDS
from icface.images import decode_image, resize
from icface.spread import evenly
from pipelines.curation.inspection import Inspection, Rows, people_rows, worst
from pipelines.curation.inspection_plots import histograms, overlay, split_bars
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import SPLITS
from pipelines.html_report import image, table, write_page

SAMPLES = 24
"""Faces that are shown, from evenly spread row groups."""
EXTREMES = 4
"""Faces that are shown of each attribute, each of another clip."""
SHOWN_PEOPLE = 500
SIZE = 160
"""Width and height of a shown face, pixels."""
LISTED_UNITS = 5
"""Action units that stand under a face: the strongest ones."""
PLAIN = ("image", "identity", "clip", "track", "frame", "timestamp", "confidence", "landmarks")
COLUMNS = (*PLAIN, "box_x", "box_y", "box_w", "box_h", "crop_x", "crop_y", "crop_size", *ATTRIBUTE_NAMES)
STYLE = (
    "h2{margin-top:2.5rem}nav a{margin-right:1rem}.faces{display:flex;flex-wrap:wrap;gap:1rem}"
    f".face{{width:{SIZE}px;font-size:.75rem;line-height:1.35}}.face div{{position:relative;height:{SIZE}px}}"
    ".face img,.face svg{position:absolute;left:0;top:0;width:100%;height:100%}"
    ".face figcaption{overflow-wrap:anywhere}#marks:not(:checked)~section .face svg{display:none}"
    ".scroll{overflow-x:auto}h3{margin:1.2rem 0 .4rem}"
)


def write_report(found: Inspection, path: str) -> None:
    """Write the page, with everything inside, to a local file: tables, distributions, faces with what was measured."""
    sections = {title: f"<div class=scroll>{table(rows)}</div>" for title, rows in found.tables().items()}
    people = next(title for title in sections if title.startswith("People"))
    shown = found.people.head(SHOWN_PEOPLE)
    sections[people] = (
        f"<details><summary>{len(shown)} of {len(found.people)} people, most frames first</summary>"
        f"<div class=scroll>{table(people_rows(shown))}</div></details>"
    )
    sections["Frames by split"] = f"<div class=scroll>{split_bars(found.dataset.index)}</div>"
    sections["Distributions"] = _distributions(found)
    sections |= _faces(found.dataset)
    bad = worst(found.clips)
    if len(bad):
        rows: Rows = [("clip", "status", "reason", "frames read", "path")]
        columns = ["clip", "status", "reason", "frames_read", "path"]
        rows += [tuple(str(value) for value in row) for row in bad[columns].itertuples(index=False)]
        sections[f"The clips that cost most ({len(bad)})"] = f"<div class=scroll>{table(rows)}</div>"
    sections["Options"] = f"<div class=scroll>{table(_options(found.dataset.meta))}</div>"
    titles = {title: re.sub(r"\W+", "-", title.split("(")[0]).strip("-").lower() for title in sections}
    links = "".join(f'<a href="#{titles[title]}">{html.escape(title.split(" (")[0])}</a>' for title in sections)
    marks = "<input type=checkbox id=marks checked><label for=marks> landmarks and boxes on the faces</label>"
    body = [
        f'<section><h2 id="{titles[title]}">{html.escape(title)}</h2>{content}</section>'
        for title, content in sections.items()
    ]
    write_page(path, found.dataset.url, [f"<nav>{links}</nav>", marks, *body], style=STYLE)


def _distributions(found: Inspection) -> str:
    words = (
        f"<p>{len(found.labels)} frames of {found.sampled} row groups. The vertical scale is logarithmic, so that rare "
        "values can be seen: each line is ten times the one below.</p>"
    )
    return words + "<div class=plots>" + "".join(histograms(found.labels)) + "</div>"


def _faces(dataset: Dataset) -> dict[str, str]:
    """Sections of faces: evenly spread ones, then those with the largest values of each attribute."""
    groups = [group for split in SPLITS for group in dataset.row_groups(split)]
    if not groups:
        return {}
    cards = []
    for group in evenly(groups, SAMPLES):
        rows = dataset.read(group, list(COLUMNS))
        cards.append(_card(rows.slice(len(rows) // 2, 1).to_pylist()[0], group.split))
    sections = {"Samples": _row(cards)}
    parts = []
    for name in ATTRIBUTE_NAMES:
        for largest in (True, False) if name in POSE_NAMES else (True,):
            cards = [_extreme(dataset, group, name, largest) for group in _extremes(dataset.index, name, largest)]
            if cards:
                which = "largest" if largest else "smallest"
                words = f" ({ACTION_UNIT_WORDS[name]})" if name in ACTION_UNIT_WORDS else ""
                parts.append(f"<h3>{which} {name}{words}</h3>{_row(cards)}")
    note = "<p>Where the analyzer is wrong, it is often here: what does a value this large look like?</p>"
    return sections | {"Largest values": note + "".join(parts)}


def _extremes(index: pd.DataFrame, name: str, largest: bool) -> list[RowGroup]:
    """The row groups with the largest, or smallest, values of an attribute, each of another clip."""
    column = f"{name}_{'max' if largest else 'min'}"
    ranked = index.dropna(subset=[column]).sort_values([column, "clip"], ascending=[not largest, True])
    ranked = ranked.drop_duplicates("clip").head(EXTREMES)
    fields = ("file", "ordinal", "split", "identity", "clip", "track", "rows", "held_out")
    return [RowGroup(**{field: row[field] for field in fields}) for row in ranked.to_dict("records")]


def _extreme(dataset: Dataset, group: RowGroup, name: str, largest: bool) -> str:
    values = dataset.read(group, [name])[name].to_numpy().astype(np.float32)
    place = int(np.nanargmax(values) if largest else np.nanargmin(values))
    return _card(dataset.read(group, list(COLUMNS)).slice(place, 1).to_pylist()[0], group.split, name)


def _row(cards: Sequence[str]) -> str:
    return f"<div class=faces>{''.join(cards)}</div>"


def _card(row: Mapping[str, Any], split: str, first: str | None = None) -> str:
    """A face with its marks and what was measured; `first`: the attribute that it is shown for."""
    picture = resize(decode_image(row["image"]), SIZE)
    pose = ", ".join(
        f"{name.removeprefix('pose_')} {_degrees(row[name])}" for name in POSE_NAMES if row[name] is not None
    )
    units = {name: row[name] for name in ACTION_UNIT_WORDS if row[name] is not None}
    strongest = sorted(units, key=lambda name: -units[name])[:LISTED_UNITS]
    listed = ", ".join(f"{name} {units[name]:.1f}" for name in strongest)
    lines = [
        f"<b>{html.escape(row['identity'])}</b> ({split})",
        html.escape(row["clip"]),
        f"frame {row['frame']}, {row['timestamp']:.2f} s, confidence {row['confidence']:.2f}",
        f"{pose}",
        listed,
        f"face {row['box_w']:.0f} x {row['box_h']:.0f} px",
    ]
    if first is not None:
        value = _degrees(row[first]) if first in POSE_NAMES else f"{row[first]:.2f}"
        lines.insert(0, f"<b>{first} {value}</b>")
    shown = image(picture, f"face of {row['identity']}")
    return f"<figure class=face><div>{shown}{overlay(row)}</div><figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _degrees(radians: float) -> str:
    return f"{round(float(np.degrees(radians))):+d}\u00b0"


def _options(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The options that named the data set, and where it comes from, as a table."""
    rows = [("option", "value")]
    rows += [(f"--{name.replace('_', '-')}", _said(value)) for name, value in sorted(meta["options"].items())]
    rows += [(f"crop: {name}", _said(value)) for name, value in sorted(meta["crop"].items())]
    rows += [(f"analyzer: {name}", _said(value)) for name, value in sorted(meta["analyzer"].items())]
    return [*rows, ("sources", ", ".join(map(str, meta["sources"])))]


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(each)}" for name, each in value.items()) or "–"
    return "–" if value is None else "yes" if value is True else "no" if value is False else str(value)
