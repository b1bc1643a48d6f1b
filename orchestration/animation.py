"""Animating a portrait from files: drivers read and mixed, edits applied, the result written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd

from icface.animate import Animator, Picture, Source
from icface.attributes import REGIONS
from icface.compose import paste_back, side_by_side
from icface.control import apply_edits, clamp_to_seen, parse_edits, seconds
from icface.control.driving import SEVERAL
from icface.control.edits import complete
from icface.control.mixing import mix_regions
from icface.control.tables import DEFAULT_FPS
from icface.errors import IcfaceError
from icface.files import replacing
from icface.images import encode_png, read_image
from icface.provenance import Mark, bundle_hash, mark_png
from icface.sheets import Row, contact_sheet
from icface.spread import evenly
from icface.video.writing import Sound, write_gif, write_video
from icface.video_source import edited_frames, measure_source
from orchestration.config import OWN, AnimateJob
from orchestration.devices import device_asked
from orchestration.driving import driver_frames, driving_table, followed, scales
from orchestration.registry.references import resolve
from pipelines.storage import Folder

SHEET_FRAMES = 12
"""Frames of a sheet."""
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
"""Endings of a source that is a video."""
UNEVEN = 0.1
"""Share of the usual step between two frames by which another step may differ before the rate counts as varying."""
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
    folder = resolve(job.model).folder
    animator = Animator.from_bundle(folder, device=device)
    try:
        schema = animator.model.schema
        edits = {
            "scale": scales(job, schema),
            "add": parse_edits(job.add, schema, "add"),
            "set": parse_edits(job.set, schema, "set"),
        }
        edits["set"], notices = clamp_to_seen(edits["set"], schema)
        mark = Mark(bundle=bundle_hash(folder), composite=job.paste_back or len(job.shown) > 1)
        if Path(job.source_image).suffix.lower() in VIDEOS:
            return _edit_video(job, animator, edits, notices, mark, progress)
        if job.replace is not None:
            raise IcfaceError(
                f"--replace is for a video as source, and {job.source_image} is a picture: see --eyes-from"
            )
        picture = read_image(job.source_image)
        source = animator.prepare(picture, job.face - 1)
        if source.faces > 1:
            notices.append(
                f"{job.source_image} shows {source.faces} faces, the largest is face 1: face {job.face} is animated; "
                "--face takes another"
            )
        table = driving_table(job, animator, source, notices.append)
        video = Path(job.output).suffix.lower() != ".png"
        if table is None:
            still = pd.DataFrame(index=range(1))
            edited = apply_edits(still, schema, source.attributes, **edits)
            table = _morph(edited, source.attributes) if video and not job.neutral else edited
        else:
            table = apply_edits(table, schema, source.attributes, **edits)
        faces = iter([animator.neutral(source)]) if job.neutral else animator.animate(source, table)
        frames = _counted(_composed(job, faces, picture, source, table), len(table), progress)
        notices += _unheard(job, job.drive)
        _write(job, frames, table, mark, sound_of=job.drive)
        _save(job, complete(table, schema, source.attributes))
        return Animated(
            output=job.output,
            frames=len(table),
            clamped=animator.clamped,
            notices=tuple(notices),
            left_alone=source.left_alone,
        )
    finally:
        animator.analyzer.close()


def _edit_video(
    job: AnimateJob,
    animator: Animator,
    edits: dict[str, dict[str, float]],
    notices: list[str],
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
        notices.append(followed(job.source_image, count, len(source.table)))
    driver = driving_table(job, animator, None, notices.append)
    table = source.table
    if driver is not None:
        names = job.replaced or [name for name, path in job.parts.items() if path] or list(REGIONS)
        table = mix_regions(table, {region: driver for region in names if job.parts.get(region) != OWN})
    table = apply_edits(table, schema, {}, **edits)
    pairs = edited_frames(animator, source, table, whole=job.paste_back)
    drivers = driver_frames(str(job.drive), table) if "driver" in job.shown else repeat(None)
    frames = _beside(job, pairs, drivers)
    notices += _unheard(job, job.source_image)
    _write(job, _counted(frames, len(table), progress), table, mark, sound_of=job.source_image)
    _save(job, complete(table, schema, {}))
    return Animated(
        output=job.output, frames=len(table), clamped=animator.clamped, notices=tuple(notices), left_alone=()
    )


def _beside(
    job: AnimateJob, pairs: Iterator[tuple[Picture, Picture]], drivers: Iterator[Picture | None]
) -> Iterator[Picture]:
    for (original, result), driver in zip(pairs, drivers, strict=False):
        panels = {"source": original, "driver": driver, "result": result}
        shown = [panel for panel in (panels[name] for name in job.shown) if panel is not None]
        yield side_by_side(shown, height=len(result)) if len(shown) > 1 else result


def _save(job: AnimateJob, used: pd.DataFrame) -> None:
    if job.save_attributes is not None:
        with replacing(job.save_attributes, ".csv") as temporary:
            used.to_csv(temporary, index=False, float_format="%.6g")


def _check_output(job: AnimateJob) -> None:
    """Refuse to write over an input, whatever its name, or over anything else without being asked to."""
    output = Path(job.output)
    inputs = (job.source_image, job.drive, job.keyframes, *job.parts.values())
    if not output.exists():
        return
    for path in inputs:
        if path is not None and Path(path).exists() and output.samefile(path):
            raise IcfaceError(f"-o {job.output} is {path}, which this command reads; choose another name")
    if not job.overwrite:
        raise IcfaceError(f"{job.output} exists; add --overwrite to replace it, or choose another name with -o")


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


def _fps(table: pd.DataFrame) -> float:
    if len(table) < 2:
        return DEFAULT_FPS
    return float(1 / np.median(np.diff(seconds(table))))


def _uneven_times(table: pd.DataFrame) -> list[float] | None:
    """Seconds at which each row is shown, from 0, where a driver's rate varies; None where it is constant."""
    times = seconds(table)
    steps = np.diff(times)
    if len(steps) < 1 or (steps <= 0).any() or np.abs(steps - np.median(steps)).max() <= UNEVEN * np.median(steps):
        return None
    return [float(time) for time in times - times[0]]


def _counted(frames: Iterator[Picture], total: int, progress: Callable[[int, int], None]) -> Iterator[Picture]:
    for number, frame in enumerate(frames, 1):
        progress(number, total)
        yield frame


def _write(job: AnimateJob, frames: Iterator[Picture], table: pd.DataFrame, mark: Mark, sound_of: str | None) -> None:
    suffix = Path(job.output).suffix.lower()
    fps, times = _fps(table), _uneven_times(table)
    Path(job.output).parent.mkdir(parents=True, exist_ok=True)
    if suffix in (".mp4", ".webm"):
        sound = None if sound_of is None else Sound.of(sound_of, job.start or 0.0)
        write_video(job.output, frames, fps, times=times, sound=sound, mark=mark)
    elif suffix == ".gif":
        write_gif(job.output, frames, fps, times)
    else:
        pictures = list(frames)
        picture = pictures[0] if len(pictures) == 1 else _sheet(pictures)
        path = Path(job.output).absolute()
        Folder.at(path.parent).write(path.name, mark_png(encode_png(picture), mark))


def _unheard(job: AnimateJob, sound_of: str | None) -> Iterator[str]:
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


def _sheet(pictures: list[Picture]) -> Picture:
    chosen = evenly(range(len(pictures)), SHEET_FRAMES)
    rows = [chosen[start : start + 6] for start in range(0, len(chosen), 6)]
    return contact_sheet(
        [
            Row(heading="", pictures=[pictures[index] for index in row], captions=[f"frame {index}" for index in row])
            for row in rows
        ]
    )
