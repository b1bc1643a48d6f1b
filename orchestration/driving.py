"""What drives an animation: the table of attributes that its options ask for, and the driver's frames."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from icface.animate import Animator, Picture, Source
from icface.attributes import REGIONS, AttributeSchema
from icface.control import parse_edits, read_driving, relative
from icface.control.driving import PICTURES, SEVERAL
from icface.control.mixing import mix_regions, trim
from icface.control.motion import gesture, one_euro, read_keyframes
from icface.errors import IcfaceError
from icface.images import read_image
from icface.labels import BASELINE_FRAMES
from icface.video.reading import read_windows
from orchestration.config import OWN, AnimateJob


def driving_table(
    job: AnimateJob, animator: Animator, source: Source | None, say: Callable[[str], None]
) -> pd.DataFrame | None:
    """The mixed, smoothed and trimmed drivers, raw; None when there is none. `source`: where a gesture begins.

    `say` is told which face was followed where a driver shows several. Raises IcfaceError when one cannot be read.
    """
    read: dict[str, pd.DataFrame] = {}

    def table(path: str) -> pd.DataFrame:
        if path not in read:
            driver = read_driving(path, animator.analyzer)
            if count := driver.attrs.get(SEVERAL):
                say(followed(path, count, len(driver)))
            video = Path(path).suffix.lower() not in (*PICTURES, ".csv")
            if job.smooth == "always" or (job.smooth == "video" and video):
                driver = one_euro(driver)
            # A model whose zero is a person's own wants the driver's taken off, where there is enough to know it by.
            own = animator.model.config.baselines and int(driver["face"].sum()) >= BASELINE_FRAMES
            read[path] = relative(driver) if job.relative or own else driver
        return read[path]

    base = None
    if job.drive is not None:
        base = table(job.drive)
    elif job.keyframes is not None:
        base = read_keyframes(job.keyframes, job.interpolate)
    elif job.gesture is not None:
        base = gesture(job.gesture, animator.model.schema, source.attributes if source else {})
    parts = {region: table(path) for region, path in job.parts.items() if path not in (None, OWN)}
    if base is None and not parts:
        return None
    mixed = mix_regions(base, parts)
    kept = [name for region, path in job.parts.items() if path == OWN for name in REGIONS[region]]
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


def driver_frames(path: str, table: pd.DataFrame) -> Iterator[Picture]:
    """(H, W, 3) uint8 RGB: the driver's frame of each row of the table; a picture's again and again.

    Raises IcfaceError when the driver is a table and shows nothing.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        raise IcfaceError(f"--layout with driver: {path} is a table, which shows nothing")
    if suffix in PICTURES:
        picture = read_image(path)
        yield from (picture for _ in range(len(table)))
        return
    wanted = np.asarray(table["frame"], int).tolist()
    for window in read_windows(path):
        for index, frame in zip(window.indices, window.frames, strict=True):
            if wanted and index == wanted[0]:
                wanted.pop(0)
                yield frame.copy()
        if not wanted:
            return
