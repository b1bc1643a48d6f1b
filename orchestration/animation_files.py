"""Writing what an animation made: the film or the sheet, its curves as csv and as a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from icface.analyzers.registry import DEFAULT
from icface.arrays import Picture
from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.control import seconds
from icface.control.tables import ANALYZER, frames_per_second, uneven_times
from icface.curves import plot_curves
from icface.files import replacing
from icface.images import encode_png
from icface.provenance import Mark, mark_png
from icface.sheets import Row, contact_sheet
from icface.spread import evenly
from icface.video.writing import Sound, write_gif, write_video
from orchestration.config import OWN, AnimateJob
from orchestration.driving import driver_frames
from pipelines.storage import Folder

SHEET_FRAMES = 12
"""Frames of a sheet."""
SHEET_COLUMNS, SHEET_WIDTH = 6, 1600
"""Frames in a row at most, and px of their width together."""
CELL = 144
"""Height of a sheet's pictures, px."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a sheet shows beside the frames: source and neutral face, unless each frame is its own, and the driver."""

    pictures: Sequence[Picture] = ()
    captions: Sequence[str] = ()
    driver: pd.DataFrame | None = None
    """The row of the driver (`frame`) that each frame follows; None where the driver shows nothing."""


def write_output(
    job: AnimateJob, frames: Iterator[Picture], table: pd.DataFrame, mark: Mark, sound_of: str | None, panels: Beside
) -> None:
    """Write the frames, one a row of the table, in the format of the output's ending."""
    suffix = Path(job.output).suffix.lower()
    fps, times = frames_per_second(table), uneven_times(table)
    Path(job.output).parent.mkdir(parents=True, exist_ok=True)
    if suffix in (".mp4", ".webm"):
        sound = None if sound_of is None else Sound.of(sound_of, job.start or 0.0)
        write_video(job.output, frames, fps, times=times, sound=sound, mark=mark)
    elif suffix == ".gif":
        write_gif(job.output, frames, fps, times, mark)
    else:
        picture = next(frames) if len(table) == 1 else _sheet(job, frames, table, panels)
        _write_png(job.output, picture, mark)


def unheard(job: AnimateJob, sound_of: str | None) -> Iterator[str]:
    """A line for each input whose sound is not in the output."""
    suffix = Path(job.output).suffix.lower()
    for path in dict.fromkeys((job.source_image, job.drive, *job.parts.values())):
        if path is None or path == OWN or suffix == ".png" or Sound.of(path) is None:
            continue
        if suffix == ".gif":
            yield f"the sound of {path} is left out: a gif has none; write an mp4 or a webm"
        elif path != sound_of:
            whose = (
                f"that of {sound_of} is taken" if sound_of and Sound.of(sound_of) else "only that of --drive is taken"
            )
            yield f"the sound of {path} is left out: {whose}"


def save_curves(job: AnimateJob, used: pd.DataFrame, config: BundleConfig) -> None:
    """Write the curves that were used (raw, complete) as csv and as a picture, as far as the job asks for them."""
    if job.save_attributes is not None:
        named = used.assign(**{ANALYZER: config.analyzer.get("name", DEFAULT)})
        with replacing(job.save_attributes, ".csv") as temporary:
            named.to_csv(temporary, index=False, float_format="%.6g")
    if job.plot is not None:
        schema: AttributeSchema = config.schema
        _write_png(job.plot, plot_curves(used, schema), None)


def _write_png(name: str, picture: Picture, mark: Mark | None) -> None:
    path = Path(name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = encode_png(np.ascontiguousarray(picture))
    Folder.at(path.parent).write(path.name, mark_png(data, mark) if mark else data)


def _sheet(job: AnimateJob, frames: Iterator[Picture], table: pd.DataFrame, panels: Beside) -> Picture:
    """Frames evenly spread over the film, each under the driver's where that shows something."""
    chosen = evenly(range(len(table)), SHEET_FRAMES)
    wanted = set(chosen)
    results = [frame for index, frame in enumerate(frames) if index in wanted]
    times = seconds(table)[chosen]
    rows = [Row(heading="", pictures=panels.pictures, captions=panels.captions)] if panels.pictures else []
    drivers: list[Picture] = []
    if panels.driver is not None and "driver" not in job.shown:
        drivers = list(driver_frames(str(job.drive), panels.driver.iloc[chosen]))
    height, width = results[0].shape[:2]
    cell = (max(CELL // 2, round(CELL * width / height)), CELL)
    columns = max(1, min(SHEET_COLUMNS, SHEET_WIDTH // cell[0]))
    for start in range(0, len(chosen), columns):
        part = slice(start, start + columns)
        captions = [f"{time:.2f} s" for time in times[part]]
        if len(drivers) == len(chosen):
            rows.append(Row(heading="Driver", pictures=drivers[part]))
            rows.append(Row(heading="Result", pictures=results[part], captions=captions))
        else:
            rows.append(Row(heading="", pictures=results[part], captions=captions))
    return contact_sheet(rows, cell=cell)
