"""Animate a portrait in Python: `python examples/animate_portrait.py BUNDLE PORTRAIT OUT.mp4`.

The person smiles and turns the head to the left of the picture and back, in two seconds.
"""

import sys

import numpy as np
import pandas as pd

from icface.animate import Animator
from icface.images import read_image
from icface.video.writing import write_video

FPS = 25


def main(bundle: str, portrait: str, output: str) -> None:
    phase = np.linspace(0, 2 * np.pi, 2 * FPS)
    table = pd.DataFrame({"AU12": 1 - np.cos(phase), "pose_yaw": 0.25 * np.sin(phase)})  # 0..5, and radians
    animator = Animator.from_bundle(bundle)
    try:
        frames = list(animator.animate(read_image(portrait), table))
    finally:
        animator.analyzer.close()
    write_video(output, frames, FPS)
    print(f"{output}: {len(frames)} frames of {frames[0].shape[1]} x {frames[0].shape[0]} px")


if __name__ == "__main__":
    main(*sys.argv[1:4])
