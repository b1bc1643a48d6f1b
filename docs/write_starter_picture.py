"""The picture of docs/starter.md: `python docs/write_starter_picture.py`.

The portrait is of the sample clip WolfgangLanger_Pexels, which may be shown, and which the starter never saw.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from icface import starter
from icface.animate import Animator, Source
from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.images import encode_jpeg
from icface.provenance import Mark, bundle_hash, mark_jpeg
from icface.sheets import Row, contact_sheet
from icface.video.reading import read_frames
from icface.weights import SAMPLE_CLIPS, fetch

OUT = Path(__file__).parent / "starter.jpg"
CLIP, FRAME = "WolfgangLanger_Pexels.mp4", 240
UNITS = ("AU01", "AU04", "AU12", "AU15", "AU25", "AU26", "AU45")
DEGREES = (-20, -10, 10, 20)


def main() -> None:
    animator = Animator.from_bundle(starter.FOLDER)
    try:
        source = animator.prepare(portrait())
    finally:
        animator.analyzer.close()
    schema = animator.model.schema
    full = {name: schema.attributes[schema.index(name)].seen for name in UNITS}
    turns = [{"pose_yaw": float(np.radians(angle))} for angle in DEGREES]
    rows = [
        Row(
            heading="",
            pictures=[source.crop, animator.neutral(source), *edited(animator, source, turns)],
            captions=["portrait", "neutral", *(f"yaw {angle}°" for angle in DEGREES)],
        ),
        Row(
            heading="",
            pictures=edited(animator, source, [{name: seen.p99 if seen else 1.0} for name, seen in full.items()]),
            captions=[f"{name} 100%" for name in UNITS],
        ),
    ]
    sheet = contact_sheet(rows, cell=128)
    OUT.write_bytes(mark_jpeg(encode_jpeg(sheet, 88), Mark(bundle=bundle_hash(starter.FOLDER), composite=True)))


def portrait() -> Picture:
    for indices, frames in read_frames(fetch(SAMPLE_CLIPS[CLIP])):
        if FRAME in indices:
            return frames[indices.index(FRAME)]
    raise IcfaceError(f"{CLIP} has no frame {FRAME}")


def edited(animator: Animator, source: Source, edits: list[dict[str, float]]) -> list[Picture]:
    """One picture an edit of the neutral face."""
    schema = animator.model.schema
    table = pd.DataFrame(np.tile(schema.neutral(), (len(edits), 1)), columns=list(schema.names))
    for row, edit in enumerate(edits):
        for name, value in edit.items():
            table.loc[row, name] = value
    return list(animator.animate(source, table))


if __name__ == "__main__":
    main()
