"""The pictures of docs/control.md: `python docs/write_control_pictures.py BUNDLE`, with a model such as the demo's.

Each is what the command beside it in docs/control.md writes. Portrait and driver are of the sample clip
WolfgangLanger_Pexels, which may be shown.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from icface.arrays import Picture
from icface.images import encode_jpeg, encode_png, read_image, resize
from icface.provenance import Mark, bundle_hash, mark_jpeg
from icface.video.reading import read_frames
from icface.video.writing import write_video
from icface.weights import SAMPLE_CLIPS, fetch
from orchestration.__main__ import main as icface

FOLDER = Path(__file__).parent / "control"
CLIP = "WolfgangLanger_Pexels.mp4"
PORTRAIT, DRIVER = 240, range(380, 462)
"""Frames of the clip: a calm face, and one that leans, blinks and smiles."""
WIDTH = 960
"""Of the pictures at most, px."""
KEYS = [
    {"timestamp": 0, "AU45": 0, "pose_yaw": 0},
    {"timestamp": 0.6, "AU45": 1.2},
    {"timestamp": 1.2, "AU45": 0, "pose_yaw": 0.3},
    {"timestamp": 2, "pose_yaw": -0.2},
]
EXAMPLES = {
    "set": ["portrait.png", "--set", "AU45=100%", "yaw=-10", "--paste-back", "--layout", "source,result"],
    "neutral": ["portrait.png", "--neutral"],
    "drive": ["portrait.png", "--drive", "talking.mp4"],
    "gesture": ["portrait.png", "--gesture", "shake"],
    "keyframes": ["portrait.png", "--keyframes", "keys.json", "--plot", "curves.png"],
    "mixed": ["portrait.png", "--drive", "talking.mp4", "--pose-from", "source", "--gain", "mouth=1.5"],
    "edited": ["talking.mp4", "--add", "AU45=0.8", "--paste-back", "--layout", "source,result"],
}


def main(bundle: str) -> None:
    folder = str(Path(bundle).resolve())
    with tempfile.TemporaryDirectory() as place:
        inputs(Path(place))
        for name, words in EXAMPLES.items():
            here = [str(Path(place, word)) if Path(place, word).exists() else word for word in words]
            plot, output = Path(place, f"{name}-curves.png"), Path(place, f"{name}.png")
            here = [str(plot) if word == "curves.png" else word for word in here]
            if icface(["animate", folder, *here, "-o", str(output)]) != 0:
                raise SystemExit(f"{name} failed")
            write(name, read_image(output), Mark(bundle=bundle_hash(folder), composite=True))
            if plot.exists():
                shutil.copyfile(plot, FOLDER / plot.name)


def inputs(place: Path) -> None:
    """The portrait, the driver and the keyframes."""
    driver = []
    for indices, frames in read_frames(fetch(SAMPLE_CLIPS[CLIP])):
        for index, frame in zip(indices, frames, strict=True):
            if index == PORTRAIT:
                (place / "portrait.png").write_bytes(encode_png(frame))
            if index in DRIVER:
                driver.append(frame.copy())
    write_video(place / "talking.mp4", driver, 25)
    (place / "keys.json").write_text(json.dumps(KEYS))


def write(name: str, picture: Picture, mark: Mark) -> None:
    """As a JPEG, no wider than `WIDTH`."""
    height, width = picture.shape[:2]
    if width > WIDTH:
        picture = resize(picture, (round(height * WIDTH / width), WIDTH))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.jpg").write_bytes(mark_jpeg(encode_jpeg(np.ascontiguousarray(picture), 85), mark))


if __name__ == "__main__":
    main(*sys.argv[1:])
