"""Rows of tracks: what was found in their frames, as tables of `frames` and as baselines of `clips`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.analyzers.face import Face
from icface.attributes import ATTRIBUTE_NAMES
from pipelines.format import FRAMES, baseline_columns, list_array
from pipelines.sources import Clip

JPEG_QUALITY = 95
HELD_OUT_SHARE = 0.1
HELD_OUT_FROM = 50
"""Frames that a training track must have, after `every`, for its last tenth to be held out."""
HELD_OUT_GAP = 1.0
"""Seconds before the held-out frames that are left out: neighbours of a held-out frame look like it."""


@dataclass(frozen=True)
class Detection:
    """The main face in one frame."""

    frame: int
    """Index in the clip."""
    time: float
    """When it is shown, seconds."""
    track: int
    face: Face


@dataclass(frozen=True)
class TrackSegment:
    """Frames of a track that go into row groups together."""

    detections: list[Detection]
    squares: npt.NDArray[np.float32]
    """(N, 3) x, y and side of the crops, source pixels."""
    held_out: bool


def divided(track: list[Detection], squares: npt.NDArray[np.float32], split: str) -> list[TrackSegment]:
    """The frames of a track to train on and the held-out ones; a gap between them belongs to neither."""
    count = int(len(track) * HELD_OUT_SHARE) if split == "train" and len(track) >= HELD_OUT_FROM else 0
    if count == 0:
        return [TrackSegment(track, squares, held_out=False)]
    first = track[-count].time
    before = sum(first - detection.time > HELD_OUT_GAP for detection in track[:-count])
    segments = [
        TrackSegment(track[:before], squares[:before], held_out=False),
        TrackSegment(track[-count:], squares[-count:], held_out=True),
    ]
    return [segment for segment in segments if segment.detections]


def frames_table(
    clip: Clip,
    track: list[Detection],
    squares: npt.NDArray[np.float32],
    pictures: list[bytes],
    held_out: bool,
    corner: tuple[float, float] = (0, 0),
) -> pa.Table:
    """A row group: frames of one track with their crops and JPEGs; `corner`: where the frames lie in the source."""
    rows = len(track)
    faces = [detection.face for detection in track]
    boxes = np.stack([face.box for face in faces])
    indices = np.array([detection.frame for detection in track], np.int32)
    points = (np.stack([face.landmarks for face in faces]) - squares[:, None, :2]) / squares[:, None, 2:]
    attributes = np.stack([face.attributes for face in faces])
    columns: dict[str, Any] = {
        "identity": pa.array([clip.identity] * rows),
        "video": pa.array([clip.video] * rows),
        "clip": pa.array([clip.clip] * rows),
        "track": np.full(rows, track[0].track, np.int16),
        "frame": indices,
        "timestamp": np.array([detection.time for detection in track], np.float32),
        "held_out": np.full(rows, held_out),
        "image": pa.array(pictures, pa.binary()),
        "landmarks": list_array(points, rows, FRAMES.field("landmarks").type),
        "blendshapes": list_array(_stacked(faces, "blendshapes"), rows, FRAMES.field("blendshapes").type),
        "face_matrix": list_array(_stacked(faces, "face_matrix"), rows, FRAMES.field("face_matrix").type),
        "confidence": np.array([face.confidence for face in faces], np.float32),
    }
    shift = np.array([*corner, 0, 0], np.float32)
    columns |= dict(zip(("box_x", "box_y", "box_w", "box_h"), (boxes + shift).T.copy(), strict=True))
    columns |= dict(zip(("crop_x", "crop_y", "crop_size"), (squares + shift[:3]).T.copy(), strict=True))
    for name, values in zip(ATTRIBUTE_NAMES, attributes.T.copy(), strict=True):
        columns[name] = pa.array(values, pa.float32(), mask=np.isnan(values))
    return pa.table({name: columns[name] for name in FRAMES.names}, schema=FRAMES)


def _stacked(faces: list[Face], name: str) -> npt.NDArray[np.float32] | None:
    values = [getattr(face, name) for face in faces]
    return None if any(value is None for value in values) else np.stack(values)


def baselines(segments: list[TrackSegment]) -> dict[str, float | None]:
    """The columns `baseline_*` of a clip."""
    faces = [detection.face for segment in segments if not segment.held_out for detection in segment.detections]
    return baseline_columns(np.array([face.attributes for face in faces], np.float32).reshape(-1, len(ATTRIBUTE_NAMES)))
