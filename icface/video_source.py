"""A video as the source: each frame is brought to neutral and animated by itself, so that the head keeps its motion."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from icface.animate import Animator, generate, neutralise, to_pictures
from icface.arrays import Picture
from icface.compose import paste_back
from icface.control.driving import fill_gaps, measure_video
from icface.control.mixing import knows_rest, relative
from icface.control.sides import fit_sides
from icface.crop import CropRule, crop_image
from icface.errors import IcfaceError
from icface.video.reading import probe, read_windows


@dataclass(frozen=True, kw_only=True)
class VideoSource:
    """A video whose face was followed and measured."""

    path: Path
    table: pd.DataFrame
    """`frame`, `timestamp`, `face` and the face's own attributes, raw, one row a frame; gaps are filled. They are less
    the person's rest where the model was trained so (`data.baselines`)."""
    squares: npt.NDArray[np.float32]
    """(N, 3) x, y and side of each frame's crop, pixels; of a frame without a face that of the face before."""


def measure_source(
    animator: Animator, path: str | Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> VideoSource:
    """Follow the largest face of a video and measure it.

    Raises IcfaceError when the file cannot be read or shows no face.
    """
    file = Path(path)
    schema = animator.model.schema
    table, faces = measure_video(file, animator.analyzer, progress, schema.sided)
    table = fit_sides(table, schema)
    if not table["face"].any():
        raise IcfaceError(f"{path}: no face is found in it; take a video in which the whole face can be seen")
    boxes = pd.Series([None if face is None else face.box for face in faces]).ffill().bfill()
    info = probe(file)
    rule = CropRule.from_json(animator.model.config.crop_rule)
    squares = rule.squares(np.stack(boxes.tolist()), fps=info.fps, width=info.width, height=info.height)
    table = fill_gaps(table)
    # As of drivers: a model whose zero is a person's own was shown everybody less their rest.
    if animator.model.config.baselines and knows_rest(table):
        table = relative(table)
    return VideoSource(path=file, table=table, squares=squares)


def edited_frames(
    animator: Animator, source: VideoSource, attributes: pd.DataFrame, *, whole: bool = False
) -> Iterator[tuple[Picture, Picture]]:
    """Each frame's crop before and after: (S, S, 3) uint8 RGB; with `whole` the full picture, the face put back.

    `attributes`: a row a frame as `Animator.animate` takes it; a missing column keeps each frame's own value. A frame
    without a face stays as it is. Frames are read again and made in batches: memory does not grow with the length.

    Raises IcfaceError, at the first frame, when a column is unknown or the rows are not the frames.
    """
    own = source.table
    if len(attributes) != len(own):
        raise IcfaceError(f"the table has {len(attributes)} rows, and {source.path} {len(own)} frames")
    schema = animator.model.schema
    attributes = fit_sides(attributes, schema)
    filled = pd.concat([own.drop(columns=attributes.columns, errors="ignore"), attributes], axis=1)
    encoded = animator.encode(filled[[name for name in schema.names if name in filled.columns]], {})
    raw = own.reindex(columns=list(schema.names)).to_numpy(np.float32)
    for window in read_windows(source.path, window=animator.batch):
        rows = np.asarray(window.indices)
        crops = np.stack(
            [
                crop_image(frame, source.squares[row], animator.model.size)
                for row, frame in zip(rows, window.frames, strict=True)
            ]
        )
        made = _made(animator, crops, raw[rows], encoded[rows])
        for row, frame, crop, face in zip(rows, window.frames, crops, made, strict=True):
            result = face if own["face"].iloc[row] else crop
            if whole:
                x, y, side = (float(value) for value in source.squares[row])
                there = own["face"].iloc[row]
                yield frame.copy(), paste_back(frame, (x, y, side), face) if there else frame.copy()
            else:
                yield crop, result


@torch.inference_mode()
def _made(
    animator: Animator, crops: Picture, own: npt.NDArray[np.float32], encoded: npt.NDArray[np.float32]
) -> Picture:
    neutral = neutralise(animator.model, crops, own, animator.device)
    return to_pictures(generate(animator.model, neutral, torch.from_numpy(encoded).to(animator.device)))
