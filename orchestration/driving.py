"""What drives an animation: the table of attributes that its options ask for, and the driver's frames."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icface import analyzers
from icface.analyzers.registry import DEFAULT
from icface.animate import Animator, Source
from icface.arrays import Picture
from icface.attributes import REGIONS, AttributeSchema, Seen
from icface.control import parse_edits, read_driving, relative
from icface.control.driving import PICTURES, SEVERAL, measured_by
from icface.control.mapping import map_attributes, same_scale
from icface.control.mixing import knows_rest, mix_regions, names_in, trim
from icface.control.motion import gesture, one_euro, read_keyframes
from icface.control.sides import fit_sides
from icface.control.tables import from_zero
from icface.errors import IcfaceError
from icface.images import read_image
from icface.video.camera import camera_frames, is_camera
from icface.video.reading import read_windows
from icface.video.writing import write_video
from orchestration.clip_library import DatasetLibrary
from orchestration.config import OWN, AnimateJob
from pipelines.dataset import Dataset

CAMERA_FPS = 30.0
"""Nominal rate of a recording; its frames keep the times at which they were taken."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One driver as it was read."""

    table: pd.DataFrame
    jitters: bool
    """Whether it was measured frame by frame."""
    analyzer: str | None = None
    """Who measured it; None: nobody knows, so the model's own scale is taken."""
    seen: Mapping[str, Seen] | None = None
    """What that analyzer saw in the whole data set, where the driver is of one."""


class Drivers:
    """Reads each driver of a job once, and notes what its user should know of it."""

    def __init__(self, job: AnimateJob, animator: Animator) -> None:
        self.job = job
        self.animator = animator
        self.notices: list[str] = []
        self._tables: dict[str, pd.DataFrame] = {}

    def table(self, path: str) -> pd.DataFrame:
        """The driver's attributes on the model's scale, smoothed and without its resting face as the job asks.

        Raises IcfaceError when it cannot be read, or another analyzer measured it and the job does not map.
        """
        if path not in self._tables:
            driver = self._read(path)
            driver = replace(driver, table=fit_sides(driver.table, self.animator.model.schema))
            table = self._mapped(path, driver)
            if self.job.smooth == "always" or (self.job.smooth == "video" and driver.jitters):
                table = one_euro(table)
            # A model whose zero is a person's own wants the driver's taken off, where there is enough to know it by.
            if self.job.relative:
                table = self._relative(path, table)
            elif self.animator.model.config.baselines and knows_rest(table):
                table = relative(table)
            self._tables[path] = table
        return self._tables[path]

    def keyframes(self, path: str) -> pd.DataFrame:
        """Keyframes on the model's scale. Raises IcfaceError as `table` does."""
        table = fit_sides(read_keyframes(path, self.job.interpolate), self.animator.model.schema)
        analyzer = measured_by(path) if Path(path).suffix.lower() == ".csv" else None
        return self._mapped(path, Driver(table=table, jitters=False, analyzer=analyzer))

    def _read(self, path: str) -> Driver:
        found = dataset_clip(path)
        if found is not None:
            library, clip = found
            table = from_zero(library.table(clip)).assign(face=True)
            return Driver(table=table, jitters=True, analyzer=library.analyzer, seen=library.seen)
        sides = self.animator.model.schema.sided
        table = read_driving(path, self.animator.analyzer, interpolation=self.job.interpolate, sides=sides)
        if count := table.attrs.get(SEVERAL):
            self.note(followed(path, count, len(table)))
        if Path(path).suffix.lower() == ".csv":
            return Driver(table=table, jitters=False, analyzer=measured_by(path))
        model = str(self.animator.model.config.analyzer.get("name", DEFAULT))
        if analyzers.registration(model).reads_files:
            self.note(f"{path} was measured by {DEFAULT}, for the model's labels come from {model}'s files")
        return Driver(table=table, jitters=Path(path).suffix.lower() not in PICTURES)

    def _mapped(self, path: str, driver: Driver) -> pd.DataFrame:
        model = str(self.animator.model.config.analyzer.get("name", DEFAULT))
        if driver.analyzer is None or same_scale(driver.analyzer, model):
            return driver.table
        if not self.job.map_attributes:
            raise IcfaceError(
                f"{path} was measured by {driver.analyzer}, and the model's attributes by {model}, whose scale is "
                "another: add --map-attributes to convert them, or drive with the video itself"
            )
        by = "the ranges of its data set" if driver.seen is not None else "the driver's own resting face"
        self.note(f"{path}: attributes of {driver.analyzer} are brought to those of {model} by {by}")
        return map_attributes(driver.table, self.animator.model.schema, driver.seen)

    def _relative(self, path: str, table: pd.DataFrame) -> pd.DataFrame:
        try:
            result = relative(table)
        except IcfaceError as error:
            raise IcfaceError(f"--relative: {path}: {error}") from None
        if not knows_rest(table):
            self.note(
                f"--relative: {path} has {int(table['face'].sum())} frames with a face, too few to tell its resting "
                "face: its first face is taken for it"
            )
        return result

    def note(self, text: str) -> None:
        """Keep a line for the user, once."""
        if text not in self.notices:
            self.notices.append(text)


def driving_table(job: AnimateJob, drivers: Drivers, source: Source | None) -> pd.DataFrame | None:
    """The mixed, smoothed and trimmed drivers, raw; None when there is none. `source`: where a gesture begins.

    Raises IcfaceError when one cannot be read.
    """
    base = None
    if job.drive is not None:
        base = drivers.table(job.drive)
    elif job.keyframes is not None:
        base = drivers.keyframes(job.keyframes)
    elif job.gesture is not None:
        base = gesture(job.gesture, drivers.animator.model.schema, source.attributes if source else {})
    parts = {region: drivers.table(path) for region, path in job.parts.items() if path not in (None, OWN)}
    if base is None and not parts:
        return None
    mixed = mix_regions(base, parts)
    kept = [name for region, path in job.parts.items() if path == OWN for name in names_in(region)]
    return trim(mixed.drop(columns=[name for name in kept if name in mixed.columns]), job.start, job.end)


def followed(path: str, count: int, frames: int) -> str:
    """What is said of a video or a picture that shows several faces.

    >>> followed("talk.mp4", 3, 10)
    'talk.mp4 shows more than one face in 3 of 10 frames: the face that is largest at first is followed'
    """
    if frames == 1:
        return f"{path} shows more than one face: the largest drives"
    return (
        f"{path} shows more than one face in {count} of {frames} frames: the face that is largest at first is followed"
    )


def scales(job: AnimateJob, schema: AttributeSchema) -> dict[str, float]:
    """Factor by attribute of `--gain` and `--scale` together.

    Raises IcfaceError when a region is unknown, or a factor is none.
    """
    factors = parse_edits(job.scale, schema, "scale")
    for entry in job.gain:
        match = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\d+(?:\.\d+)?)\s*", entry)
        if match is None or match[1] not in REGIONS or not float(match[2]) <= 100:
            raise IcfaceError(
                f"--gain {entry}: write REGION=FACTOR with a factor of 0 to 100 and one of {', '.join(REGIONS)}"
            )
        for attribute in schema.attributes:
            if attribute.trained and attribute.region == match[1]:
                factors[attribute.name] = factors.get(attribute.name, 1.0) * float(match[2])
    return factors


def dataset_clip(path: str) -> tuple[DatasetLibrary, str] | None:
    """The data set and the clip that a driver written DATASET#CLIP names; None when it is a file or nothing of this.

    Raises IcfaceError when there is no such data set, or a data set is named without a clip.
    """
    if Path(path).is_file():
        return None
    url, separator, clip = path.rpartition("#")
    if separator and url and clip:
        return DatasetLibrary(Dataset.open(url)), clip
    if Path(path, "dataset.json").is_file():
        first = DatasetLibrary(Dataset.open(path)).clips()
        example = first[0].clip if first else "IDENTITY/VIDEO/CLIP"
        raise IcfaceError(f"{path} is a data set: name one of its clips, as in '{path}#{example}'")
    return None


def can_be_shown(path: str | None) -> bool:
    """Whether a driver has pictures: a csv has none."""
    return path is not None and Path(path).suffix.lower() != ".csv"


def driver_frames(path: str, table: pd.DataFrame) -> Iterator[Picture]:
    """(H, W, 3) uint8 RGB: the frame of each row (`frame`) of a driver that can be shown; a picture's each time."""
    if Path(path).suffix.lower() in PICTURES:
        picture = read_image(path)
        yield from (picture for _ in range(len(table)))
        return
    wanted = np.asarray(table["frame"], int).tolist()
    found = dataset_clip(path)
    if found is not None:
        library, clip = found
        yield from (library.picture(clip, frame) for frame in wanted)
        return
    for window in read_windows(path):
        for index, frame in zip(window.indices, window.frames, strict=True):
            while wanted and index == wanted[0]:
                wanted.pop(0)
                yield frame.copy()
        if not wanted:
            return


@contextmanager
def cameras_recorded(job: AnimateJob) -> Iterator[AnimateJob]:
    """The job with a recording of `record` seconds in the place of each camera; they are removed at the end.

    Raises IcfaceError when a camera gives nothing.
    """
    fields = ("drive", "pose_from", "eyes_from", "mouth_from", "brows_from", "nose_from")
    named = {name: str(getattr(job, name)) for name in fields if is_camera(str(getattr(job, name)))}
    if not named:
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="icface-camera-") as folder:
        films = {camera: str(Path(folder, f"camera{n}.mp4")) for n, camera in enumerate(dict.fromkeys(named.values()))}
        for camera, film in films.items():
            _record(camera, job.record, film)
        recorded: dict[str, Any] = {name: films[camera] for name, camera in named.items()}
        yield replace(job, **recorded)


def _record(camera: str, seconds: float, path: str) -> None:
    times: list[float] = []

    def pictures() -> Iterator[Picture]:
        for frame in takewhile(lambda frame: frame.seconds < seconds, camera_frames(camera)):
            times.append(frame.seconds)  # read by the writer as far as it has come
            yield frame.picture

    write_video(path, pictures(), CAMERA_FPS, times=times)
