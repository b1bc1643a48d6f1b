"""Animating a portrait from files: drivers read and mixed, edits applied, the result written."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.animate import Animator, Source
from icface.arrays import Picture
from icface.attributes import REGIONS
from icface.compose import paste_back, side_by_side
from icface.control import apply_edits, clamp_to_seen, parse_edits, seconds
from icface.control.driving import SEVERAL
from icface.control.edits import complete
from icface.control.mixing import mix_regions
from icface.errors import IcfaceError
from icface.images import read_image
from icface.provenance import Mark, bundle_hash
from icface.signing import SigningKey
from icface.video_source import edited_frames, measure_source
from orchestration.animation_files import Beside, save_curves, unheard, write_output
from orchestration.config import OWN, AnimateJob
from orchestration.devices import device_asked
from orchestration.driving import (
    Drivers,
    cameras_recorded,
    can_be_shown,
    driver_frames,
    driving_table,
    followed,
    scales,
)
from orchestration.registry.references import resolve

VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
"""Endings of a source that is a video."""
MORPH_FRAMES = 50
"""Frames of a video without a driver, from the source's face to the edited one and back."""


@dataclass(frozen=True, kw_only=True)
class Animated:
    """What was written."""

    output: str
    frames: int
    clamped: dict[str, int]
    """Frames in which an attribute was beyond the values of the training."""
    notices: tuple[str, ...]
    """A line for each choice that was made for the user: values clamped, faces not taken, sound left out."""
    left_alone: tuple[str, ...]
    """Attributes that were not measured on the source, so that they stay what they are there."""


def animate(job: AnimateJob, progress: Callable[[int, int], None] = lambda done, total: None) -> Animated:
    """Animate and write. Raises IcfaceError for everything that is missing, unknown or out of range."""
    device = device_asked(job.gpu)
    _check_output(job)
    key = SigningKey.read(job.sign_key, job.sign_certificates) if job.sign_key and job.sign_certificates else None
    folder = resolve(job.model).folder
    animator = Animator.from_bundle(folder, device=device)
    mark = Mark(bundle=bundle_hash(folder), composite=job.paste_back or len(job.shown) > 1)
    try:
        with cameras_recorded(job) as ready:
            made = _animate(ready, animator, mark, progress)
        if key is not None:
            key.sign(job.output, mark)
        return made
    except OSError as error:  # inputs have errors of their own
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise IcfaceError(f"{job.output}, or what goes with it, cannot be written: {reason}") from None
    finally:
        animator.analyzer.close()


def _animate(job: AnimateJob, animator: Animator, mark: Mark, progress: Callable[[int, int], None]) -> Animated:
    if "driver" in job.shown and not can_be_shown(job.drive):
        raise IcfaceError(f"--layout with driver: {job.drive} is a table, which shows nothing")
    schema = animator.model.schema
    edits = {
        "scale": scales(job, schema),
        "add": parse_edits(job.add, schema, "add"),
        "set": parse_edits(job.set, schema, "set"),
    }
    edits["set"], notices = clamp_to_seen(edits["set"], schema)
    drivers = Drivers(job, animator)
    drivers.notices += notices
    if Path(job.source_image).suffix.lower() in VIDEOS:
        return _edit_video(job, animator, drivers, edits, mark, progress)
    if job.replace is not None:
        raise IcfaceError(f"--replace is for a video as source, and {job.source_image} is a picture: see --eyes-from")
    picture = read_image(job.source_image)
    source = animator.prepare(picture, job.face - 1)
    if source.faces > 1:
        drivers.note(
            f"{job.source_image} shows {source.faces} faces, the largest is face 1: face {job.face} is animated; "
            "--face takes another"
        )
    table = driving_table(job, drivers, source)
    video = Path(job.output).suffix.lower() != ".png"
    if table is None:
        still = pd.DataFrame(index=range(1))
        edited = apply_edits(still, schema, source.attributes, **edits)
        table = _morph(edited, source.attributes) if video and not job.neutral else edited
    else:
        table = apply_edits(table, schema, source.attributes, **edits)
    neutral = animator.neutral(source)
    faces = iter([neutral]) if job.neutral else animator.animate(source, table)
    frames = _counted(_composed(job, faces, picture, source, table), len(table), progress)
    panels = Beside(
        pictures=[source.crop, neutral],
        captions=["source", "neutral"],
        driver=table if can_be_shown(job.drive) and "frame" in table.columns else None,
    )
    drivers.notices += unheard(job, job.drive)
    write_output(job, frames, table, mark, job.drive, panels)
    save_curves(job, complete(table, schema, source.attributes), animator.model.config)
    return Animated(
        output=job.output,
        frames=len(table),
        clamped=animator.clamped,
        notices=tuple(drivers.notices),
        left_alone=source.left_alone,
    )


def _edit_video(
    job: AnimateJob,
    animator: Animator,
    drivers: Drivers,
    edits: dict[str, dict[str, float]],
    mark: Mark,
    progress: Callable[[int, int], None],
) -> Animated:
    """Each frame of a video is its own source."""
    refused = [name for name in ("keyframes", "gesture", "neutral", "start", "end") if getattr(job, name)]
    if refused or job.face != 1:
        raise IcfaceError(f"--{refused[0] if refused else 'face'} is for a portrait, and {job.source_image} is a video")
    schema = animator.model.schema
    source = measure_source(animator, job.source_image)
    if count := source.table.attrs.get(SEVERAL):
        drivers.note(followed(job.source_image, count, len(source.table)))
    driver = driving_table(job, drivers, None)
    table = source.table
    if driver is not None:
        given = [name for name, path in job.parts.items() if path]
        names = {*job.replaced, *given} if job.replaced or job.drive is None else set(REGIONS)
        table = mix_regions(table, {region: driver for region in names if job.parts.get(region) != OWN})
    table = apply_edits(table, schema, {}, **edits)
    pairs = edited_frames(animator, source, table, whole=job.paste_back)
    shown: Iterator[Picture | None] = repeat(None)
    panels = Beside()
    if job.drive is not None and can_be_shown(job.drive):
        panels = Beside(driver=_shown_at(drivers.table(job.drive), seconds(table)))
        if "driver" in job.shown and panels.driver is not None:
            shown = driver_frames(job.drive, panels.driver)
    frames = _counted(_beside(job, pairs, shown), len(table), progress)
    drivers.notices += unheard(job, job.source_image)
    write_output(job, frames, table, mark, job.source_image, panels)
    save_curves(job, complete(table, schema, {}), animator.model.config)
    return Animated(
        output=job.output,
        frames=len(table),
        clamped=animator.clamped,
        notices=tuple(drivers.notices),
        left_alone=(),
    )


def _shown_at(driver: pd.DataFrame, times: npt.NDArray[np.float64]) -> pd.DataFrame:
    """The driver's row that is shown at each time: the last one that has begun, at the end the last one for good."""
    rows = np.searchsorted(seconds(driver), times, side="right") - 1
    return driver.iloc[np.maximum(rows, 0)]


def _beside(
    job: AnimateJob, pairs: Iterator[tuple[Picture, Picture]], drivers: Iterator[Picture | None]
) -> Iterator[Picture]:
    for (original, result), driver in zip(pairs, drivers, strict=False):
        panels = {"source": original, "driver": driver, "result": result}
        shown = [panel for panel in (panels[name] for name in job.shown) if panel is not None]
        yield side_by_side(shown, height=len(result)) if len(shown) > 1 else result


def _check_output(job: AnimateJob) -> None:
    """Refuse to write over an input, whatever its name, or over anything else without being asked to."""
    outputs = {"-o": job.output, "--save-attributes": job.save_attributes, "--plot": job.plot}
    inputs = (job.source_image, job.drive, job.keyframes, *job.parts.values(), job.sign_key, job.sign_certificates)
    for option, name in outputs.items():
        if name is None or not Path(name).exists():
            continue
        for path in inputs:
            if path is not None and Path(path).exists() and Path(name).samefile(path):
                raise IcfaceError(f"{option} {name} is {path}, which this command reads; choose another name")
        if not job.overwrite:
            raise IcfaceError(f"{name} exists; add --overwrite to replace it, or choose another name with {option}")


def _composed(
    job: AnimateJob, faces: Iterator[Picture], picture: Picture, source: Source, table: pd.DataFrame
) -> Iterator[Picture]:
    """Each frame as it is written: put back into the picture, beside the source or the driver."""
    original = picture if job.paste_back else source.crop
    drivers = driver_frames(str(job.drive), table) if "driver" in job.shown else repeat(None)
    results = (paste_back(picture, source.square, face) if job.paste_back else face for face in faces)
    return _beside(job, ((original, result) for result in results), drivers)


def _morph(edited: pd.DataFrame, own: dict[str, float]) -> pd.DataFrame:
    """From the source's own values to the edited ones and back, smoothly."""
    share = (1 - np.cos(np.linspace(0, 2 * np.pi, MORPH_FRAMES))) / 2
    columns = {}
    for name in edited.columns:
        start = np.nan_to_num(own.get(name, 0.0))
        columns[name] = start + share * (float(edited[name].iloc[0]) - start)
    return pd.DataFrame(columns)


def _counted(frames: Iterator[Picture], total: int, progress: Callable[[int, int], None]) -> Iterator[Picture]:
    for number, frame in enumerate(frames, 1):
        progress(number, total)
        yield frame
