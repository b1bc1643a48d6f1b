"""Sheets of pictures with captions: contact sheets of a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from icface.animate import Animator, Source
from icface.arrays import Picture
from icface.attributes import POSE_NAMES, AttributeSchema, unit_of
from icface.control.tables import ACTION_UNIT_WORDS
from icface.images import resize
from icface.spread import evenly

MARGIN = 24
"""White around the sheet, px."""
GAP = 10
"""White between pictures, px."""
HEADING, CAPTION = 17, 13
"""Sizes of the type, px."""
EDIT_INTENSITY = 1.5
"""Intensity at which a single action unit is shown where the bundle does not say which values it has seen."""
EDIT_DEGREES = 30.0
"""Poses are shown from this far on one side to this far on the other, where the training went so far."""
INK, FAINT = (32, 33, 36), (95, 99, 104)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a sheet."""

    heading: str
    """Stands above the row; may be empty."""
    pictures: Sequence[Picture]
    """(H, W, 3) uint8 RGB each; all are shown at the same size."""
    captions: Sequence[str] = ()
    """Under the pictures, one each; none when empty."""

    def __post_init__(self) -> None:
        if self.captions and len(self.captions) != len(self.pictures):
            raise ValueError(f"{len(self.pictures)} pictures cannot have {len(self.captions)} captions")


def contact_sheet(rows: Sequence[Row], *, cell: int | tuple[int, int] = 144, title: str = "") -> Picture:
    """Rows of pictures on white with headings and captions: (H, W, 3) uint8 RGB.

    Every picture fills its cell of `cell` px, (width, height) or a square, as far as its shape allows; rows start at
    the left.

    >>> face = np.zeros((64, 64, 3), np.uint8)
    >>> contact_sheet([Row(heading="source", pictures=[face, face])], cell=100).shape
    (175, 258, 3)
    """
    across, down = (cell, cell) if isinstance(cell, int) else cell
    columns = max((len(row.pictures) for row in rows), default=0)
    width = 2 * MARGIN + columns * across + max(0, columns - 1) * GAP
    width = max(width, *(2 * MARGIN + round(_font(HEADING).getlength(text)) for text in _headings(rows, title)))
    top = MARGIN + (HEADING + 2 * GAP if title else 0)
    tops = []
    for row in rows:
        tops.append(top)
        top += _height(row, down)
    sheet = Image.new("RGB", (width, top - GAP + MARGIN if rows else top + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((MARGIN, MARGIN), title, INK, _font(HEADING + 3))
    for row, y in zip(rows, tops, strict=True):
        if row.heading:
            draw.text((MARGIN, y), row.heading, INK, _font(HEADING))
            y += HEADING + GAP
        for index, picture in enumerate(row.pictures):
            x = MARGIN + index * (across + GAP)
            share = min(across / picture.shape[1], down / picture.shape[0])
            wide, high = max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[0] * share))
            shown = Image.fromarray(resize(picture, (high, wide)))
            sheet.paste(shown, (x + (across - wide) // 2, y + (down - high) // 2))
            if row.captions:
                caption = _fit(row.captions[index], across)
                draw.text((x + across / 2, y + down + 4), caption, FAINT, _font(CAPTION), anchor="ma")
    return np.array(sheet)


def model_sheet(
    animator: Animator,
    source: Source,
    driving: pd.DataFrame,
    driving_frames: Sequence[Picture] = (),
    *,
    title: str = "",
    columns: int = 7,
) -> Picture:
    """What a model does with one portrait: source and neutral, driven frames, pose edits and AU edits.

    `driving` is a table of attributes, of which `columns` rows, evenly spread, are shown. They stand under the frames
    of `driving_frames` (one a row of the table) where they are given. An edit changes one attribute of the neutral
    face; only attributes that the model was trained on are shown. Returns (H, W, 3) uint8.
    """
    neutral = [source.crop, animator.neutral(source)]
    rows = [Row(heading="Source and neutral", pictures=neutral, captions=["source", "neutral"])]
    if len(driving):
        chosen = evenly(range(len(driving)), columns)
        shown = driving.iloc[chosen]
        numbers = shown["frame"] if "frame" in shown.columns else chosen
        if len(driving_frames):
            rows.append(Row(heading="Driver", pictures=[driving_frames[index] for index in chosen]))
        driven = list(animator.animate(source, shown))
        rows.append(Row(heading="Driven", pictures=driven, captions=[f"frame {number}" for number in numbers]))
    trained = [attribute.name for attribute in animator.model.schema.attributes if attribute.trained]
    for name in (name for name in trained if name in POSE_NAMES):
        low, high = _ends(animator.model.schema, name)
        degrees = np.degrees(np.linspace(low, high, columns))
        rows.append(
            Row(
                heading=f"{name.removeprefix('pose_').capitalize()} alone",
                pictures=_edited(animator, source, [(name, value) for value in np.radians(degrees)]),
                captions=[f"{value:.0f}°" for value in degrees],
            )
        )
    units = [name for name in trained if name not in POSE_NAMES]
    for start in range(0, len(units), columns):
        names = units[start : start + columns]
        rows.append(
            Row(
                heading="One action unit alone, at 100%: the 99th percentile of the training" if start == 0 else "",
                pictures=_edited(animator, source, [(name, _ends(animator.model.schema, name)[1]) for name in names]),
                captions=[f"{name} {ACTION_UNIT_WORDS[unit_of(name)]}" for name in names],
            )
        )
    return contact_sheet(rows, title=title)


def _ends(schema: AttributeSchema, name: str) -> tuple[float, float]:
    """From where to where an attribute is shown, raw."""
    attribute = schema.attributes[schema.index(name)]
    if name in POSE_NAMES:
        far = np.radians(EDIT_DEGREES)
        return (-far, far) if attribute.seen is None else (max(-far, attribute.seen.min), min(far, attribute.seen.max))
    return attribute.neutral, EDIT_INTENSITY if attribute.seen is None else attribute.seen.p99


def _edited(animator: Animator, source: Source, edits: Sequence[tuple[str, float]]) -> list[Picture]:
    """One picture an edit: the neutral face with one attribute at a raw value."""
    schema = animator.model.schema
    values = np.tile(schema.neutral(), (len(edits), 1))
    for row, (name, value) in zip(values, edits, strict=True):
        row[schema.index(name)] = value
    table = pd.DataFrame(values, columns=list(schema.names))
    return list(animator.animate(source, table))


def _headings(rows: Sequence[Row], title: str) -> list[str]:
    return [title, *(row.heading for row in rows)]


def _height(row: Row, cell: int) -> int:
    heading = HEADING + GAP if row.heading else 0
    return heading + cell + (CAPTION + GAP if row.captions else 0) + GAP


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(text: str, width: int) -> str:
    """`text`, cut with an ellipsis where it would be wider than `width` px."""
    font = _font(CAPTION)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
