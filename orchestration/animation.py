"""Animating a portrait from files: drivers read and mixed, edits applied, the result written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from icface.animate import Animator, Picture
from icface.control import apply_edits, clamp_to_seen, mix, parse_edits, read_driving, relative, seconds
from icface.control.tables import DEFAULT_FPS
from icface.errors import IcfaceError
from icface.images import encode_png, read_image
from icface.labels import BASELINE_FRAMES
from icface.sheets import Row, contact_sheet
from icface.video.writing import write_gif, write_video
from orchestration.config import AnimateJob
from orchestration.registry.references import resolve
from pipelines.storage import Folder

SHEET_FRAMES = 12
"""Frames of a sheet."""
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
    """A line for each value to set that was."""
    left_alone: tuple[str, ...]
    """Attributes that were not measured on the source, so that they stay what they are there."""


def animate(job: AnimateJob, progress: Callable[[int, int], None] = lambda done, total: None) -> Animated:
    """Animate and write. Raises IcfaceError for everything that is missing, unknown or out of range."""
    if job.gpu and not torch.cuda.is_available():
        raise IcfaceError("--gpu: PyTorch sees no GPU here; leave --gpu out (`icface doctor` tells what is missing)")
    _check_output(job)
    animator = Animator.from_bundle(resolve(job.model).folder, device="cuda" if job.gpu else "cpu")
    try:
        schema = animator.model.schema
        edits = {
            "scale": parse_edits(job.scale, schema, "scale"),
            "add": parse_edits(job.add, schema, "add"),
            "set": parse_edits(job.set, schema, "set"),
        }
        edits["set"], notices = clamp_to_seen(edits["set"], schema)
        source = animator.prepare(read_image(job.source_image))
        table = _driver(job, animator)
        video = Path(job.output).suffix.lower() != ".png"
        if table is None:
            still = pd.DataFrame(index=range(1))
            edited = apply_edits(still, schema, source.attributes, **edits)
            table = _morph(edited, source.attributes) if video else edited
        else:
            table = apply_edits(table, schema, source.attributes, **edits)
        frames = _counted(animator.animate(source, table), len(table), progress)
        _write(job.output, frames, _fps(table), _uneven_times(table))
        return Animated(
            output=job.output,
            frames=len(table),
            clamped=animator.clamped,
            notices=tuple(notices),
            left_alone=source.left_alone,
        )
    finally:
        animator.analyzer.close()


def _check_output(job: AnimateJob) -> None:
    """Refuse to write over an input, whatever its name, or over anything else without being asked to."""
    output = Path(job.output)
    inputs = (job.source_image, job.drive, job.pose_from, job.eyes_from, job.mouth_from)
    if not output.exists():
        return
    for path in inputs:
        if path is not None and Path(path).exists() and output.samefile(path):
            raise IcfaceError(f"-o {job.output} is {path}, which this command reads; choose another name")
    if not job.overwrite:
        raise IcfaceError(f"{job.output} exists; add --overwrite to replace it, or choose another name with -o")


def _driver(job: AnimateJob, animator: Animator) -> pd.DataFrame | None:
    """The mixed drivers, or None when there is none."""
    read: dict[str, pd.DataFrame] = {}

    def table(path: str | None) -> pd.DataFrame | None:
        if path is None:
            return None
        if path not in read:
            driver = read_driving(path, animator.analyzer)
            # A model whose zero is a person's own wants the driver's taken off, where there is enough to know it by.
            own = animator.model.config.baselines and int(driver["face"].sum()) >= BASELINE_FRAMES
            read[path] = relative(driver) if job.relative or own else driver
        return read[path]

    base, parts = table(job.drive), {name: table(getattr(job, f"{name}_from")) for name in ("pose", "eyes", "mouth")}
    if base is None and not any(part is not None for part in parts.values()):
        return None
    return mix(base, **parts)


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


def _write(output: str, frames: Iterator[Picture], fps: float, times: list[float] | None) -> None:
    suffix = Path(output).suffix.lower()
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".mp4":
        write_video(output, frames, fps, times=times)
    elif suffix == ".gif":
        write_gif(output, frames, fps, times)
    else:
        pictures = list(frames)
        picture = pictures[0] if len(pictures) == 1 else _sheet(pictures)
        path = Path(output).absolute()
        Folder.at(path.parent).write(path.name, encode_png(picture))


def _sheet(pictures: list[Picture]) -> Picture:
    chosen = np.unique(np.linspace(0, len(pictures) - 1, SHEET_FRAMES).round().astype(int))
    rows = [chosen[start : start + 6] for start in range(0, len(chosen), 6)]
    return contact_sheet(
        [
            Row(heading="", pictures=[pictures[index] for index in row], captions=[f"frame {index}" for index in row])
            for row in rows
        ]
    )
