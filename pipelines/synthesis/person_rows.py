"""One synthetic person to rows: drawn, moved, rendered where a crop of a real clip would lie."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.analyzers.face import Face
from icface.crop import CropRule
from icface.images import encode_jpeg
from icface.synthetic.body import Body, build_body
from icface.synthetic.camera import FRAME, Motion, landmarks
from icface.synthetic.labels import attributes, blendshapes, face_matrices
from icface.synthetic.motion import FPS
from icface.synthetic.people import draw_person
from icface.synthetic.render import render
from pipelines.format import ROW_GROUP_ROWS, clip_row, frames_schema
from pipelines.preprocess.track_rows import JPEG_QUALITY, Detection, baselines, divided, frames_table
from pipelines.sources import Clip
from pipelines.synthesis.config import SynthesisConfig
from pipelines.synthesis.motions import Motions
from pipelines.synthesis.truth_columns import TruthColumns

CROP = CropRule(mode="smooth")
MOVES = "motion/00000"
"""Video and clip of everybody."""


def person_clip(config: SynthesisConfig, number: int) -> Clip:
    """The clip of a person."""
    return Clip(f"synthetic-{config.seed}-{number:06d}/{MOVES}", f"{config.seed}/{number}", config.frames)


class PersonWorker:
    """Makes the rows of synthetic people."""

    def __init__(self, config: SynthesisConfig, motions: Motions) -> None:
        self.config, self.motions = config, motions

    def rows(self, clip: Clip, split: str, out: Path) -> tuple[dict[str, Any], bool]:
        """The frames of a person in the Arrow file `out`, and the row of `clips`; never to be tried again."""
        number = int(clip.path.rpartition("/")[2])
        motion = self.motions.of(number, self.config.frames, self.config.seed)
        body = build_body(draw_person(self.config.seed, number))
        track = _detections(body, motion)
        squares = CROP.squares(np.stack([each.face.box for each in track]), FPS, FRAME, FRAME)
        pictures = render(body, motion, squares, self.config.size)
        segments = divided(track, squares, split)
        truth = TruthColumns(self.config.truth, body, motion, squares, self.config.size, segments[0].detections)
        schema = frames_schema(self.config.truth)
        with pa.OSFile(str(out), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for segment in segments:
                for table in _row_groups(clip, segment.detections, squares, pictures, segment.held_out, truth):
                    writer.write_table(table, max_chunksize=ROW_GROUP_ROWS)
        kept = sum(len(segment.detections) for segment in segments)
        row = clip_row(clip) | {"status": "ok", "fps": FPS, "width": FRAME, "height": FRAME, "tracks": 1}
        row |= {"seconds": len(track) / FPS, "frames_read": len(track), "frames_kept": kept}
        return row | {"dropped_gap": len(track) - kept} | baselines(segments), False


def _detections(body: Body, motion: Motion) -> list[Detection]:
    """What an analyzer that makes no mistake would find."""
    points, labels, shapes = landmarks(body, motion), attributes(motion), blendshapes(motion)
    matrices = face_matrices(motion, body.person.distance)
    return [
        Detection(
            frame=index,
            time=index / FPS,
            track=0,
            face=Face(
                landmarks=points[index],
                attributes=labels[index],
                confidence=1.0,
                blendshapes=shapes[index],
                face_matrix=matrices[index],
            ),
        )
        for index in range(len(motion))
    ]


def _row_groups(
    clip: Clip,
    track: list[Detection],
    squares: npt.NDArray[np.float32],
    pictures: npt.NDArray[np.uint8],
    held_out: bool,
    truth: TruthColumns,
) -> Iterator[pa.Table]:
    """`squares` and `pictures` are those of the whole clip."""
    for start in range(0, len(track), truth.most_rows):
        part = track[start : start + truth.most_rows]
        rows = [each.frame for each in part]
        encoded = [encode_jpeg(pictures[row], JPEG_QUALITY) for row in rows]
        yield truth.added(frames_table(clip, part, squares[rows], encoded, held_out))
